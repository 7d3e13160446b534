"""What every reader returns, and what every format must say of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from regaudit.checkpoints.tokenizer import Vocabulary
    from regaudit.records import Array, Declared, Module, Moments, Remark, Tensor

# Kinds of `Remark`, judged by rules.
UNSAFE_GLOBAL = "unsafe-global"  # a pickle names a callable that no benign checkpoint names
UNKNOWN_GLOBAL = "unknown-global"  # a pickle calls a function of a package that regaudit does not know
CONTAINS_CODE = "contains-code"  # code is stored in the file (a Keras Lambda, auto_map); it was not run
OPTIMIZER_STATE = "optimizer-state"  # optimizer tensors are shipped with the weights
DANGLING_INDEX = "dangling-index-entry"  # an index names a tensor that its shard does not hold
UNLISTED_TENSOR = "unlisted-tensor"  # a shard holds a tensor that the index does not name
OTHER_WEIGHTS = "other-weights"  # a second set of weights (EMA) lies in the file and was not audited
UNREADABLE_TENSOR = "unreadable-tensor"  # one tensor was refused, the others are readable


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """An open model file: names and shapes at once, bytes on demand.

    Args:
        path: As the user gave it.
        format: What it is, in words ("safetensors, 3 shards").
        nbytes: Bytes of the model's files on disk.
        tensors: The model's own tensors in file order, names without the container's prefix.
        read: `read(tensor, start, stop)` decodes flat elements [start, stop) in C order, as a fresh 1-D array: float32
            for floats up to 32 bits (and packed FP4, FP8), float64 for F64, complex64 and bool as they are, integers in
            their own numpy type. Thread-safe. Raises `CorruptCheckpoint` on a short read.
        apart: Tensors of the file that are not the model's (optimizer state, a second copy of the weights).
        modules: Classes, activations and graph, where the file tells them; in network order.
        declared: Every regularization that the file declares.
        moments: Adam's estimates of gradient and curvature, where it is certain which tensor they belong to; at most one
            for each tensor, in the order of `tensors`. Read them like any tensor.
        remarks: Facts about the file for the rules.
        config: Parsed `config.json` of a Hugging Face directory, or {}. Untrusted: check types before use.
        adapter: Parsed `adapter_config.json`, or {}. Untrusted.
        vocabulary: What a tokenizer beside the model says of its ids; None without one.
        close: Closes the files; `read` must not be called after it.
    """

    path: str
    format: str
    nbytes: int
    tensors: tuple[Tensor, ...]
    read: Callable[[Tensor, int, int], Array]
    apart: tuple[Tensor, ...] = ()
    modules: tuple[Module, ...] = ()
    declared: tuple[Declared, ...] = ()
    moments: tuple[Moments, ...] = ()
    remarks: tuple[Remark, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    adapter: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None
    close: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        """Return the checkpoint itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What one look at a path tells: enough to choose a format by content.

    `head` holds the first bytes (b"" for a directory); `members` the names inside a zip archive, or the entries
    of a directory; () otherwise.
    """

    path: Path
    is_directory: bool
    size: int
    head: bytes
    members: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A checkpoint format: how to recognise it by content, how to open it, and the extra that this needs ("": none)."""

    name: str
    claims: Callable[[Candidate], bool]
    open: Callable[[Candidate], Checkpoint]
    extra: str = ""
