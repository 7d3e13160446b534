"""Formats that regaudit recognises and does not read: how to tell them by content, and which export to make.

Sources: the formats' own documentation; GGUF, TFLite and HDF5 by their magic numbers, protocol buffers (ONNX) and
MessagePack (Flax) by the tags of their first fields, pickles by the modules that they name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from regaudit.checkpoints.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.checkpoints.base import Candidate


@dataclass(frozen=True, slots=True)
class Known:
    """What something is, as the end of a sentence that begins with its path, and what to do.

    `is_model`: it is a model, of a kind that is not read; a search for models must not pass over it in silence.
    """

    problem: str
    fix: str
    is_model: bool = False


def _model(problem: str, fix: str) -> Known:
    return Known(problem, fix, is_model=True)


_UNPACK = "Unpack it and give the model file in it."
_SAVE_STATE = "In PyTorch: torch.save(model.state_dict(), 'model.pt')."
_SAVE_SAFETENSORS = "Save the arrays with safetensors.numpy.save_file, or as .npz."
_EXPORT_KERAS = "Load it in Keras and save it: model.save('model.keras')."
_NETWORKS = "regaudit audits networks."
_REFETCH = "Download the file again; a private one needs a login."

_BY_START: tuple[tuple[bytes, Known], ...] = (
    (b"\x1f\x8b", Known("is compressed with gzip", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", Known("is compressed with zstd", _UNPACK)),
    (b"\xfd7zXZ\x00", Known("is compressed with xz", _UNPACK)),
    (b"BZh", Known("is compressed with bzip2", _UNPACK)),
    (b"\x04\x22\x4d\x18", Known("is compressed with lz4", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Known("is a 7-Zip archive", _UNPACK)),
    (b"Rar!", Known("is a RAR archive", _UNPACK)),
    (b"lmgg", _model("is a GGML file, from before GGUF", "Give the checkpoint that it was converted from.")),
    (b"tjgg", _model("is a GGML file, from before GGUF", "Give the checkpoint that it was converted from.")),
    (b"binf", _model("is an XGBoost model: trees, not layers with kernels", _NETWORKS)),
    (b"tree\nversion=", _model("is a LightGBM model: trees, not layers with kernels", _NETWORKS)),
    (b"CBM1", _model("is a CatBoost model: trees, not layers with kernels", _NETWORKS)),
    (b"ptrt", _model("is a TensorRT engine", "Give the checkpoint that it was built from.")),
    (b"ftrt", _model("is a TensorRT engine", "Give the checkpoint that it was built from.")),
    (b"\x89PNG", Known("is a PNG image", "Give a model file.")),
    (b"\xff\xd8\xff", Known("is a JPEG image", "Give a model file.")),
    (b"GIF8", Known("is a GIF image", "Give a model file.")),
    (b"%PDF", Known("is a PDF document", "Give a model file.")),
    (b"\x7fELF", Known("is a program or library", "Give a model file.")),
)
_PICKLED: tuple[tuple[bytes, Known], ...] = (
    (b"xgboost", _model("XGBoost model: trees, not layers with kernels", _NETWORKS)),
    (b"lightgbm", _model("LightGBM model: trees, not layers with kernels", _NETWORKS)),
    (
        b"torch.distributed.checkpoint",
        Known("index of a distributed PyTorch checkpoint", "Give the directory that holds it."),
    ),
    (b"torch", Known("PyTorch object that torch.save did not write", _SAVE_STATE)),
    (b"", Known("Python object", _SAVE_SAFETENSORS)),
)
_DIRECTORIES: tuple[tuple[tuple[str, ...], Known], ...] = (
    (
        ("Manifest.json", "Data"),
        _model("is a Core ML package", "Give the checkpoint that it was converted from."),
    ),
)
_INNER = 264  # the last of the marks inside a file ends at byte 262
_XGBOOST = re.compile(rb"\{\s*\"learner\"|\{[iUIlL].{1,8}learner", re.DOTALL)  # as JSON, as UBJSON
_ONNX_VERSIONS = 32  # ir_version is 14 in 2026
_ONNX_SECOND_TAGS = b"\x12\x1a\x22\x2a\x32\x3a\x42"  # producer_name … opset_import, after ir_version (onnx.proto)


def of_file(candidate: Candidate) -> Known | None:
    """Return what a file is, by its first bytes; None where they say nothing."""
    head = candidate.head
    by_start = (known for start, known in _BY_START if head.startswith(start))
    return next(by_start, None) or _served_instead(head) or _pickled(head) or _by_inner_mark(candidate)


def of_zip(archive: Candidate) -> Known | None:
    """Return what a zip archive is, by the names in it; None where they say nothing."""

    def has(pattern: str) -> bool:
        return _any_like(archive.members, pattern)

    if has("*saved_model.pb"):
        return _model("is a zipped TensorFlow SavedModel", _EXPORT_KERAS)
    return None


def of_directory(directory: Candidate) -> Known | None:
    """Return what a directory is, by the names in it; None where they say nothing."""
    path, names = directory.path, directory.members
    if "model_index.json" in names:
        models = listed(sorted(each.parent.name for each in path.glob("*/config.json")))
        return Known(f"is a diffusers pipeline of several models: {models}", "Give the folder of one of them.")
    for patterns, known in _DIRECTORIES:
        if all(_any_like(names, pattern) for pattern in patterns):
            return known
    return None


def is_partial(name: str) -> bool:
    """Return whether a file is one rank's part of a training checkpoint, no model by itself."""
    return any(fnmatchcase(name, pattern) for pattern in ("*_model_states.pt", "*_optim_states.pt", "*.distcp"))


