"""Tensors in pieces: each chunk is a small `torch.save` archive somewhere in a file, with its place in the whole.

Source: torch/distributed/checkpoint/filesystem.py and metadata.py, PyTorch 2.13.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regaudit.checkpoints import limits
from regaudit.checkpoints.dtypes import decode
from regaudit.checkpoints.source import Source
from regaudit.checkpoints.text import quoted
from regaudit.checkpoints.torch_objects import View, contiguous, tensor
from regaudit.checkpoints.torch_storages import Storages
from regaudit.checkpoints.torch_windows import Window, WindowArchive
from regaudit.checkpoints.torch_zip import open_archive
from regaudit.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from regaudit.checkpoints.torch_objects import Storage
    from regaudit.records import Array


class ClosedSource(Source):
    """A file that is opened for each read: a checkpoint of thousands of ranks has more files than may be open."""

    def __init__(self, path: Path) -> None:
        """Look up the size."""
        super().__init__(path)
        self.close()

    def read_at(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`."""
        source = Source(self.path)
        try:
            return source.read_at(offset, count)
        finally:
            source.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A box of a tensor, and the window that holds its archive."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    window: Window


class Shards(Storages):
    """Whole tensors, put together from their chunks as they are read. A storage's key is the tensor's name."""

    def __init__(self, chunks: Mapping[str, tuple[Chunk, ...]]) -> None:
        """Begin with no chunk read.

        Args:
            chunks: Of each tensor, which they must cover; that is seen when they are read.
        """
        self._chunks = chunks
        self._opened: OrderedDict[Chunk, tuple[Storages, View]] = OrderedDict()
        self._lock = threading.Lock()

    def member(self, storage: Storage) -> str:
        """Return the name of the file with the first chunk, and how many more chunks there are."""
        chunks = self._chunks.get(storage.key, ())
        more = f" and {len(chunks) - 1:,} more" if len(chunks) > 1 else ""
        return f"{chunks[0].window.path.name}{more}" if chunks else ""

    def read(self, view: View, start: int, stop: int) -> Array:
        """Return elements [start, stop) of a whole tensor in C order, decoded. Thread-safe.

        Raises:
            CorruptCheckpoint: A chunk is not what the index says, or elements are in none.
        """
        result: Array = np.zeros(max(stop - start, 0), decode(view.dtype, b"").dtype)
        found: Array = np.zeros(len(result), bool)
        key = "" if isinstance(view.data, bytes) else view.data.key
        for chunk in self._chunks.get(key, ()):
            here, there = _overlap(chunk, view.shape, start, stop)
            if len(here):
                first, last = int(there.min()), int(there.max())
                result[here] = self._read(chunk, view.dtype, first, last + 1)[there - first]
                found[here] = True
        if not found.all():
            missing = len(found) - int(found.sum())
            raise CorruptCheckpoint(f"tensor {quoted(key)}", f"{missing:,} of its elements are in no chunk")
        return result

    def _read(self, chunk: Chunk, dtype: str, first: int, stop: int) -> Array:
        storages, view = self._open(chunk)
        if view.shape != chunk.sizes or view.dtype != dtype:
            raise CorruptCheckpoint(
                f"{chunk.window.path}: chunk at {list(chunk.offsets)}",
                f"holds {list(view.shape)} of {view.dtype}, the index says {list(chunk.sizes)} of {dtype}",
            )
        return storages.read(view, first, stop)

    def _open(self, chunk: Chunk) -> tuple[Storages, View]:
        with self._lock:
            if chunk in self._opened:
                self._opened.move_to_end(chunk)
                return self._opened[chunk]
        opened = open_archive(WindowArchive(chunk.window))
        where = f"{chunk.window.path}: chunk at {list(chunk.offsets)}"
        try:
            view = tensor(opened.root)
        except ValueError as error:
            raise CorruptCheckpoint(where, f"contradicts itself: {error}") from error
        if not isinstance(view, View):
            raise CorruptCheckpoint(where, "holds no plain tensor")
        with self._lock:
            self._opened[chunk] = opened.storages, view
            while len(self._opened) > limits.DCP_OPEN_CHUNKS.value:
                self._opened.popitem(last=False)
        return opened.storages, view


def _overlap(chunk: Chunk, shape: tuple[int, ...], start: int, stop: int) -> tuple[Array, Array]:
    """Return where the elements of a chunk go among elements [start, stop) of the whole, and where they are in it."""
    first, last = _span(chunk, shape)
    begin, end = max(start, first), min(stop, last + 1)
    if begin >= end or not math.prod(chunk.sizes):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    flat = np.arange(begin, end)
    if chunk.sizes[1:] == shape[1:]:  # whole rows: one range
        return flat - start, flat - first
    rest, there = flat, np.zeros(len(flat), np.int64)
    is_inside = np.ones(len(flat), bool)
    step = 1
    for n, offset, size in zip(reversed(shape), reversed(chunk.offsets), reversed(chunk.sizes), strict=True):
        rest, index = np.divmod(rest, n)
        is_inside &= (index >= offset) & (index < offset + size)
        there += (index - offset) * step
        step *= size
    return (flat - start)[is_inside], there[is_inside]


def _span(chunk: Chunk, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the first and the last element of the whole that the chunk may hold."""
    steps = contiguous(shape)
    first = sum(offset * step for offset, step in zip(chunk.offsets, steps, strict=True))
    return first, first + sum((size - 1) * step for size, step in zip(chunk.sizes, steps, strict=True))
