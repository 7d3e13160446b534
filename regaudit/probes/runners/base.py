"""What every way to run a model says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.probes.base import Runner
    from regaudit.records import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerKind:
    """One way to make a checkpoint executable.

    Args:
        name: factory, pt2, onnx, onnxruntime, keras, transformers or stack.
        fits: Whether the checkpoint and the user's options allow it; looks at fields, never at the reader's name.
        open: Takes the open checkpoint, its audited layers, the options and the device ("cpu", "cuda:0", "mps").
    """

    name: str
    fits: Callable[[Checkpoint, Probing], bool]
    open: Callable[[Checkpoint, tuple[Layer, ...], Probing, str], Runner]
