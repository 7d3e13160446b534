"""The bytes behind the tensors of a torch file: read in place by offset, gathered where a view is strided."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import numpy as np

from regaudit.checkpoints import limits
from regaudit.checkpoints.dtypes import DTYPES, decode
from regaudit.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.checkpoints.archive import Archive
    from regaudit.checkpoints.torch_objects import Storage, View
    from regaudit.records import Array

WIDE = 16  # a view that spans so many times the bytes it asks for is read whole and kept


class Blocks(Protocol):
    """Where a container keeps the bytes of its storages."""

    @property
    def big_endian(self) -> bool:
        """Whether the most significant byte of an element comes first."""

    def member(self, storage: Storage) -> str:
        """Return the name of what holds a storage (an archive member, a file).

        Raises:
            CorruptCheckpoint: There is none, or it has another size than the storage.
        """

    def read_at(self, storage: Storage, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes of a storage from byte `offset`. Thread-safe."""


class ArchiveBlocks:
    """Storages that are members of one folder of a zip archive."""

    def __init__(self, archive: Archive, folder: str, byteorder: str) -> None:
        """Read the archive's byte order (absent before torch 2.1: little-endian).

        Args:
            archive: The open archive.
            folder: What comes before a storage's key in the name of its member (`model/data/`).
            byteorder: The member that says `little` or `big`.
        """
        self._archive = archive
        self._folder = folder
        self.big_endian = byteorder in archive.names and archive.read(byteorder, limit=limits.POINTER_BYTES) == b"big"

    def member(self, storage: Storage) -> str:
        """Return the member that holds a storage.

        Raises:
            CorruptCheckpoint: There is none, or it has another size than the storage.
        """
        name = self._folder + storage.key
        if (size := self._archive.size(name)) != storage.nbytes:
            raise CorruptCheckpoint(
                f"{self._archive.path}: {name}",
                f"the member has {size:,} bytes, the tensors say {storage.nbytes:,}",
                "The file was damaged or altered; fetch it again.",
            )
        return name

    def read_at(self, storage: Storage, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes of a storage. Thread-safe."""
        return self._archive.read_at(self.member(storage), offset, count)


class Storages:
    """The storages of one file. `read` is thread-safe."""

    def __init__(self, blocks: Blocks) -> None:
        """Begin with nothing kept."""
        self._blocks = blocks
        self._kept: OrderedDict[object, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def member(self, storage: Storage) -> str:
        """Return the name of what holds a storage.

        Raises:
            CorruptCheckpoint: There is none, or it has another size than the storage.
        """
        return self._blocks.member(storage)

    def read(self, view: View, start: int, stop: int) -> Array:
        """Return elements [start, stop) of a view in C order, decoded."""
        if start >= stop or not view.size:
            return decode(view.dtype, b"")
        raw = (
            self._range(view, view.offset + start, stop - start)
            if view.is_contiguous
            else self._gather(view, start, stop)
        )
        big_endian = view.big_endian if isinstance(view.data, bytes) else self._blocks.big_endian
        return decode(view.dtype, _little_endian(raw, view.dtype) if big_endian else raw)

    def _gather(self, view: View, start: int, stop: int) -> bytes:
        places = _places(view, start, stop)
        first, last = int(places.min()), int(places.max())
        if (
            last - first >= WIDE * (stop - start)
            and (view.last + 1 - view.offset) * view.itemsize <= limits.TORCH_VIEW_BYTES.value
        ):
            first = view.offset
            span = self._keep((view.data, first, view.last), lambda: self._range(view, first, view.last + 1 - first))
        else:
            span = self._range(view, first, last + 1 - first)
        elements: Array = np.frombuffer(span, f"V{view.itemsize}")
        gathered: bytes = elements[places - first].tobytes()
        return gathered

    def _range(self, view: View, first: int, count: int) -> bytes:
        """Return `count` elements of the view's storage, from the first."""
        begin, end = first * view.itemsize, (first + count) * view.itemsize
        if isinstance(view.data, bytes):
            return view.data[begin:end]
        return self._blocks.read_at(view.data, begin, end - begin)

    def _keep(self, key: object, make: Callable[[], bytes]) -> bytes:
        """Return what `make` returns, made once as long as there is room for it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        raw = make()
        with self._lock:
            self._kept[key] = raw
            while sum(map(len, self._kept.values())) > limits.TORCH_VIEW_BYTES.value:
                self._kept.popitem(last=False)
        return raw


def _places(view: View, start: int, stop: int) -> Array:
    """Return where elements [start, stop) of the view, in C order, lie in its storage."""
    rest = np.arange(start, stop)
    places = np.full(stop - start, view.offset)
    for n, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
        rest, index = np.divmod(rest, n)
        places += index * stride
    return places


def _little_endian(raw: bytes, dtype: str) -> bytes:
    width = DTYPES[dtype].bits // (16 if dtype in {"C64", "C128"} else 8)  # a complex number is two floats
    return np.frombuffer(raw, f">u{width}").astype(f"<u{width}").tobytes()
