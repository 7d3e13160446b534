"""A path in, an open `Checkpoint` out: chosen by content, read lazily, never executed.

A new format is one file here that defines a `Format`, and its entry in `FORMATS`.
"""

from __future__ import annotations

from pathlib import Path

from regaudit.checkpoints import huggingface, keras, numpy_arrays, safetensors, torch_zip
from regaudit.checkpoints.base import Checkpoint, Format
from regaudit.checkpoints.sniff import explain_unreadable, look

__all__ = ["FORMATS", "Checkpoint", "Format", "open_checkpoint"]

FORMATS: tuple[Format, ...] = (
    huggingface.FORMAT,  # before the formats of its files
    safetensors.FORMAT,
    torch_zip.FORMAT,
    numpy_arrays.FORMAT,
    keras.FORMAT,
)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a model file or directory; close it with `with`.

    Args:
        path: A file in any format of `FORMATS`, or a directory that holds one model.

    Returns:
        The open checkpoint; only headers have been read. A path that is missing, unreadable, corrupt, unsafe, or of a
        format that no reader knows raises a `CheckpointError`.
    """
    candidate = look(Path(path))
    for each in FORMATS:
        if each.claims(candidate):
            return each.open(candidate)
    error = explain_unreadable(candidate)
    raise error
