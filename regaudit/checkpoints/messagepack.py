"""MessagePack, walked in place: keys and numbers are read, long blocks are skipped and known by their place.

A file of any size opens in the time of its tree; the package `msgpack` would have to unpack all of it into memory.

Source: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from regaudit.checkpoints.source import Source


_WINDOW = 1 << 14  # bytes read at once; the small arrays between the keys come along
_PLAIN = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
            0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}  # fmt: skip
# code → kind, bytes of its length
_LENGTHS = {
    0xC4: ("block", 1), 0xC5: ("block", 2), 0xC6: ("block", 4),
    0xC7: ("extension", 1), 0xC8: ("extension", 2), 0xC9: ("extension", 4),
    **dict.fromkeys(range(0xD4, 0xD9), ("extension", 0)),
    0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4),
    0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes that were skipped: of an extension type, or -1 for a plain block."""

    kind: int
    offset: int
    count: int


class Walk:
    """A place in the file, from which items are read forwards."""

    def __init__(self, source: Source, start: int, stop: int, budget: int | None = None) -> None:
        """Begin at a byte; no item may reach beyond another, and no more than `budget` items are read."""
        self.at, self.stop = start, stop
        self._source = source
        self._where = str(source.path)
        self._window, self._window_at = b"", start
        self._left = limits.MESSAGEPACK_ITEMS.value if budget is None else budget

    def corrupt(self, problem: str) -> CorruptCheckpoint:
        """Return the error of content that contradicts itself, with the place."""
        return CorruptCheckpoint(self._where, f"{problem} at byte {self.at:,}")

    def _take(self, count: int) -> bytes:
        if count > self.stop - self.at:
            raise self.corrupt(f"ends before {count:,} more bytes that are announced")
        begin = self.at - self._window_at
        if not 0 <= begin <= len(self._window) - count:
            self._window = self._source.read_at(self.at, min(max(count, _WINDOW), self.stop - self.at))
            self._window_at, begin = self.at, 0
        self.at += count
        return self._window[begin : begin + count]

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "big")

    def item(self, depth: int = limits.MESSAGEPACK_DEPTH.default) -> object:
        """Return the next item: maps, lists, short texts and numbers as such, blocks by their place.

        Raises:
            UnsafeCheckpoint: There are more items than in any model, or deeper ones.
        """
        self._left -= 1
        if self._left < 0:
            raise UnsafeCheckpoint(self._where, *limits.MESSAGEPACK_ITEMS.exceeded("has too many items"))
        if not depth:
            raise UnsafeCheckpoint(self._where, *limits.MESSAGEPACK_DEPTH.exceeded("has dicts in dicts without end"))
        code = self._number(1)
        if code < 0x80 or code >= 0xE0:
            return code if code < 0x80 else code - 256
        if code < 0xC0:
            if code >= 0xA0:
                return self._text(code & 0x1F)
            return self._map(code & 0xF, depth) if code < 0x90 else self._list(code & 0xF, depth)
        return self._long_item(code, depth)

    def _long_item(self, code: int, depth: int) -> object:
        if code in _PLAIN:
            return _PLAIN[code]
        if code in _NUMBERS:
            return struct.unpack(_NUMBERS[code], self._take(struct.calcsize(_NUMBERS[code])))[0]
        if code in _LENGTHS:
            kind, width = _LENGTHS[code]
            count = self._number(width) if width else 1 << (code - 0xD4)  # d4 … d8: extensions of 1 … 16 bytes
            match kind:
                case "text":
                    return self._text(count)
                case "list":
                    return self._list(count, depth)
                case "map":
                    return self._map(count, depth)
                case "extension":
                    return self._blob(self._number(1), count)
                case _:
                    return self._blob(-1, count)
        raise self.corrupt(f"has an item of the unknown type {code:#04x}")

    def _blob(self, kind: int, count: int) -> Blob:
        if count > self.stop - self.at:
            raise self.corrupt(f"ends before {count:,} bytes of an array that are announced")
        found = Blob(kind=kind, offset=self.at, count=count)
        self.at += count
        return found

    def _text(self, count: int) -> str | Blob:
        return (
            self._blob(-1, count)
            if count > limits.MESSAGEPACK_TEXT.default
            else self._take(count).decode("utf-8", "backslashreplace")
        )

    def _list(self, count: int, depth: int) -> list[object]:
        return [self.item(depth - 1) for _ in range(count)]

    def _map(self, count: int, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        for _ in range(count):
            key = self.item(depth - 1)
            if not isinstance(key, str | int) or str(key) in found:
                raise self.corrupt("has a key that is no text, or occurs twice,")
            found[str(key)] = self.item(depth - 1)
        return found
