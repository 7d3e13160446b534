"""The values of an ONNX file's tensors: raw bytes, typed fields, or another file beside it.

Source: onnx/onnx.proto (TensorProto), docs/ExternalData.md, ONNX 1.23.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import numpy as np

from regaudit.checkpoints import dtypes, limits
from regaudit.checkpoints.protobuf import Span, decode_varints
from regaudit.checkpoints.source import Source, inside
from regaudit.checkpoints.text import quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.checkpoints.onnx_messages import TensorMessage
    from regaudit.records import Array

# TensorProto.DataType: our name, and the typed field that may hold the values in place of raw_data.
_FLOATS, _INT32S, _INT64S, _RAW, _DOUBLES, _UINT64S = 4, 5, 7, 9, 10, 11
_TYPES = {
    1: ("F32", _FLOATS), 2: ("U8", _INT32S), 3: ("I8", _INT32S), 4: ("U16", _INT32S), 5: ("I16", _INT32S),
    6: ("I32", _INT32S), 7: ("I64", _INT64S), 9: ("BOOL", _INT32S), 10: ("F16", _INT32S), 11: ("F64", _DOUBLES),
    12: ("U32", _UINT64S), 13: ("U64", _UINT64S), 14: ("C64", _FLOATS), 15: ("C128", _DOUBLES), 16: ("BF16", _INT32S),
    17: ("F8_E4M3", _INT32S), 18: ("F8_E4M3FNUZ", _INT32S), 19: ("F8_E5M2", _INT32S), 20: ("F8_E5M2FNUZ", _INT32S),
    21: ("U4", _INT32S), 22: ("I4", _INT32S), 23: ("F4", _INT32S), 24: ("F8_E8M0", _INT32S),
}  # fmt: skip
TEXTS = "texts"
_UNREAD = {8: TEXTS, 25: "UINT2", 26: "INT2", 27: "FLOAT6E2M3", 28: "FLOAT6E3M2"}
_BLOCK = 1 << 16  # bytes of varints decoded at once
_DIGITS = 19  # of an offset, below 2^63


class Bytes(Protocol):
    """Bytes by offset, as in a tensor's raw form."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read_at(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """A tensor that can be read. `place` is equal for tensors that are the same bytes of the same file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    source: str
    raw: Bytes
    place: tuple[object, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether it may hold weights as they are."""
        return self.dtype in dtypes.DTYPES and dtypes.DTYPES[self.dtype].is_float

    def read(self, start: int, stop: int) -> Array:
        """Return elements [start, stop) in C order."""
        if self.dtype not in {"I4", "U4"}:
            return dtypes.read_span(self.raw.read_at, 0, self.dtype, start, stop)
        first = start // 2
        codes = np.frombuffer(self.raw.read_at(first, (stop + 1) // 2 - first), np.uint8)
        nibbles = np.stack([codes & 0xF, codes >> 4], axis=-1).reshape(-1)[start - 2 * first : stop - 2 * first]
        return (nibbles ^ 8).astype(np.int8) - np.int8(8) if self.dtype == "I4" else nibbles.copy()


@dataclass(frozen=True, slots=True)
class Refused:
    """A tensor that cannot be read: how it is stored, and why that is not read, as the end of a sentence."""

    name: str
    kind: str
    reason: str


class Files:
    """An ONNX file and the files beside it that hold some of its tensors."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._sizes: dict[str, int] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return self.source.size + sum(self._sizes.values())

    def size(self, location: str) -> int:
        """Return the size of a file beside the model.

        Raises:
            CheckpointError: It is missing, no regular file, or outside of the model's folder.
        """
        if location not in self._sizes:
            beside = self.open(location)
            self._sizes[location] = beside.size
            beside.close()
        return self._sizes[location]

    def open(self, location: str) -> Source:
        """Open a file that the model names; every step of its path must stay in the folder that it is in.

        Returns:
            The open file.

        Raises:
            CheckpointError: It is missing, or no regular file.
            UnsafeCheckpoint: It lies outside of the model's folder.
        """
        path, said = self.source.path.parent, f"its tensors lie in the file {quoted(location)}"
        try:
            for part in location.split("/"):
                path = path if part == "." else inside(path, part)
            return Source(path)
        except UnsafeCheckpoint as error:
            raise UnsafeCheckpoint(str(self.source.path), f"{said}: {error.problem}", error.fix) from error
        except CheckpointError as error:
            raise CheckpointError(
                str(self.source.path), f"{said}, which {error.problem}", "Put that file beside the model."
            ) from error


def stored(message: TensorMessage, name: str, files: Files) -> Stored | Refused:
    """Return a tensor with its bytes found and counted.

    Args:
        message: As the file describes it.
        name: The name it goes by in the graph.
        files: Where its bytes are.

    Returns:
        The tensor, or why it is none that can be read.

    Raises:
        CorruptCheckpoint: Its shape is none, or takes another number of bytes than are stored.
    """
    where = f"{files.source.path}: tensor {quoted(name)}"
    if message.data_type not in _TYPES:
        kind = _UNREAD.get(message.data_type, f"type {message.data_type}")
        return Refused(name, kind, f"it holds {kind}, which regaudit does not read")
    if message.is_segment:
        return Refused(name, "segments", "it is stored in segments, which no reader puts together")
    dtype, typed = _TYPES[message.data_type]
    shape = message.dims
    if len(shape) > limits.RANK.value or min(shape, default=0) < 0 or math.prod(shape) > limits.ELEMENTS.value:
        raise CorruptCheckpoint(where, f"no array has the shape that it declares ({quoted(str(list(shape)))})")
    source, raw, place = _found(message, typed, _nbytes(dtype, math.prod(shape)), dtype, files, where)
    if raw.size != _nbytes(dtype, math.prod(shape)):
        needed = _nbytes(dtype, math.prod(shape))
        raise CorruptCheckpoint(
            where, f"shape {list(shape)} of {dtype} takes {needed:,} bytes, {raw.size:,} are stored"
        )
    return Stored(name=name, shape=shape, dtype=dtype, source=source, raw=raw, place=(*place, dtype, shape))


def _found(
    message: TensorMessage, typed: int, needed: int, dtype: str, files: Files, where: str
) -> tuple[str, Bytes, tuple[object, ...]]:
    # the name of the file, the bytes in it, and their place
    if message.external is not None:
        beside = _beside(message.external, needed, files, where)
        return beside.location, beside, (beside.location, beside.offset)
    filled = [number for number, spans in message.pieces.items() if any(start < stop for start, stop in spans)]
    if len(filled) > 1:
        raise CorruptCheckpoint(where, "stores its values twice, in two fields")
    number = filled[0] if filled else _RAW
    if number not in {_RAW, typed}:
        raise CorruptCheckpoint(where, f"stores its {dtype} values in a field for another dtype ({number})")
    spans = message.pieces.get(number, ())
    if number in {_INT32S, _INT64S, _UINT64S}:
        width = max(1, dtypes.DTYPES[dtype].bits // 8) if dtype in dtypes.DTYPES else 1
        return files.source.path.name, _Varints(files.source, spans, width, where), (id(message),)
    return files.source.path.name, _Pieces(files.source, spans), (id(message),)


def _beside(entries: Mapping[str, str], needed: int, files: Files, where: str) -> _Beside:
    location = entries.get("location", "")
    offset, length = (_count(entries.get(key), where) for key in ("offset", "length"))
    size = files.size(location)
    begin = offset or 0
    if length is not None and length != needed:
        raise CorruptCheckpoint(where, f"takes {needed:,} bytes, its entry for {quoted(location)} says {length:,}")
    if begin + needed > size:
        raise CorruptCheckpoint(
            where,
            f"bytes {begin:,} to {begin + needed:,} of {quoted(location)} are named, the file has {size:,}",
            "That file was cut short, or belongs to another model; fetch it again.",
        )
    return _Beside(files, location, begin, needed)


def _count(text: str | None, where: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise CorruptCheckpoint(where, f"names an offset or length that is no count: {quoted(text)}")
    return int(text)


def _nbytes(dtype: str, size: int) -> int:
    return (size + 1) // 2 if dtype in {"I4", "U4"} else dtypes.nbytes(dtype, size)


@dataclass(frozen=True, slots=True)
class _Beside:
    """A range of another file. That is opened for each read: a model may name thousands of files."""

    files: Files
    location: str
    offset: int
    size: int

    def read_at(self, offset: int, count: int) -> bytes:
        source = self.files.open(self.location)
        try:
            return source.read_at(self.offset + offset, count)
        finally:
            source.close()


class _Pieces:
    """Ranges of one file, one after the other: raw_data is one, a list of floats may come in several."""

    def __init__(self, source: Source, spans: tuple[Span, ...]) -> None:
        self._source = source
        self._spans = spans
        self._ends = list(accumulate(stop - start for start, stop in spans))
        self.size = self._ends[-1] if self._ends else 0

    def read_at(self, offset: int, count: int) -> bytes:
        parts = []
        index = bisect_right(self._ends, offset)
        while count > 0 and index < len(self._spans):
            start, stop = self._spans[index]
            begin = start + offset - (self._ends[index] - (stop - start))
            part = self._source.read_at(begin, min(count, stop - begin))
            parts.append(part)
            offset, count, index = offset + len(part), count - len(part), index + 1
        return b"".join(parts)


class _Varints:
    """Integers that take as many bytes as they need, as if each took `width`; every block of them is indexed."""

    def __init__(self, source: Source, spans: tuple[Span, ...], width: int, where: str) -> None:
        self._source = source
        self._width = width
        self._where = where
        self._blocks: list[Span] = []
        self._firsts: list[int] = []  # of each block, the number of its first integer
        count = 0
        for span in spans:
            for block, length in self._cut(span):
                self._blocks.append(block)
                self._firsts.append(count)
                count += length
        self.size = count * width

    def read_at(self, offset: int, count: int) -> bytes:
        first, last = offset // self._width, -(-(offset + count) // self._width)
        parts = []
        index = max(0, bisect_right(self._firsts, first) - 1)
        begin = self._firsts[index] if self._firsts else 0
        while index < len(self._blocks) and self._firsts[index] < last:
            parts.append(self._decoded(self._blocks[index]))
            index += 1
        raw = b"".join(parts)
        return raw[offset - begin * self._width :][:count]

    def _decoded(self, block: Span) -> bytes:
        codes = decode_varints(self._source.read_at(block[0], block[1] - block[0]))
        return codes.astype(f"<u{self._width}").tobytes()

    def _cut(self, span: Span) -> list[tuple[Span, int]]:
        # blocks of whole integers, each with how many it holds
        found = []
        start, end = span
        while start < end:
            raw = self._source.read_at(start, min(_BLOCK, end - start))
            raw = raw[: _length(raw)]
            if not raw:
                raise CorruptCheckpoint(self._where, "its integers end inside a number")
            try:
                count = len(decode_varints(raw))
            except ValueError as error:
                raise CorruptCheckpoint(self._where, f"its integers hold {error}") from error
            found.append(((start, start + len(raw)), count))
            start += len(raw)
        return found


def _length(raw: bytes) -> int:
    """Return how many bytes, from the start, are whole integers."""
    ends = np.flatnonzero(np.frombuffer(raw, np.uint8) < 0x80)
    return int(ends[-1]) + 1 if len(ends) else 0
