"""The texts in an HDF5 file's attributes, read without libhdf5.

Keras keeps its configuration and its names there, as strings of variable length. libhdf5 2.0 allocates what a damaged
length says, loops for ever on a damaged heap and may crash the process; so these few structures are read here,
bounded, from the bytes.

Source:
    HDF5 File Format Specification 3.0, sections III.E (Global Heap) and IV.A (Object Headers), with addresses and
    lengths of 8 bytes: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REREAD = 16  # how often a file's bytes may be read in all: in an honest one no two headers or heaps overlap
_CONTINUATION, _ATTRIBUTE = 0x10, 0x0C
_SHARED = 0x02  # flag of a message that lies elsewhere
_TIMES, _PHASES, _ORDERED = 0x20, 0x10, 0x04  # flags of an object header
_STRING, _VARIABLE = 3, 9  # classes of datatypes
_MALFORMED = (struct.error, IndexError, ValueError)


class Attributes:
    """Reads the attributes of one file's objects."""

    def __init__(
        self, where: str, size: int, base: int, read_at: Callable[[int, int], bytes], wanted: tuple[str, ...]
    ) -> None:
        """Remember the file.

        Args:
            where: The file, for messages.
            size: Of the file in bytes.
            base: Where its addresses begin to count (the size of the user block).
            read_at: `read_at(offset, count)` returns bytes of it.
            wanted: What the names of the attributes that matter begin with.
        """
        self._where = where
        self._size = size
        self._base = base
        self._read_at = read_at
        self._wanted = wanted
        self._heaps: dict[int, dict[int, bytes]] = {}
        self._budget = _REREAD * size

    def texts(self, address: int) -> dict[str, tuple[bytes, ...]]:
        """Return the wanted attributes of the object whose header is at an address; () for what is no text."""
        found: dict[str, tuple[bytes, ...]] = {}
        try:
            for kind, body in self._messages(address):
                if kind == _ATTRIBUTE:
                    found |= self._attribute(body)
        except _MALFORMED as error:
            raise self._corrupt(f"malformed attributes ({error})") from error
        return found

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """Yield type and body of all messages of an object header, in whichever blocks they lie.

        Raises:
            UnsafeCheckpoint: The header goes on and on.
        """
        start = self._bytes(address, 16)
        is_new = start[:4] == b"OHDR"
        flags = start[5] if is_new else 0
        if is_new:
            begin = 6 + (16 if flags & _TIMES else 0) + (4 if flags & _PHASES else 0)
            width = 1 << (flags & 3)
            length = int.from_bytes(self._bytes(address + begin, width), "little")
            blocks = [(address + begin + width, length)]
        else:
            blocks = [(address + 16, struct.unpack_from("<I", start, 8)[0])]
        for count, (offset, length) in enumerate(blocks):
            if count > limits.HDF5_BLOCKS.value:
                raise UnsafeCheckpoint(
                    self._where, *limits.HDF5_BLOCKS.exceeded("has an object header of too many blocks")
                )
            for kind, flag, body in _split(self._bytes(offset, length), is_new=is_new, ordered=bool(flags & _ORDERED)):
                if kind == _CONTINUATION:
                    further, size = struct.unpack_from("<QQ", body)
                    # a block of the new form begins with its magic and ends with a checksum
                    blocks.append((further + 4, size - 8) if is_new else (further, size))
                elif not flag & _SHARED:
                    yield kind, body

    def _attribute(self, body: bytes) -> dict[str, tuple[bytes, ...]]:
        version = body[0]
        sizes = struct.unpack_from("<HHH", body, 2)
        position = 9 if version == 3 else 8
        parts: list[bytes] = []
        for size in sizes:
            parts.append(body[position : position + size])
            position += -(-size // 8) * 8 if version == 1 else size
        raw_name, datatype, space = parts
        name = raw_name.rstrip(b"\0").decode("utf-8", "backslashreplace")
        is_elsewhere = version > 1 and body[1] & 3  # its type is shared with other objects
        if is_elsewhere or not name.startswith(self._wanted):
            return {}
        return {name: self._value(datatype, _count(space), body[position:])}

    def _value(self, datatype: bytes, count: int, data: bytes) -> tuple[bytes, ...]:
        kind, width = datatype[0] & 0xF, struct.unpack_from("<I", datatype, 4)[0]
        is_text = kind == _STRING or (kind == _VARIABLE and datatype[1] & 0xF == 1 and width == 16)
        if not is_text or not count:
            return ()
        if not width or count * width > len(data):
            raise ValueError(f"{count:,} texts of {width:,} bytes in {len(data):,} bytes")
        items = (data[index * width : (index + 1) * width] for index in range(count))
        found: list[bytes] = []
        total = 0
        for item in items:
            text = item if kind == _STRING else self._in_heap(*struct.unpack("<IQI", item))
            total += len(text)
            if total > limits.HDF5_TEXT_BYTES.value:
                raise UnsafeCheckpoint(
                    self._where, *limits.HDF5_TEXT_BYTES.exceeded("an attribute has too long a text", needed=total)
                )
            found.append(text.rstrip(b"\0"))
        return tuple(found)

    def _in_heap(self, length: int, address: int, index: int) -> bytes:
        if not length:
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._heap(address)
        text = self._heaps[address].get(index)
        if text is None or len(text) < length:
            raise ValueError(f"text {index} is not in the heap at {address:,}")
        return text[:length]

    def _heap(self, address: int) -> dict[int, bytes]:
        header = self._bytes(address, 16)
        size = int.from_bytes(header[8:], "little")
        if header[:4] != b"GCOL":
            raise ValueError(f"no heap at {address:,}")
        content = self._bytes(address, size)
        found: dict[int, bytes] = {}
        position = 16
        while position + 16 <= size:
            index, length = struct.unpack_from("<H6xQ", content, position)
            if not index:  # what is left is free
                break
            found[index] = content[position + 16 : position + 16 + length]
            position += 16 + -(-length // 8) * 8
        return found

    def _bytes(self, address: int, count: int) -> bytes:
        if count < 0 or self._base + address + count > self._size:
            raise self._corrupt(f"attributes beyond the end of the file (at byte {address:,})")
        self._budget -= count
        if count > 2 * limits.HDF5_TEXT_BYTES.value:
            raise UnsafeCheckpoint(
                self._where, *limits.HDF5_TEXT_BYTES.exceeded(f"its attributes take {count:,} bytes", needed=count)
            )
        if self._budget < 0:
            raise UnsafeCheckpoint(self._where, "its attributes refer to each other again and again")
        return self._read_at(self._base + address, count)

    def _corrupt(self, problem: str) -> CorruptCheckpoint:
        fix = "The download or copy was cut short or damaged; fetch the file again."
        return CorruptCheckpoint(self._where, f"cannot be read as HDF5: {problem}", fix)


def _split(block: bytes, *, is_new: bool, ordered: bool) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, flags and body of each message in one block of an object header."""
    form = struct.Struct("<BHB2x" if ordered else "<BHB") if is_new else struct.Struct("<HHB3x")
    position = 0
    while position + form.size <= len(block):
        kind, size, flags = form.unpack_from(block, position)
        position += form.size
        yield kind, flags, block[position : position + size]
        position += size


def _count(space: bytes) -> int:
    """Return the number of elements of a dataspace."""
    version, rank = space[0], space[1]
    if version == 2 and space[3] == 2:  # a null space
        return 0
    return math.prod(struct.unpack_from(f"<{rank}Q", space, 8 if version == 1 else 4))
