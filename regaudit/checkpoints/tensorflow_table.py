"""The index of a TensorFlow checkpoint: keys and values, sorted, in blocks (the table format of LevelDB).

A block holds entries that share the beginning of their key with the entry before; the last block points to the blocks,
and the footer to it. TensorFlow writes these blocks uncompressed.

Source: https://github.com/google/leveldb/blob/main/doc/table_format.md; tensorflow/core/lib/io/format.cc.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.errors import CorruptCheckpoint, UnknownFormat, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.checkpoints.source import Source

MAGIC = bytes.fromhex("57fb808b247547db")

_FOOTER = 48  # two handles of at most 20 bytes, padded, and the magic number
_TRAILER = 5  # one byte for the compression, a checksum of four
_VARINT = 10  # bytes of the longest 64-bit integer
_REFETCH = "The download or copy was cut short; fetch the file again."


def is_table(source: Source) -> bool:
    """Return whether a file ends as a table does."""
    return source.size >= _FOOTER and source.read_at(source.size - len(MAGIC), len(MAGIC)) == MAGIC


def read_table(source: Source) -> dict[bytes, bytes]:
    """Return all entries of a table, in its order.

    Raises:
        CorruptCheckpoint: It is cut short, or contradicts itself.
        UnsafeCheckpoint: It is larger than the index of any model.
    """
    where = str(source.path)
    if source.size > limits.TENSORFLOW_INDEX_BYTES.value:
        problem = f"the index has {source.size:,} bytes"
        raise UnsafeCheckpoint(where, *limits.TENSORFLOW_INDEX_BYTES.exceeded(problem, needed=source.size))
    if not is_table(source):
        raise CorruptCheckpoint(where, "does not end as the index of a TensorFlow checkpoint does", _REFETCH)
    footer = source.read_at(source.size - _FOOTER, _FOOTER)
    _, at = _handle(footer, 0, where)  # of the blocks about blocks, which TensorFlow does not use
    root, _ = _handle(footer, at, where)
    table: dict[bytes, bytes] = {}
    last, total = b"", 0
    for _, handle in _entries(_block(source, root), where):
        entries = list(_entries(_block(source, _handle(handle, 0, where)[0]), where))
        if not entries:  # no table has such a block; a hostile one could have it read a million times
            raise CorruptCheckpoint(where, "a block of its index holds nothing")
        for key, value in entries:
            if table and key <= last:
                raise CorruptCheckpoint(where, "the keys of its index are not in order")
            table[key], last, total = value, key, total + len(key)
            if len(table) > limits.TENSORFLOW_ENTRIES.value:
                raise UnsafeCheckpoint(where, *limits.TENSORFLOW_ENTRIES.exceeded("the index has too many entries"))
            if total > limits.TENSORFLOW_KEY_BYTES.value:
                raise UnsafeCheckpoint(where, *limits.TENSORFLOW_KEY_BYTES.exceeded("the index has huge keys"))
    return table


def varint(raw: bytes, at: int, where: str) -> tuple[int, int]:
    """Return the integer of 7 bits a byte that begins at a place, and the place behind it.

    Raises:
        CorruptCheckpoint: It does not end within its bytes, or has more than 64 bits.
    """
    value = 0
    for shift, byte in enumerate(raw[at : at + _VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + shift + 1
    raise CorruptCheckpoint(where, f"an integer at byte {at:,} of its part has no end")


def _handle(raw: bytes, at: int, where: str) -> tuple[tuple[int, int], int]:
    offset, at = varint(raw, at, where)
    size, at = varint(raw, at, where)
    return (offset, size), at


def _block(source: Source, handle: tuple[int, int]) -> bytes:
    offset, size = handle
    raw = source.read_at(offset, size + _TRAILER)
    if raw[size]:
        raise UnknownFormat(
            str(source.path),
            f"its index is compressed (method {raw[size]}), as TensorFlow before 1.0 wrote it",
            "Load it and save it again with tf.train.Checkpoint.",
        )
    return raw[:size]


def _entries(block: bytes, where: str) -> Iterator[tuple[bytes, bytes]]:
    # behind keys and values lie offsets into the block for a faster search, and their number
    if len(block) < 4:
        raise CorruptCheckpoint(where, f"a block of its index has {len(block)} bytes")
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    if end < 0:
        raise CorruptCheckpoint(where, "a block of its index is shorter than its own table")
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at, where)
        fresh, at = varint(block, at, where)
        size, at = varint(block, at, where)
        if shared > len(key) or at + fresh + size > end:
            raise CorruptCheckpoint(where, "an entry of its index is longer than its block")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + size]
        at += fresh + size
