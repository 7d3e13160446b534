"""Ways to make a checkpoint executable, in the order in which they are tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.errors import ConfigError
from regaudit.probes.runners import factory, keras, onnx, pt2, stack, transformers

if TYPE_CHECKING:
    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.probes.base import Runner
    from regaudit.probes.runners.base import RunnerKind
    from regaudit.records import Layer

RUNNERS: tuple[RunnerKind, ...] = (
    factory.RUNNER,
    pt2.RUNNER,
    onnx.RUNNER,
    keras.RUNNER,
    transformers.RUNNER,
    stack.RUNNER,
)


def open_runner(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, device: str) -> Runner:
    """Return the executable model, by the first way that fits what was given.

    Args:
        checkpoint: Open.
        layers: Its audited layers.
        probing: The user's options.
        device: Where to run: cpu, cuda:0, mps.

    Raises:
        ConfigError: Nothing makes this input executable, or what was given does not fit it.
    """
    for each in RUNNERS:
        if each.fits(checkpoint, probing):
            return each.open(checkpoint, layers, probing, device)
    raise ConfigError(
        f"{checkpoint.path} ({checkpoint.format}) holds weights and no graph that regaudit can run. "
        "Give the code that builds the model (--model FILE.py:build or pkg.module:factory), or an exported .pt2 or "
        ".onnx file, a Hugging Face directory with config.json, a Keras file with --trust, or, for a plain stack of "
        "dense layers, --activation relu"
    )
