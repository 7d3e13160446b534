"""Standard errors by leaving out one example, or one block of examples, at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.records import Array

ROUNDING: Final = 1e-12  # of the estimate: below it the replicates differ by rounding alone


def standard_error(replicates: Array) -> float | None:
    """Return √((g-1)/g·Σ(θ₍ᵢ₎ - θ̄)²), where θ₍ᵢ₎ is the estimate without block i.

    Args:
        replicates: Shape (g,), one estimate for each block that was left out.

    Returns:
        The standard error; None where there is one block only, or an estimate is not finite.

    Source: Tukey 1958; Efron & Tibshirani 1993, chapter 11.
    """
    g = len(replicates)
    if g < 2 or not np.isfinite(replicates).all():
        return None
    middle = replicates.mean()
    se = float(math.sqrt((g - 1) / g * np.square(replicates - middle).sum()))
    return se if se > ROUNDING * abs(middle) else 0.0


def without_each(values: Array) -> Array:
    """Return the mean over all rows but one, for each row: shape (n, …) of n ≥ 2 rows."""
    n = len(values)
    means: Array = (values.sum(0) - values) / (n - 1)
    return means


def estimate(values: Array, function: Callable[[Array], Array], detail: str = "") -> Estimate:
    """Return a function of means over examples, with its standard error by the jackknife.

    Args:
        values: Shape (n,) or (n, c), one row for each example.
        function: Takes means of shape (m,) or (m, c), gives m numbers.
        detail: Goes with the number.
    """
    value = float(function(values.mean(0)[None])[0])
    if len(values) < 2:
        return Estimate(value=value, detail=detail)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Estimate(value=value, detail=detail, se=standard_error(function(without_each(values))))


def mean(values: Array, detail: str = "") -> Estimate:
    """Return the mean over examples, with its standard error: shape (n,)."""
    return estimate(values, lambda means: means, detail)


def root_mean(values: Array, detail: str = "") -> Estimate:
    """Return the root of the mean over examples of numbers ≥ 0, with its standard error: shape (n,)."""
    return estimate(values, np.sqrt, detail)
