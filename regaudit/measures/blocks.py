"""A parameter of any size as small boxes of its canonical array (out, in, taps), in bounded memory.

Whatever the order of axes in the file, statistics see boxes with the same three axes, contiguous and in the precision
that they were loaded in; so orientation is handled here and nowhere else. A box holds `BLOCK` elements at most and begins at a multiple of four along the
out- and in-axis unless it is the first, so that groups of four (N:M sparsity) never straddle two boxes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.records import Axis, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import Array

BLOCK: Final = 1 << 16  # elements; four float64 buffers of it (2 MB) stay in a core's cache
HELD: Final = 1 << 22  # elements: what takes at most 32 MB is read once for all passes
ALIGNMENT: Final = 4  # the group of N:M sparsity (NVIDIA Ampere's 2:4)
RUNS: Final = 8  # of rows, in a sample
_ORDER: Final = (Axis.OUT, Axis.IN, Axis.TAP)


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the canonical array: its values (float32 or float64), shape (out, in, taps), and where it begins."""

    values: Array
    out: int
    into: int
    tap: int


class Blocks:
    """The canonical array of a parameter, box by box; several passes are possible.

    A parameter that fits one box is read once. Without known axes its canonical shape is (1, size, 1), and
    `oriented` is False.

    Args:
        parameter: What to read; at least one element.
        block: Elements of a box at most (tests vary it).
    """

    def __init__(self, parameter: Parameter, block: int = BLOCK) -> None:
        self.parameter = parameter
        self.block = block
        axes = parameter.axes
        self.oriented = bool(axes) and len(axes) == len(parameter.shape)
        self.leading = axes[0] if self.oriented else Axis.IN
        self.order = tuple(k for kind in _ORDER for k, axis in enumerate(axes) if axis is kind)
        extents = (parameter.extent(Axis.OUT), parameter.extent(Axis.IN), parameter.extent(Axis.TAP))
        self.shape = extents if self.oriented else (1, parameter.size, 1)
        self.unit = 1.0
        self._box: Box | None = None
        self._held: Array | None = None
        self.capacity = min(max(block, ALIGNMENT**3), parameter.size)
        self._buffer = np.empty(0)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Shape of the canonical matrix, (out, in·taps)."""
        return self.shape[0], self.shape[1] * self.shape[2]

    @property
    def only(self) -> Box | None:
        """The one box that holds everything, after a pass; None for a larger parameter."""
        return self._box

    def in_units_of(self, unit: float) -> None:
        """Divide all values by a power of two from now on, so that their squares neither overflow nor vanish."""
        self.unit = unit
        self._box = None

    def __iter__(self) -> Iterator[Box]:
        """Yield every element once. A box is valid until the next one is asked for."""
        if self._box is not None:
            yield self._box
            return
        rows = self.parameter.shape[0] if self.parameter.shape else 1
        slab = self.parameter.size // rows
        # A row of axis 0 is the least that can be loaded; four keep the boxes aligned.
        step = max(ALIGNMENT, self.block // slab // ALIGNMENT * ALIGNMENT)
        for start in range(0, rows, step):
            for box in self._pieces(self.canonical(start, min(start + step, rows)), self._begin(start, rows)):
                if box.values.size == self.parameter.size:
                    self._box = box
                yield box

    def sampled(self, limit: int) -> Iterator[Box]:
        """Yield about `limit` elements as a few boxes from evenly spaced runs of axis 0; all where one box holds them."""
        if self._box is not None:
            yield self._box
            return
        rows = self.parameter.shape[0] if self.parameter.shape else 1
        count = max(1, min(rows, limit * rows // self.parameter.size))
        runs = min(RUNS, count)
        for k in range(runs):
            start, length = k * (rows - count // runs) // max(runs - 1, 1), count // runs
            yield next(self._pieces(self.canonical(start, start + length), self._begin(start, rows)))

    def canonical(self, start: int, stop: int) -> Array:
        """Return rows [start, stop) of axis 0 as (out, in, taps), in the dtype that `load` gives, not scaled."""
        raw = self._rows(start, stop)
        if not self.oriented:
            return raw.reshape(1, -1, 1)
        shape = list(self.shape)
        leading = _ORDER.index(self.leading)
        shape[leading] = shape[leading] // self.parameter.shape[0] * (stop - start)
        return raw.transpose(self.order).reshape(shape)

    def _rows(self, start: int, stop: int) -> Array:
        if self.parameter.size > HELD or not self.parameter.shape:
            return self.parameter.load(start, stop)
        if self._held is None:
            self._held = self.parameter.load(0, self.parameter.shape[0])
        return self._held[start:stop]

    def _begin(self, start: int, rows: int) -> list[int]:
        begin = [0, 0, 0]
        if self.oriented:
            leading = _ORDER.index(self.leading)
            begin[leading] = self.shape[leading] // rows * start
        return begin

    def _pieces(self, view: Array, begin: list[int]) -> Iterator[Box]:
        if view.size <= self.block:
            yield Box(self._filled(view), *begin)
            return
        a, b, c = _steps(view.shape, self.block)
        out, into, taps = view.shape
        for i in range(0, out, a):
            for j in range(0, into, b):
                for k in range(0, taps, c):
                    piece = view[i : i + a, j : j + b, k : k + c]
                    yield Box(self._filled(piece), begin[0] + i, begin[1] + j, begin[2] + k)

    def _filled(self, piece: Array) -> Array:
        """Return a piece in units of `unit`, contiguous: itself where it is, or in the buffer until the next is filled."""
        if self.unit != 1.0:
            return np.ascontiguousarray(np.divide(piece, self.unit, dtype=np.float64))
        if piece.flags.c_contiguous:
            return piece
        if self._buffer.dtype != piece.dtype or self._buffer.size < piece.size:
            self._buffer = np.empty(self.capacity, piece.dtype)
        box = self._buffer[: piece.size].reshape(piece.shape)
        np.copyto(box, piece)
        return box


def _steps(shape: tuple[int, ...], block: int) -> tuple[int, ...]:
    """Return the sides of a piece: halve the longest axis, in multiples of four, until a piece fits the block."""
    steps = list(shape)
    while math.prod(steps) > max(block, ALIGNMENT**3):
        longest = steps.index(max(steps))
        steps[longest] = -(-steps[longest] // (2 * ALIGNMENT)) * ALIGNMENT
    return tuple(steps)
