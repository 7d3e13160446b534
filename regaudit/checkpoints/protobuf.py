"""The wire format of protocol buffers, walked in place: fields by number, long ones as ranges of the file.

Nothing is generated from a schema and nothing long is read: a field of a gigabyte is two offsets.

Source: https://protobuf.dev/programming-guides/encoding/ (2024).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regaudit.checkpoints import limits
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.checkpoints.source import Source
    from regaudit.records import Array

# Kinds of fields on the wire (their numbers there); groups, 3 and 4, were given up in 2008.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_WINDOW = 1 << 16  # bytes read at once
_VARINT_BYTES = 10  # 64 bits, 7 in each
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_SIGN = 1 << 63

Span = tuple[int, int]


class Field(NamedTuple):
    """One field: the bytes [start, stop) of the file hold its value, which for a varint is also decoded."""

    number: int
    kind: int
    value: int
    start: int
    stop: int

    @property
    def span(self) -> Span:
        """The bytes of the value."""
        return self.start, self.stop


class Wire:
    """The fields of one file. They are counted: no file may hold more than the limit protobuf-fields that are looked at."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._window = b""
        self._begin = 0
        self._fields = 0
        self._text = 0
        self._field_limit = limits.PROTOBUF_FIELDS.value  # looked up once: they are compared with for every field
        self._name_limit, self._names_limit = limits.PROTOBUF_NAME_BYTES.value, limits.HEADER_BYTES.value

    def fields(self, span: Span) -> Iterator[Field]:
        """Yield the fields of a message.

        Args:
            span: Its bytes in the file.

        Yields:
            Fields in file order; unknown numbers too.

        Raises:
            CorruptCheckpoint: The bytes are no message: a field is of no kind, or ends beyond the message.
            UnsafeCheckpoint: There are more fields than any model has.
        """
        position, end = span
        while position < end:
            tag, position = self._varint(position, end)
            kind, value, start = tag & 7, 0, position
            if kind == VARINT:
                value, position = self._varint(position, end)
            elif kind == BYTES:
                value, start = self._varint(position, end)
                position = start + value
            elif kind in _WIDTHS:
                position += _WIDTHS[kind]
            else:
                raise self._corrupt(start, f"a field of the unknown kind {kind}")
            if position > end:
                raise self._corrupt(start, f"a field of {position - start:,} bytes, {end - start:,} are left")
            if tag < 8:
                raise self._corrupt(start, "a field with the number 0")
            self._count()
            yield Field(tag >> 3, kind, value, start, position)

    def text(self, field: Field) -> str:
        """Return a name. Bytes that are no UTF-8 are written as escapes.

        Raises:
            CorruptCheckpoint: The field holds no bytes.
            UnsafeCheckpoint: The name, or all names together, are longer than in any model.
        """
        length = field.stop - field.start
        self._require(field, BYTES)
        self._text += length
        if length > self._name_limit:
            problem = f"has a name of {length:,} bytes at byte {field.start:,}"
            raise UnsafeCheckpoint(str(self.source.path), *limits.PROTOBUF_NAME_BYTES.exceeded(problem, needed=length))
        if self._text > self._names_limit:
            raise UnsafeCheckpoint(
                str(self.source.path), *limits.HEADER_BYTES.exceeded("its names are too long together")
            )
        begin = field.start - self._begin
        raw = self._window[begin : begin + length] if begin >= 0 else b""
        if len(raw) != length:
            raw = self.source.read_at(field.start, length)
        return raw.decode("utf-8", "backslashreplace")

    def message(self, field: Field) -> Iterator[Field]:
        """Return the fields of a message that is a field's value.

        Returns:
            As `fields`.

        Raises:
            CorruptCheckpoint: The field holds no message.
        """
        self._require(field, BYTES)
        return self.fields(field.span)

    def integer(self, field: Field) -> int:
        """Return a signed 64-bit integer.

        Raises:
            CorruptCheckpoint: The field holds no integer.
        """
        self._require(field, VARINT)
        return signed(field.value)

    def integers(self, field: Field) -> list[int]:
        """Return one element of a repeated integer, or a packed run of them.

        Raises:
            CorruptCheckpoint: The field holds no integers.
        """
        if field.kind == VARINT:
            return [signed(field.value)]
        self._require(field, BYTES)
        found: list[int] = []
        position = field.start
        while position < field.stop:
            value, position = self._varint(position, field.stop)
            self._count()
            found.append(signed(value))
        return found

    def number(self, field: Field) -> float:
        """Return a 32-bit float.

        Raises:
            CorruptCheckpoint: The field holds none.
        """
        self._require(field, FIXED32)
        return float(struct.unpack("<f", self.source.read_at(field.start, 4))[0])

    def numbers(self, field: Field) -> list[float]:
        """Return one element of a repeated 32-bit float, or a packed run of them.

        Raises:
            CorruptCheckpoint: The field holds no such floats.
            UnsafeCheckpoint: There are more than any setting has.
        """
        if field.kind == FIXED32:
            return [self.number(field)]
        self._require(field, BYTES)
        count, rest = divmod(field.stop - field.start, 4)
        if rest:
            raise self._corrupt(field.start, f"a run of floats in {field.stop - field.start:,} bytes")
        if count > limits.PROTOBUF_NUMBERS.value:
            problem = f"has a setting of {count:,} numbers"
            raise UnsafeCheckpoint(str(self.source.path), *limits.PROTOBUF_NUMBERS.exceeded(problem, needed=count))
        return list(struct.unpack(f"<{count}f", self.source.read_at(field.start, 4 * count)))

    def _require(self, field: Field, kind: int) -> None:
        if field.kind != kind:
            raise self._corrupt(field.start, f"field {field.number} of kind {field.kind}, kind {kind} was expected")

    def _count(self) -> None:
        self._fields += 1
        if self._fields > self._field_limit:
            raise UnsafeCheckpoint(str(self.source.path), *limits.PROTOBUF_FIELDS.exceeded("has too many fields"))

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Return an unsigned integer and the position behind it."""
        value = 0
        for shift in range(0, 7 * _VARINT_BYTES, 7):
            if position >= end:
                raise self._corrupt(position, "a message that ends inside a number")
            index = position - self._begin
            if not 0 <= index < len(self._window):
                self._load(position)
                index = 0
            byte = self._window[index]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
        raise self._corrupt(position, f"a number of more than {_VARINT_BYTES} bytes")

    def _load(self, position: int) -> None:
        # At least one byte: behind the end of the file `read_at` says so.
        count = max(1, min(_WINDOW, self.source.size - position))
        self._window, self._begin = self.source.read_at(position, count), position

    def _corrupt(self, position: int, found: str) -> CorruptCheckpoint:
        return CorruptCheckpoint(
            str(self.source.path),
            f"byte {position:,} begins {found}",
            "The file is damaged or cut short; fetch it again.",
        )


def signed(value: int) -> int:
    """Return the two's complement of 64 bits as an integer."""
    return value - (_SIGN << 1) if value & _SIGN else value


def decode_varints(raw: bytes) -> Array:
    """Return whole varints as unsigned 64-bit integers.

    Args:
        raw: Their bytes; the last one ends a varint.

    Returns:
        Shape (n,), dtype uint64.

    Raises:
        ValueError: One has more than ten bytes.
    """
    codes = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(codes < 0x80)
    if not len(ends):
        return np.empty(0, np.uint64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _VARINT_BYTES:
        raise ValueError(f"a number of {lengths.max()} bytes")
    shifts = 7 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    parts = (codes & 0x7F).astype(np.uint64) << shifts.astype(np.uint64)
    return np.bitwise_or.reduceat(parts, starts)
