"""How many directions the outputs of a layer fill, and which units say the same; from the covariance of units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Measure, NotMeasurable, Value, require
from regaudit.measures.detail import units
from regaudit.probes.accumulate import WIDEST

if TYPE_CHECKING:
    from regaudit.probes.activity import Activity
    from regaudit.records import Array

SAME: Final = 0.95  # |correlation| from which one unit explains 90% of another's variance
# Rows in which a unit must differ from 0: of two units that are on in one and the same row the correlation is 1.
LEAST_ACTIVE: Final = 30


def effective_rank(activity: Activity) -> Value:
    """Return exp(-Σ p ln p), p = λ/Σλ with λ the eigenvalues of the covariance of units.

    Raises:
        NotMeasurable: There are fewer rows than units, or no unit varies.
    """
    covariance, detail = _covariance(activity)
    activity.require_rows(len(covariance))
    try:
        values = np.linalg.eigvalsh(covariance)
    except np.linalg.LinAlgError as error:
        raise NotMeasurable(f"the eigenvalues were not found: {error}") from error
    values = values[values > 0]
    require(len(values) > 0, "all units are constant")
    shares = values / values.sum()
    return math.exp(-float(shares.dot(np.log(shares)))), detail


def correlated_fraction(activity: Activity) -> Value:
    """Return the share of units whose |correlation| with an earlier one is above 0.95, and which."""
    covariance, detail = _covariance(activity)
    activity.require_rows()
    chosen = activity.moments.chosen
    live = np.flatnonzero(_varies(activity)[chosen])
    require(len(live) > 1, "fewer than 2 units vary")
    found = live[_repeats(covariance[np.ix_(live, live)])]
    named = units(np.arange(len(activity.peaks))[chosen][found])
    vary = "" if len(live) == len(covariance) else f"{len(live):,} that vary, "
    return len(found) / len(live), f"{named}; " * bool(named) + vary + detail


def _covariance(activity: Activity) -> tuple[Array, str]:
    width = len(activity.peaks)
    require(width > 1, "it takes at least 2 units")
    covariance = activity.moments.covariance
    return covariance, f"of {width:,} units" if len(covariance) == width else f"of {WIDEST} units drawn from {width:,}"


def _varies(activity: Activity) -> Array:
    return np.logical_and(~activity.is_constant, activity.active >= LEAST_ACTIVE)


def _repeats(covariance: Array) -> Array:
    scale = np.sqrt(np.diag(covariance))
    correlation = np.abs(covariance) / np.outer(scale, scale)
    found: Array = np.any(np.tril(correlation, -1) > SAME, axis=1)
    return found


MEASURES: Final[tuple[Measure[Activity], ...]] = (
    Measure(
        name="activity.effective_rank",
        formula="exp(-Σ p ln p), p = λ/Σλ, λ the eigenvalues of E(y - Ey)(y - Ey)ᵀ",
        range="[1, m]",
        source="Roy & Vetterli 2007, on eigenvalues of the covariance",
        tells="How many directions the outputs fill; the detail says of how many units.",
        trap="Units of large scale count most; it cannot exceed the number of the layer's inputs by much.",
        function=effective_rank,
    ),
    Measure(
        name="activity.correlated_fraction",
        formula="#{j: |corr(y_j, y_k)| > 0.95 for some k < j}/m, of units that vary and are not 0 in 30 rows or more",
        range="[0, 1)",
        tells="Units that say what an earlier unit says: the layer could be narrower.",
        trap="A model with few inputs has such units whatever was penalised.",
        function=correlated_fraction,
    ),
)
