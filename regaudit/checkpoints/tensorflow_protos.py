"""The few messages of protocol buffers that describe TensorFlow's variables, read without TensorFlow.

Source: tensorflow/core/protobuf/{tensor_bundle,trackable_object_graph}.proto, tensorflow/core/framework/{types,
tensor_shape,tensor_slice}.proto, keras/protobuf/saved_metadata.proto (TensorFlow 2.21, Keras 2.15);
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints.tensorflow_table import varint
from regaudit.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

# tensorflow.DataType
DTYPES = {
    1: "F32", 2: "F64", 3: "I32", 4: "U8", 5: "I16", 6: "I8", 8: "C64", 9: "I64", 10: "BOOL", 14: "BF16", 17: "U16",
    18: "C128", 19: "F16", 22: "U32", 23: "U64", 24: "F8_E5M2", 25: "F8_E4M3", 26: "F8_E4M3FNUZ", 28: "F8_E5M2FNUZ",
}  # fmt: skip
STRING = 7
NAMES = {
    7: "string", 11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16", 20: "resource", 21: "variant",
    29: "int4", 30: "uint4",
}  # fmt: skip

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups (3 and 4) are not used
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the index says of the whole checkpoint."""

    shards: int
    big_endian: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a variable lies: bytes [offset, offset + size) of a shard, or parts that have entries of their own.

    Each of `slices` has one (start, length) for each axis; the length of a whole axis is -1.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    slices: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasObject:
    """One Keras object of a SavedModel: its place (`root.layer-1`), its kind, and its JSON."""

    path: str
    kind: str
    json: bytes


def fields(raw: bytes, where: str) -> Iterator[tuple[int, int | bytes]]:
    """Yield numbers and values of a message's fields, in the order of the file.

    Raises:
        CorruptCheckpoint: A field is longer than the message, or of no known type.
    """
    at = 0
    while at < len(raw):
        tag, at = varint(raw, at, where)
        kind = tag & 7
        if kind == _VARINT:
            value, at = varint(raw, at, where)
            yield tag >> 3, value
            continue
        size = _WIDTHS.get(kind, 0)
        if kind == _BYTES:
            size, at = varint(raw, at, where)
        elif not size:
            raise CorruptCheckpoint(where, f"a field has the unknown wire type {kind}")
        if at + size > len(raw):
            raise CorruptCheckpoint(where, f"a field of {size:,} bytes is longer than its message")
        part = raw[at : at + size]
        yield tag >> 3, part if kind == _BYTES else int.from_bytes(part, "little")
        at += size


def header(raw: bytes, where: str) -> Header:
    """Return the header of an index (BundleHeaderProto)."""
    found = dict(fields(raw, where))
    shards, endianness = found.get(1, 0), found.get(2, 0)
    return Header(shards=shards if isinstance(shards, int) else 0, big_endian=endianness == 1)


def entry(raw: bytes, where: str) -> Entry:
    """Return the entry of a variable (BundleEntryProto)."""
    numbers = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: tuple[int, ...] = ()
    slices: list[tuple[tuple[int, int], ...]] = []
    for number, value in fields(raw, where):
        if number in numbers and isinstance(value, int):
            numbers[number] = value
        elif number == 2 and isinstance(value, bytes):
            shape = tuple(_number(dim, 1, where) for dim in _messages(value, 2, where))
        elif number == 7 and isinstance(value, bytes):
            slices.append(tuple(_extent(extent, where) for extent in _messages(value, 1, where)))
    dtype, shard, offset, size = numbers.values()
    return Entry(dtype=dtype, shape=shape, shard=shard, offset=offset, size=size, slices=tuple(slices))


def variable_names(graph: bytes, where: str) -> dict[str, str]:
    """Return the variables' own names (`dense/kernel`) by their keys in the checkpoint (TrackableObjectGraph)."""
    names: dict[str, str] = {}
    for node in _messages(graph, 1, where):
        for attribute in _messages(node, 2, where):
            found = dict(fields(attribute, where))
            names[_text(found.get(3))] = _text(found.get(2))
    return names


def keras_objects(raw: bytes, where: str) -> Iterator[KerasObject]:
    """Yield the objects of a `keras_metadata.pb` (SavedMetadata)."""
    for node in _messages(raw, 1, where):
        found = dict(fields(node, where))
        json = found.get(5)
        if isinstance(json, bytes):
            yield KerasObject(path=_text(found.get(3)), kind=_text(found.get(4)), json=json)


def _messages(raw: bytes, number: int, where: str) -> Iterator[bytes]:
    return (value for key, value in fields(raw, where) if key == number and isinstance(value, bytes))


def _number(raw: bytes, number: int, where: str) -> int:
    value = dict(fields(raw, where)).get(number, 0)
    return value if isinstance(value, int) else 0


def _extent(raw: bytes, where: str) -> tuple[int, int]:
    found = dict(fields(raw, where))
    start, length = found.get(1, 0), found.get(2, -1)
    return (start, length) if isinstance(start, int) and isinstance(length, int) else (0, 0)


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else ""
