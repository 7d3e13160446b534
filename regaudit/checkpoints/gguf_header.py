"""The header of a GGUF file: key-value pairs, then name, shape, type and offset of each tensor.

It is read through a window, and only what the audit can use is kept: a vocabulary of a hundred thousand strings is
walked over.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3)
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import dtypes, limits
from regaudit.checkpoints.ggml import BLOCKS
from regaudit.checkpoints.text import quoted
from regaudit.errors import CorruptCheckpoint, UnknownFormat, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.checkpoints.limits import Limit
    from regaudit.checkpoints.source import Source

MAGIC = b"GGUF"
_AXES = 4  # GGML_MAX_DIMS
_WINDOW_BYTES = 1 << 18
_KEPT_BYTES = 4096  # longer texts are chat templates and licences
_ALIGNMENT = 32
_LEAST_PAIR, _LEAST_TENSOR = 13, 24  # bytes of a pair with an empty key, of a tensor with an empty name and no axis
_COUNT, _LENGTH = struct.Struct("<I"), struct.Struct("<Q")
_BOOL, _STRING, _ARRAY = 7, 8, 9
_SCALARS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), _BOOL: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
# enum ggml_type; the numbers that are missing were given up.
_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K",
    13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL",
    21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M",
    30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One tensor of the header: shape in numpy's order, dtype ("" if unknown), and where its bytes lie in the file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    type_number: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the header says. `facts` holds numbers, booleans and short texts, no arrays. Untrusted."""

    version: int
    facts: Mapping[str, Any]
    entries: tuple[Entry, ...]


