"""The pre-activation z_j = w_j·x + b_j in its two parts: what the input gives, and what the bias gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Measure, NotMeasurable, Value, require
from regaudit.probes.activity import CONSTANT

if TYPE_CHECKING:
    from regaudit.probes.activity import Activity
    from regaudit.records import Array

ONE_SIDED: Final = 3.0  # standard deviations: a Gaussian z keeps its sign in 99.7% of the rows


def share(activity: Activity) -> Value:
    """Return the mean over units of b²/(b² + E(w·x)²)."""
    bias = _bias(activity)
    means, variances = activity.linear_moments
    total = bias**2 + variances + (means - bias) ** 2
    some = total > 0
    require(bool(some.any()), "all biases and all pre-activations are 0")
    return float((bias[some] ** 2 / total[some]).mean())


def intercept_fraction(activity: Activity) -> Value:
    """Return the share of units with |E z| > 3·sd(z), constant ones left out, and which."""
    _bias(activity)
    one_sided, varies = _one_sided(activity)
    return float(one_sided.sum() / varies.sum()), activity.which(one_sided)


def decided_fraction(activity: Activity) -> Value:
    """Return the share of units of which that holds with their bias and not without, and which."""
    without, _ = _one_sided(activity, _bias(activity))
    one_sided, varies = _one_sided(activity)
    decided = one_sided & ~without
    return float(decided.sum() / varies.sum()), activity.which(decided)


def _one_sided(activity: Activity, without: Array | float = 0.0) -> tuple[Array, Array]:
    """Return which units keep their sign once this is taken from z, and which vary at all."""
    activity.require_rows()
    means, variances = activity.linear_moments
    deviations = np.sqrt(variances)
    varies = deviations > CONSTANT * np.abs(means)
    require(bool(varies.any()), "all pre-activations are constant")
    return varies & (np.abs(means - without) > ONE_SIDED * deviations), varies


def _bias(activity: Activity) -> Array:
    if activity.bias is None:
        raise NotMeasurable(activity.no_bias)
    return activity.bias


MEASURES: Final[tuple[Measure[Activity], ...]] = (
    Measure(
        name="bias.share",
        formula="mean over units of b_j²/(b_j² + E(w_j·x)²)",
        range="[0, 1]",
        tells="How much of the pre-activation the bias makes on this batch: 0 none, 1 all of it.",
        trap="Means something only of inputs whose own origin does: not of raw images or uncentred features.",
        function=share,
    ),
    Measure(
        name="bias.intercept_fraction",
        formula="#{j: |b_j + w_j·Ex| > 3·sd(w_j·x)}/m, constant units left out",
        range="[0, 1]",
        tells="Units whose pre-activation keeps its sign in 99.7% of Gaussian rows: always on or always off.",
        trap="Inputs that are all positive do it too, with no bias.",
        function=intercept_fraction,
    ),
    Measure(
        name="bias.decided_fraction",
        formula="#{j: |b_j + w_j·Ex| > 3·sd(w_j·x) ≥ |w_j·Ex|}/m, constant units left out",
        range="[0, 1]",
        tells="Those of them that the bias alone keeps on one side.",
        function=decided_fraction,
    ),
)
