"""`.npy` files and `.npz` archives of them, without unpickling.

Stored members are read in place, compressed ones inflated piece by piece; big-endian and Fortran-ordered arrays
come out in native C order.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
import threading
import tokenize
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regaudit.checkpoints import dtypes, limits
from regaudit.checkpoints.archive import Archive
from regaudit.checkpoints.base import (
    UNREADABLE_TENSOR,
    Candidate,
    Checkpoint,
    Format,
)
from regaudit.checkpoints.source import Source
from regaudit.checkpoints.text import DAMAGED, quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat, UnsafeCheckpoint
from regaudit.records import Remark, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from regaudit.records import Array

_MAGIC = b"\x93NUMPY"
_SUFFIX = ".npy"
_HEADER_BYTES = 16_384  # numpy itself refuses to parse headers above 10,000 characters
# A row of a column-major array lies scattered over all of it: rows are gathered in bands, each in one pass over the
# file. 2 M elements take 16 MB at most, and make 8 passes of a 4096 x 4096 kernel.
_BAND_SIZE = 1 << 21
_CHUNK_SIZE = 1 << 17  # elements read at once while a band is gathered
# Version 3.0 differs in the names of record fields only.
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DTYPES = {
    "f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64", "c16": "C128", "b1": "BOOL",
    "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64", "u1": "U8", "u2": "U16", "u4": "U32", "u8": "U64",
}  # fmt: skip

ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stored:
    """Where an array lies: bytes by offset, the offset of its first element, and how they are ordered."""

    tensor: Tensor
    read_at: ReadAt
    offset: int
    is_swapped: bool
    is_column_major: bool

    def read(self, start: int, stop: int) -> Array:
        """Return elements [start, stop) in the order of the file."""
        return dtypes.read_span(self._native, self.offset, self.tensor.dtype, start, stop)

    def _native(self, offset: int, count: int) -> bytes:
        raw = self.read_at(offset, count)
        if not self.is_swapped:
            return raw
        return np.frombuffer(raw, dtypes.DTYPES[self.tensor.dtype].raw).byteswap().tobytes()


class _Reader:
    """Reads arrays in C order. Of column-major ones it keeps the band of rows that was gathered last."""

    def __init__(self, arrays: Iterable[_Stored]) -> None:
        self._arrays = {stored.tensor.name: stored for stored in arrays}
        self._lock = threading.Lock()
        self._kept: tuple[str, int] = ("", -1)
        self._band: Array = np.empty(0)

    def read(self, tensor: Tensor, start: int, stop: int) -> Array:
        stored = self._arrays[tensor.name]
        if not stored.is_column_major or start == stop:
            return stored.read(start, stop)
        row = tensor.size // tensor.shape[0]
        rows = max(1, _BAND_SIZE // row)
        with self._lock:
            parts = [
                self._gathered(stored, band, rows)[max(0, start - band * rows * row) : stop - band * rows * row]
                for band in range(start // (rows * row), -(-stop // (rows * row)))
            ]
        return np.concatenate(parts)

    def _gathered(self, stored: _Stored, band: int, rows: int) -> Array:
        if self._kept != (stored.tensor.name, band):
            last = min((band + 1) * rows, stored.tensor.shape[0])
            self._band = _gather(stored, band * rows, last)
            self._kept = (stored.tensor.name, band)
        return self._band


def _gather(stored: _Stored, first: int, last: int) -> Array:
    """Return rows [first, last) of a column-major array as a flat array in C order."""
    shape = stored.tensor.shape
    columns = stored.tensor.size // shape[0]
    step = max(1, _CHUNK_SIZE // shape[0])
    parts = []
    for column in range(0, columns, step):
        chunk = stored.read(column * shape[0], min(column + step, columns) * shape[0])
        parts.append(chunk.reshape(-1, shape[0])[:, first:last].copy())  # or the chunk would stay alive
    return np.concatenate(parts).reshape(*shape[:0:-1], last - first).T.reshape(-1)


def _open_npy(candidate: Candidate) -> Checkpoint:
    path = candidate.path
    source = Source(path)
    try:
        stored = _stored(source.read_at, source.size, name=path.stem, source=path.name, where=str(path))
    except CheckpointError:
        source.close()
        raise
    return _checkpoint(path, "numpy array", source.size, [stored], [], source.close)


def _open_npz(candidate: Candidate) -> Checkpoint:
    archive = Archive(candidate.path)
    arrays: list[_Stored] = []
    remarks: list[Remark] = []
    try:
        for member in archive.names:
            if member.endswith(_SUFFIX):
                try:
                    arrays.append(_member(archive, member))
                except (UnknownFormat, UnsafeCheckpoint) as error:
                    text = f"The array {quoted(member)} {error.problem}."
                    remarks.append(Remark(kind=UNREADABLE_TENSOR, where=member, text=text))
        if not arrays:
            raise UnknownFormat(
                str(candidate.path), f"none of its {len(remarks):,} arrays can be read. {remarks[0].text}"
            )
    except CheckpointError:
        archive.close()
        raise
    return _checkpoint(candidate.path, "numpy archive", archive.source.size, arrays, remarks, archive.close)


def _member(archive: Archive, member: str) -> _Stored:
    def read_at(offset: int, count: int) -> bytes:
        return archive.read_at(member, offset, count)

    where = f"{archive.path}: {quoted(member)}"
    return _stored(read_at, archive.size(member), name=member.removesuffix(_SUFFIX), source=member, where=where)


def _checkpoint(
    path: Path, words: str, size: int, arrays: list[_Stored], remarks: list[Remark], close: Callable[[], None]
) -> Checkpoint:
    return Checkpoint(
        path=str(path),
        format=words,
        nbytes=size,
        tensors=tuple(stored.tensor for stored in arrays),
        read=_Reader(arrays).read,
        remarks=tuple(remarks),
        close=close,
    )


def _stored(read_at: ReadAt, size: int, *, name: str, source: str, where: str) -> _Stored:
    shape, is_fortran, kind, offset = _header(read_at(0, min(size, _HEADER_BYTES)), where)
    dtype = _dtype(kind, where)
    if len(shape) > limits.RANK.value or min(shape, default=0) < 0 or math.prod(shape) > limits.ELEMENTS.value:
        raise CorruptCheckpoint(where, f"no array has the shape that its header declares ({quoted(str(shape))})")
    count = dtypes.nbytes(dtype, math.prod(shape))
    if offset + count != size:
        raise CorruptCheckpoint(
            where,
            f"shape {list(shape)} of {dtype} takes {count:,} bytes, {size - offset:,} are there",
            "The download or copy was cut short; fetch the file again." if offset + count > size else "",
        )
    return _Stored(
        tensor=Tensor(name=name, shape=shape, dtype=dtype, nbytes=count, source=source),
        read_at=read_at,
        offset=offset,
        is_swapped=kind != kind.newbyteorder("<"),
        is_column_major=is_fortran and len(shape) > 1,
    )


def _header(raw: bytes, where: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    stream = io.BytesIO(raw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of headers written by Python 2
            version = np.lib.format.read_magic(stream)
            if version not in _READERS:
                raise UnknownFormat(where, f"is written in version {version} of numpy's format; 1.0 and 2.0 are read")
            shape, is_fortran, kind = _READERS[version](stream)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, MemoryError, RecursionError) as error:
        raise CorruptCheckpoint(where, f"its numpy header cannot be read ({quoted(str(error))})", DAMAGED) from error
    if any(type(n) is not int for n in shape):
        raise CorruptCheckpoint(where, "its numpy header declares a shape that is none")
    return shape, is_fortran, kind, stream.tell()


def _dtype(kind: np.dtype[np.generic], where: str) -> str:
    name = _DTYPES.get(f"{kind.kind}{kind.itemsize}")
    if name is not None:
        return name
    if kind.hasobject:
        raise UnsafeCheckpoint(
            where, "holds Python objects, which could run code when loaded", "Save it again as an array of numbers."
        )
    if kind.kind == "V" and kind.itemsize == 2 and kind.fields is None:
        raise UnknownFormat(where, "has 2-byte elements of no type, as numpy saves bfloat16", "Save it as float32.")
    raise UnknownFormat(where, f"has the dtype {quoted(str(kind))}; only arrays of numbers are read")


def _claims_npy(candidate: Candidate) -> bool:
    return candidate.head.startswith(_MAGIC)


def _claims_npz(candidate: Candidate) -> bool:
    skops = "schema.json" in candidate.members
    return not candidate.is_directory and not skops and any(name.endswith(_SUFFIX) for name in candidate.members)


FORMAT = Format(
    name="numpy",
    claims=lambda candidate: _claims_npy(candidate) or _claims_npz(candidate),
    open=lambda candidate: _open_npy(candidate) if _claims_npy(candidate) else _open_npz(candidate),
)
