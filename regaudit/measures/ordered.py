"""Statistics of sorted numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ALL_ZERO, require

if TYPE_CHECKING:
    from regaudit.records import Array

# Of the median norm among units that are not exactly zero. Rule of thumb: trained units of one layer differ by a
# factor of ten, not a thousand.
DEAD: Final = 1e-3


def median(ordered: Array) -> float:
    """Return the middle of sorted numbers, shape (n,), n ≥ 1: the mean of the middle two where n is even."""
    n = len(ordered)
    return float(ordered[n // 2]) if n % 2 else float(ordered[n // 2 - 1] + ordered[n // 2]) / 2


def gini(ascending: Array) -> float:
    """Return how unequal non-negative numbers are: Σ(2i - n - 1)·x_i / (n·Σx), i = 1..n.

    Args:
        ascending: Shape (n,), n ≥ 1, not all 0.

    Returns:
        0 where all are equal, 1 - 1/n where one has everything.

    Source: Gini 1912.
    """
    n, total = len(ascending), float(np.add.reduce(ascending))
    require(total > 0.0, ALL_ZERO)
    ranks = np.arange(1 - n, n, 2, dtype=np.float64)
    return max(0.0, float(ranks.dot(ascending)) / (n * total))


def nonzero(ascending: Array) -> Array:
    """Return the numbers above 0 of non-negative ones."""
    return ascending if ascending[0] > 0.0 else ascending[np.searchsorted(ascending, 0.0, side="right") :]


def least_alive(ascending: Array) -> float:
    """Return the norm below which a unit is dead: 1e-3 of the median of the norms above 0; infinity if none is."""
    above = nonzero(ascending)
    return DEAD * median(above) if len(above) else math.inf


def count_alive(ascending: Array) -> int:
    """Return how many units are not dead."""
    return len(ascending) - int(np.searchsorted(ascending, least_alive(ascending)))
