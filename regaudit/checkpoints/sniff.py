"""One look at a path: what is there, and, for what no reader claims, what it is and what to do about it."""

from __future__ import annotations

import os
import stat
import zipfile
from itertools import islice
from typing import TYPE_CHECKING

from regaudit.checkpoints.base import Candidate
from regaudit.checkpoints.signatures import Known, of_directory, of_file, of_zip
from regaudit.checkpoints.source import Source, is_file
from regaudit.checkpoints.text import listed, quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 4096
EMPTY_ZIP_BYTES = 22  # the end record alone
LOOKED_AT = 10_000  # files below a directory without a model
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive without members
MODEL_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".keras", ".h5", ".hdf5", ".npz", ".npy",
                  ".onnx", ".gguf", ".skops", ".joblib", ".msgpack", ".pt2", ".jit", ".ptl")  # fmt: skip
_MISSING = "Check the spelling of the path; a model on a hub or a server must be downloaded first."
_BROKEN_LINK = "Put the file itself there; a download that broke off leaves such links in a cache."
_READ = "regaudit reads safetensors, PyTorch, Keras, ONNX, GGUF, TensorFlow, JAX, scikit-learn and numpy files"


def look(path: Path) -> Candidate:
    """Read what is needed to choose a format: the kind of the path, its first bytes, the names in it.

    Args:
        path: As the user gave it.

    Returns:
        The candidate. A damaged zip archive has no members.

    Raises:
        CheckpointError: The path is missing, may not be read, or is no file and no directory.
        CorruptCheckpoint: The file is empty.
    """
    path = _meant(path)
    status = _status(path)
    if stat.S_ISDIR(status.st_mode):
        return Candidate(path=path, is_directory=True, size=0, head=b"", members=_entries(path))
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(str(path), "is a pipe, socket or device", "Give the path of a model file or directory.")
    if not status.st_size:
        raise CorruptCheckpoint(str(path), "is empty (0 bytes)", "The download or copy failed; fetch the file again.")
    source = Source(path)
    try:
        head = source.read_at(0, min(HEAD_BYTES, source.size))
    finally:
        source.close()
    members = _members(path) if head.startswith(ZIP_MAGICS) else frozenset[str]()
    return Candidate(path=path, is_directory=False, size=source.size, head=head, members=members)


def explain_unreadable(candidate: Candidate) -> CheckpointError:
    """Return the error for a path that no reader claims: what it is, by content, and which export would be readable."""
    known = _known(candidate)
    if known is not None:
        return UnknownFormat(str(candidate.path), known.problem, known.fix)
    if candidate.is_directory:
        return _nothing_in(candidate)
    return _odd_zip(candidate) if candidate.head.startswith(ZIP_MAGICS) else _unknown(candidate)


def is_unread_model(candidate: Candidate) -> bool:
    """Return whether a path that no reader claims is a model all the same, by content (TensorFlow Lite, TensorRT …)."""
    known = _known(candidate)
    return known is not None and known.is_model


def _known(candidate: Candidate) -> Known | None:
    if candidate.is_directory:
        return of_directory(candidate)
    return of_zip(candidate) if candidate.head.startswith(ZIP_MAGICS) else of_file(candidate)


def _meant(path: Path) -> Path:
    """Return the index of a TensorFlow checkpoint where the path is its prefix, as TensorFlow itself takes it."""
    index = path.with_name(f"{path.name}.index") if path.name else path
    return index if is_file(index) and not path.exists() else path


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError as error:
        is_link = path.is_symlink()
        problem = "is a link to nothing" if is_link else "no such file or directory"
        raise CheckpointError(str(path), problem, _BROKEN_LINK if is_link else _MISSING) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(str(path), f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error


def _entries(path: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in path.iterdir())
    except OSError as error:
        raise CheckpointError(str(path), f"cannot be listed ({error.strerror})") from error


def _members(path: Path) -> frozenset[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return frozenset()


def _nothing_in(directory: Candidate) -> CheckpointError:
    path = directory.path
    odd = sorted(name for name in directory.members if name.endswith(MODEL_SUFFIXES) and _is_odd(path / name))
    if odd:
        return CheckpointError(str(path / odd[0]), "is a link to nothing, or no regular file", _BROKEN_LINK)
    inner = islice(path.glob("*/*"), LOOKED_AT)
    models = sorted({str(found.parent.relative_to(path)) for found in inner if found.suffix in MODEL_SUFFIXES})
    if models:
        return UnknownFormat(str(path), f"holds no model itself; its folders {listed(models)} do", "Give one of them.")
    seen = f"it holds {listed(sorted(directory.members))}" if directory.members else "it is empty"
    return UnknownFormat(str(path), f"holds no model file that regaudit reads; {seen}", f"{_READ}.")


def _is_odd(path: Path) -> bool:
    return not is_file(path) and not os.path.isdir(path)  # noqa: PTH112, Path.is_dir raises in a locked folder


def _odd_zip(archive: Candidate) -> CheckpointError:
    if archive.members:
        problem = f"is a zip archive that holds no model; it holds {listed(sorted(archive.members))}"
        return UnknownFormat(str(archive.path), problem, f"{_READ}; if one is packed in it, unpack it.")
    if archive.size == EMPTY_ZIP_BYTES and archive.head.startswith(ZIP_MAGICS[1]):
        return CorruptCheckpoint(str(archive.path), "is a zip archive with nothing in it", "Save the model again.")
    return CorruptCheckpoint(
        str(archive.path),
        f"begins as a zip archive (as .pt, .keras and .npz files do), but has no valid end ({archive.size:,} bytes)",
        "The download or copy was cut short; fetch the file again.",
    )


def _unknown(candidate: Candidate) -> CheckpointError:
    start = _start(candidate.head)
    suffix = candidate.path.suffix.lower()
    if suffix in MODEL_SUFFIXES:
        problem = f"is named {suffix}, but holds no model in any format that regaudit knows; it begins with {start}"
        return CorruptCheckpoint(str(candidate.path), problem, "The file is damaged or misnamed; fetch it again.")
    return UnknownFormat(
        str(candidate.path), f"is no model file that regaudit knows; it begins with {start}", f"{_READ}."
    )


def _start(head: bytes) -> str:
    text = head[:40].decode("latin-1")
    is_text = text.isascii() and all(c.isprintable() or c.isspace() for c in text)
    return f"the text {quoted(text)}" if is_text else f"the bytes {head[:8].hex(' ')}"