def _any_like(names: Iterable[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _served_instead(head: bytes) -> Known | None:
    text = head.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        size = re.search(rb"\nsize (\d{1,20})\n", head)
        real = f" of a file of {int(size[1]):,} bytes" if size else ""
        return Known(f"is a Git LFS pointer{real}, not the file itself", "Run: git lfs pull")
    if text.startswith((b"<!doctype html", b"<html")):
        return Known("is an HTML page, as servers send in place of a file", _REFETCH)
    if text.startswith(b"<?xml"):
        return Known("is an XML text, as servers send in place of a file", _REFETCH)
    return None


def _pickled(head: bytes) -> Known | None:
    if not b"\x80\x02" <= head[:2] <= b"\x80\x05":
        return None
    what = next(known for mark, known in _PICKLED if mark in head)
    return replace(what, problem=f"is a pickled {what.problem}; regaudit runs no code from a file")


def _by_inner_mark(candidate: Candidate) -> Known | None:
    head, name = candidate.head.ljust(_INNER, b"\0"), candidate.path.name
    if name.endswith(".mlmodel"):
        return _model("is a Core ML model", "Give the checkpoint that it was converted from.")
    if head[4:8] == b"ORTM":
        return _model("is an ONNX Runtime model (.ort)", "Give the .onnx file that it was made from.")
    if head[4:8] == b"TFL3":
        return _model("is a TensorFlow Lite model", "Give the Keras model that it was converted from.")
    if head[257:262] == b"ustar" or head.startswith(b"sys_info\0"):
        is_model = head.startswith(b"sys_info\0") or name.endswith(".nemo")
        return Known("is a tar archive (NeMo writes them, and PyTorch before 0.2)", _UNPACK, is_model=is_model)
    if head[0] == 0x08 and head[1] < _ONNX_VERSIONS and head[2] in _ONNX_SECOND_TAGS:
        return Known("is the start of an ONNX graph, cut short", _REFETCH)
    if _XGBOOST.match(head):
        return _model("is an XGBoost model: trees, not layers with kernels", _NETWORKS)
    if head.lstrip().startswith(b"{"):
        return Known("is a JSON text, no model", "Give the model file, or the directory that holds both.")
    return None
