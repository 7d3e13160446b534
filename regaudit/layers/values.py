"""Arrays on demand: what a tensor, or several tensors together, hold before their use is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from regaudit.records import Axis, Parameter, Use

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.records import Array, Tensor

BLOCK = 1 << 18  # elements that a streaming pass holds at once: 2 MB of float64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """An array that can be read in pieces.

    Args:
        tensors: Names in the file that it is made of.
        dtype: Of the first of them.
        shape: Shape of the array.
        flat: `flat(start, stop)` returns elements [start, stop) in C order, 1-D.
    """

    tensors: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    flat: Callable[[int, int], Array]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """Elements in one row of axis 0."""
        return math.prod(self.shape[1:])

    def rows(self, start: int, stop: int) -> Array:
        """Return rows [start, stop) of axis 0; the whole for shape ()."""
        if not self.shape:
            return self.flat(0, 1).reshape(())
        return self.flat(start * self.width, stop * self.width).reshape(stop - start, *self.shape[1:])

    def whole(self) -> Array:
        """Return the array; for small ones only."""
        return self.flat(0, self.size).reshape(self.shape)

    def parameter(self, use: Use, axes: tuple[Axis, ...]) -> Parameter:
        """Return the array as a layer's parameter."""
        return Parameter(use=use, tensors=self.tensors, dtype=self.dtype, shape=self.shape, axes=axes, load=self.rows)


def stored(checkpoint: Checkpoint, tensor: Tensor) -> Values:
    """Return a tensor as the file has it."""
    return Values(tensors=(tensor.name,), dtype=tensor.dtype, shape=tensor.shape, flat=partial(checkpoint.read, tensor))


def computed(sources: tuple[Values, ...], shape: tuple[int, ...], rows: Callable[[int, int], Array]) -> Values:
    """Return an array that `rows(start, stop)` computes along axis 0 from the sources."""
    width = math.prod(shape[1:])

    def flat(start: int, stop: int) -> Array:
        first = start // width
        block = rows(first, -(-stop // width)).reshape(-1)
        return block[start - first * width : stop - first * width]

    names = tuple(name for source in sources for name in source.tensors)
    return Values(tensors=names, dtype=sources[0].dtype, shape=shape, flat=flat)


def slab(values: Values, index: int) -> Values:
    """Return the array at one position of axis 0 (an expert, a row of stacked biases)."""
    offset = index * values.width

    def flat(start: int, stop: int) -> Array:
        return values.flat(offset + start, offset + stop)

    return Values(tensors=values.tensors, dtype=values.dtype, shape=values.shape[1:], flat=flat)


def row_blocks(values: Values) -> list[tuple[int, int]]:
    """Return ranges of rows that hold about `BLOCK` elements each (at least one row)."""
    step = max(1, BLOCK // max(1, values.width))
    return [(start, min(start + step, values.shape[0])) for start in range(0, values.shape[0], step)]