def read_header(source: Source) -> Header:
    """Return the header of an open GGUF file, every length and offset checked against the file.

    Raises:
        CorruptCheckpoint: It ends early, contradicts itself, or names what the format does not have.
        UnknownFormat: It is of a version or byte order that is not read.
        UnsafeCheckpoint: It is larger than any model needs.
    """
    cursor = _Cursor(source)
    version = _version(cursor)
    tensors, pairs = (cursor.scalar(_LENGTH) for _ in range(2))
    cursor.require(tensors, _LEAST_TENSOR, limits.TENSORS, "tensors")
    cursor.require(pairs, _LEAST_PAIR, limits.GGUF_PAIRS, "key-value pairs")
    facts: dict[str, Any] = {}
    for _ in range(pairs):
        _read_pair(cursor, facts)
    described = [_described(cursor) for _ in range(tensors)]
    alignment = facts.get("general.alignment", _ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= limits.GGUF_ALIGNMENT.value:
        raise CorruptCheckpoint(
            cursor.where, f"general.alignment is {quoted(str(alignment))}, a number of bytes is due"
        )
    begin = -(-cursor.position // alignment) * alignment
    entries = tuple(_placed(each, begin, alignment, source) for each in described)
    _require_apart(entries, cursor.where)
    return Header(version=version, facts={k: v for k, v in facts.items() if v is not None}, entries=entries)


class _Cursor:
    """A position in the header, and a window of bytes around it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.where = f"{source.path}: header"
        self.limit = min(source.size, limits.HEADER_BYTES.value)
        self.position = 0
        self._begin = 0
        self._window = b""

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        begin = self._reach(count)
        self.position += count
        return self._window[begin : begin + count]

    def scalar(self, kind: struct.Struct) -> Any:  # noqa: ANN401  the type is the file's choice
        """Return one number."""
        begin = self._reach(kind.size)
        self.position += kind.size
        return kind.unpack_from(self._window, begin)[0]

    def text(self, limit: int) -> str | None:
        # the next string; None where it is longer than `limit` bytes
        length = self.scalar(_LENGTH)
        if length > limit:
            self.skip(length)
            return None
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorruptCheckpoint(self.where, f"a text before byte {self.position:,} is not UTF-8") from error

    def skip(self, count: int) -> None:
        """Go `count` bytes on."""
        self._require(count)
        self.position += count

    def skip_texts(self, count: int) -> None:
        """Go `count` strings on."""
        # NOTE: the loop runs once for each token of a vocabulary: half of the time that opening a file takes.
        position, window, begin = self.position, self._window, self._begin
        for _ in range(count):
            if not begin <= position <= begin + len(window) - _LENGTH.size:
                self.position = position
                self._reach(_LENGTH.size)
                window, begin = self._window, self._begin
            position += _LENGTH.size + _LENGTH.unpack_from(window, position - begin)[0]
        self.position, count = self.position, position - self.position
        self.skip(count)

    def require(self, count: int, least: int, limit: Limit, what: str) -> None:
        # refuses a count of things, of `least` bytes each, that the file cannot hold
        if count > limit.value:
            raise UnsafeCheckpoint(self.where, *limit.exceeded(f"announces {count:,} {what}", needed=count))
        if count * least > self.source.size - self.position:
            raise CorruptCheckpoint(
                self.where,
                f"announces {count:,} {what}, but only {self.source.size - self.position:,} bytes follow",
                "The download or copy was cut short; fetch the file again.",
            )

    def _require(self, count: int) -> None:
        if self.position + count <= self.limit:
            return
        if self.position + count <= self.source.size:
            raise UnsafeCheckpoint(self.where, *limits.HEADER_BYTES.exceeded("is longer than any model's"))
        raise CorruptCheckpoint(
            self.where,
            f"needs {self.position + count:,} bytes, the file has {self.source.size:,}",
            "The download or copy was cut short; fetch the file again.",
        )

    def _reach(self, count: int) -> int:
        """Return where in the window the next bytes begin, after moving it if they are not all in it."""
        begin = self.position - self._begin
        if begin < 0 or begin + count > len(self._window):
            self._require(count)
            self._begin, begin = self.position, 0
            self._window = self.source.read_at(
                self.position, min(max(count, _WINDOW_BYTES), self.limit - self.position)
            )
        return begin


def _version(cursor: _Cursor) -> int:
    if cursor.take(len(MAGIC)) != MAGIC:
        raise CorruptCheckpoint(cursor.where, "does not begin with GGUF")
    version = cursor.scalar(_COUNT)
    if version in {2, 3}:
        return int(version)
    if version and not version & 0xFFFF:
        raise UnknownFormat(
            cursor.where,
            "is written in big-endian order; little-endian files are read",
            "Convert it: python -m gguf.scripts.gguf_convert_endian FILE little",
        )
    raise UnknownFormat(
        cursor.where, f"is of GGUF version {version:,}; 2 and 3 are read", "Convert the model again with llama.cpp."
    )


def _read_pair(cursor: _Cursor, facts: dict[str, Any]) -> None:
    key = _name(cursor, "a key")
    if key in facts:
        raise CorruptCheckpoint(cursor.where, f"the key {quoted(key)} occurs twice")
    facts[key] = _value(cursor, cursor.scalar(_COUNT), key)


def _value(cursor: _Cursor, kind: int, key: str) -> object:
    # None for arrays and long texts
    if kind in _SCALARS:
        return cursor.scalar(_SCALARS[kind])
    if kind == _STRING:
        return cursor.text(_KEPT_BYTES)
    if kind != _ARRAY:
        raise CorruptCheckpoint(cursor.where, f"the value of {quoted(key)} has the type {kind:,}; 0 to 12 are known")
    element, count = cursor.scalar(_COUNT), cursor.scalar(_LENGTH)
    if element in _SCALARS:
        cursor.skip(count * _SCALARS[element].size)
    elif element == _STRING:
        cursor.require(count, _LENGTH.size, limits.HEADER_BYTES, f"texts in {quoted(key)}")
        cursor.skip_texts(count)
    else:
        raise CorruptCheckpoint(
            cursor.where, f"{quoted(key)} is an array of elements of type {element:,}, no model's is"
        )
    return None


def _name(cursor: _Cursor, what: str) -> str:
    name = cursor.text(limits.GGUF_NAME_BYTES.value)
    if name is None:
        raise UnsafeCheckpoint(
            cursor.where, *limits.GGUF_NAME_BYTES.exceeded(f"{what} is too long, before byte {cursor.position:,}")
        )
    return name


def _described(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    # name, shape, number of the type, and offset of the next tensor
    name = _name(cursor, "the name of a tensor")
    where = f"{cursor.source.path}: tensor {quoted(name)}"
    rank = cursor.scalar(_COUNT)
    if rank > _AXES:
        raise CorruptCheckpoint(where, f"has {rank:,} axes; GGUF allows {_AXES}")
    lengths = [cursor.scalar(_LENGTH) for _ in range(rank)]
    if math.prod(lengths) > limits.ELEMENTS.value or max(lengths, default=0) > limits.ELEMENTS.value:
        raise CorruptCheckpoint(where, f"no tensor has the shape {lengths}")
    # GGML names the axis along which elements lie side by side first, numpy last.
    return name, tuple(reversed(lengths)), cursor.scalar(_COUNT), cursor.scalar(_LENGTH)


def _placed(described: tuple[str, tuple[int, ...], int, int], begin: int, alignment: int, source: Source) -> Entry:
    name, shape, number, offset = described
    where = f"{source.path}: tensor {quoted(name)}"
    dtype = _TYPES.get(number, "")
    count = _nbytes(dtype, shape, where) if dtype else 0
    if offset % alignment:
        raise CorruptCheckpoint(where, f"begins at byte {offset:,} of the data, which is no multiple of {alignment}")
    if begin + offset + count > source.size and (count or offset):
        raise CorruptCheckpoint(
            where,
            f"shape {list(shape)} of {dtype or f'type {number:,}'} takes bytes {begin + offset:,} to "
            f"{begin + offset + count:,}, the file has {source.size:,}",
            "The download or copy was cut short; fetch the file again.",
        )
    return Entry(name=name, shape=shape, dtype=dtype, type_number=number, offset=begin + offset, nbytes=count)


def _nbytes(dtype: str, shape: tuple[int, ...], where: str) -> int:
    size = math.prod(shape)
    block = BLOCKS.get(dtype)
    if block is None:
        return dtypes.nbytes(dtype, size)
    if size and (not shape or shape[-1] % block.size):
        raise CorruptCheckpoint(where, f"rows of shape {list(shape)} do not fill blocks of {block.size} ({dtype})")
    return size // block.size * block.nbytes


def _require_apart(entries: tuple[Entry, ...], where: str) -> None:
    # With two tensors of one name, or in one place, two readers could see different models.
    seen: set[str] = set()
    end, last = 0, ""
    for entry in sorted(entries, key=lambda each: (each.offset, each.nbytes)):
        if entry.name in seen:
            raise CorruptCheckpoint(where, f"the tensor {quoted(entry.name)} occurs twice")
        seen.add(entry.name)
        if entry.offset < end and entry.nbytes:
            raise CorruptCheckpoint(where, f"the tensors {quoted(last)} and {quoted(entry.name)} share bytes")
        end, last = max(end, entry.offset + entry.nbytes), entry.name
