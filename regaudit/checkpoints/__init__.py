"""A path in, an open `Checkpoint` out: chosen by content, read lazily, never executed.

A new format is one file here that defines its `FORMAT`, and its name in `READERS`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from regaudit.checkpoints import plugged
from regaudit.checkpoints.base import Checkpoint, Format
from regaudit.checkpoints.sniff import explain_unreadable, look
from regaudit.errors import UnknownFormat
from regaudit.plugins import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["READERS", "Checkpoint", "Format", "formats", "open_checkpoint", "own_formats"]

# The modules of this folder that define a `FORMAT`, in the order in which they are asked. One is imported only when
# those before it do not know the file: together they would cost a tenth of the start-up.
READERS = (
    "huggingface",  # before the formats of its files
    "safetensors",
    "torch_script",  # before plain checkpoints: also zips with a data.pkl
    "torch_export",
    "torch_zip",
    "torch_legacy",
    "torch_distributed",
    "torch_ranks",
    "numpy_arrays",
    "keras",
    "onnx",
    "gguf",
    "sklearn",
    "tensorflow",
    "flax",
    "orbax",
    "numpy_pickles",  # after every format that is a pickle with more to it
)
PLUGINS = Kind(
    name="formats",
    type=Format,
    names=lambda each: (each.name,),
    taken=lambda: (each.name for each in own_formats()),
    admit=plugged.admit,
)


def formats() -> Iterator[Format]:
    """Yield every format, importing its reader when it is reached; those of plugins know only what no other knows."""
    more = PLUGINS.objects()
    yield from own_formats()
    yield from more


def own_formats() -> Iterator[Format]:
    """Yield regaudit's own formats, importing each when it is reached."""
    for name in READERS:
        yield cast("Format", import_module(f"{__name__}.{name}").FORMAT)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a model file or directory; close it with `with`.

    Args:
        path: A file in any of the `formats`, or a directory that holds one model.

    Returns:
        The open checkpoint; only headers have been read. A path that is missing, unreadable, corrupt, unsafe, or of a
        format that no reader knows raises a `CheckpointError`.
    """
    candidate = look(Path(path))
    for each in formats():
        if each.claims(candidate):
            return _not_empty(each.open(candidate))
    error = explain_unreadable(candidate)
    raise error


def _not_empty(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint if it holds a tensor: a gate must not pass where there was nothing to look at.

    Raises:
        UnknownFormat: It holds none.
    """
    if not checkpoint.tensors:
        checkpoint.close()
        raise UnknownFormat(checkpoint.path, "holds no tensors", "Save the model's weights, and audit that file.")
    return checkpoint
