"""The sums that a parameter's summary is made of, for one box: by numpy, or by a compiled loop where numba is installed.

Both take a box as the file has it (float32 or float64) and add in float64. numpy makes a pass over the box for each sum;
the loop reads it once, five times as fast, and takes 0.3 s to load: it pays for models of a hundred million weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from regaudit.measures.blocks import BLOCK

if TYPE_CHECKING:
    from regaudit.records import Array

COMPILED_PAYS: Final = 1 << 26  # weights: numpy takes 0.2 s for them, loading the loop as much


@dataclass(frozen=True, slots=True)
class Sums:
    """Power sums of a matrix x, shape (rows, columns), all float64.

    Args:
        total: Σx.
        cubes: Σx³.
        rows: Σ|x|, Σx² and Σx⁴ of each row, shape (3, rows).
        columns: Σ|x| and Σx² of each column, shape (2, columns).
    """

    total: float
    cubes: float
    rows: Array
    columns: Array


Summing: TypeAlias = Callable[["Array", "Array"], Sums]  # of a matrix, with scratch for three copies of it in float64


@dataclass(frozen=True, slots=True)
class Engine:
    """A way to sum boxes, and the elements of a box that suit it."""

    add: Summing
    block: int = BLOCK


def chosen(elements: int) -> Engine:
    """Return the fastest way to sum a model with that many weights."""
    if elements < COMPILED_PAYS or find_spec("numba") is None:
        return NUMPY
    from regaudit.measures.compiled import by_loop

    return Engine(by_loop, 4 * BLOCK)


def by_numpy(x: Array, scratch: Array) -> Sums:
    """Return the sums of a contiguous matrix; this is the definition that other ways are tested against."""
    exact, squares, sizes = (each[: x.size].reshape(x.shape) for each in scratch)
    np.copyto(exact, x)
    np.abs(exact, out=sizes)
    np.multiply(exact, exact, out=squares)
    rows, columns = np.empty((3, x.shape[0])), np.empty((2, x.shape[1]))
    for k, powers in enumerate((sizes, squares)):
        np.add.reduce(powers, axis=1, out=rows[k])
        np.add.reduce(powers, axis=0, out=columns[k])
    # einsum, not dot: BLAS would wake all its threads for what one core does in 20 µs.
    np.einsum("ij,ij->i", squares, squares, out=rows[2])
    return Sums(
        total=float(np.add.reduce(exact, axis=None)),
        cubes=float(np.einsum("i,i->", exact.reshape(-1), squares.reshape(-1))),
        rows=rows,
        columns=columns,
    )


NUMPY: Final = Engine(by_numpy)
