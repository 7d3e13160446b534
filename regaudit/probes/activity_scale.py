"""How large the outputs of a layer are, what a penalty on them costs, and how they are distributed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from regaudit.measures.base import Measure, NotMeasurable, Value, require
from regaudit.probes.accumulate import bin_of
from regaudit.probes.activity import CONSTANT

if TYPE_CHECKING:
    from regaudit.probes.activity import Activity

NEAR_ZERO: Final = 1e-3  # of the layer's rms, as for kernels
ALL_ZERO: Final = "all outputs are 0"


def nonfinite_count(activity: Activity) -> Value:
    """Return #{y: NaN or ±∞}."""
    return float(activity.nonfinite)


def rows(activity: Activity) -> Value:
    """Return N, examples times positions."""
    return float(activity.rows)


def mean(activity: Activity) -> Value:
    """Return E y."""
    return float(activity.columns.means.mean())


def rms(activity: Activity) -> Value:
    """Return √E y²."""
    return activity.rms


def linear_rms(activity: Activity) -> Value:
    """Return √E z²."""
    means, variances = activity.linear_moments
    return math.sqrt(float((variances + means**2).mean()))


def max_abs(activity: Activity) -> Value:
    """Return max|y|, and whose it is."""
    return float(activity.peaks.max()), f"unit {int(activity.peaks.argmax())}"


def l1_energy(activity: Activity) -> Value:
    """Return Σ|y|/B."""
    return activity.pool.l1 / activity.examples


def l2_energy(activity: Activity) -> Value:
    """Return Σy²/B."""
    return activity.pool.l2 / activity.examples


def scale_ratio(activity: Activity) -> Value:
    """Return rms(y)/rms(x).

    Raises:
        NotMeasurable: The input is no tensor of floats, or all zeros.
    """
    if activity.input_rms is None:
        raise NotMeasurable("the input is no tensor of floats")
    require(activity.input_rms > 0, "all inputs are 0")
    return activity.rms / activity.input_rms


def zero_fraction(activity: Activity) -> Value:
    """Return #{y = 0}/n."""
    return activity.pool.zeros / activity.pool.size


def near_zero_fraction(activity: Activity) -> Value:
    """Return #{|y| < 1e-3·rms}/n, zeros included."""
    require(activity.rms > 0, ALL_ZERO)
    below = activity.pool.magnitudes[: bin_of(NEAR_ZERO * activity.rms)]
    return float(below.sum()) / activity.pool.size


def max_to_rms(activity: Activity) -> Value:
    """Return max|y|/rms, and whose it is."""
    require(activity.rms > 0, ALL_ZERO)
    return float(activity.peaks.max()) / activity.rms, f"unit {int(activity.peaks.argmax())}"


def max_to_median(activity: Activity) -> Value:
    """Return max|y|/median|y|, and whose it is."""
    require(activity.median_magnitude > 0, "half of the outputs are 0")
    return float(activity.peaks.max()) / activity.median_magnitude, f"unit {int(activity.peaks.argmax())}"


def excess_kurtosis(activity: Activity) -> Value:
    """Return E(y - Ey)⁴/(E(y - Ey)²)² - 3."""
    variance = activity.pool.central(2)
    require(variance > (CONSTANT * activity.rms) ** 2, "all outputs are equal")
    return activity.pool.central(4) / variance**2 - 3.0


def hoyer_sparsity(activity: Activity) -> Value:
    """Return the mean over rows of (√m - ‖y‖₁/‖y‖₂)/(√m - 1)."""
    require(len(activity.peaks) > 1, "it takes at least 2 units")
    require(activity.pool.sparse_rows > 0, ALL_ZERO)
    return min(1.0, max(0.0, activity.pool.sparsity / activity.pool.sparse_rows))


NONFINITE: Final[Measure[Activity]] = Measure(
    name="activity.nonfinite_count",
    formula="#{y: NaN or ±∞}",
    range="≥ 0",
    tells="Outputs that are no numbers. Anything above 0 skips all other measures of the layer.",
    function=nonfinite_count,
)
MEASURES: Final[tuple[Measure[Activity], ...]] = (
    NONFINITE,
    Measure(
        name="activity.rows",
        formula="N = examples × positions (of a convolution, of a sequence)",
        range="≥ 1",
        tells="How many vectors of activations the other measures of the layer rest on.",
        trap="Positions of one example are alike: they count for less than examples.",
        function=rows,
    ),
    Measure(
        name="activity.mean",
        formula="E y",
        unit="y",
        range="any",
        tells="Where the outputs lie; far from 0 (against the rms) they act as a second bias of the next layer.",
        function=mean,
    ),
    Measure(
        name="activity.rms",
        formula="√E y²",
        unit="y",
        range="≥ 0",
        tells="Scale of the outputs.",
        trap="A normalization after the layer takes it away.",
        function=rms,
    ),
    Measure(
        name="activity.linear_rms",
        formula="√E z², z = Wx + b",
        unit="z",
        range="≥ 0",
        tells="Scale before the activation: far above 1 tanh and sigmoid saturate, far below they are linear.",
        function=linear_rms,
    ),
    Measure(
        name="activity.max_abs",
        formula="max|y|",
        unit="y",
        range="≥ 0",
        tells="The largest output; the detail says whose. Half precision ends at 65,504.",
        function=max_abs,
    ),
    Measure(
        name="activity.l1_energy",
        formula="Σ|y|/B, B examples",
        unit="y",
        range="≥ 0",
        source="Keras: activity_regularizer, divided by the batch size",
        tells="What Keras' L1 activity penalty with λ = 1 on this layer adds to the loss.",
        trap="A sum over units and positions: wider layers and longer inputs have more.",
        function=l1_energy,
    ),
    Measure(
        name="activity.l2_energy",
        formula="Σy²/B, B examples",
        unit="y²",
        range="≥ 0",
        source="Keras: activity_regularizer, divided by the batch size",
        tells="What Keras' L2 activity penalty with λ = 1 on this layer adds to the loss.",
        trap="A sum over units and positions: wider layers and longer inputs have more.",
        function=l2_energy,
    ),
    Measure(
        name="activity.scale_ratio",
        formula="√E y²/√E x², x the layer's input",
        range="≥ 0",
        source="He et al. 2015 (about 1 where signals keep their scale)",
        tells="How much the layer grows or shrinks what it takes.",
        trap="Inputs of the model come in the user's units.",
        function=scale_ratio,
    ),
    Measure(
        name="activity.zero_fraction",
        formula="#{y = 0}/n",
        range="[0, 1]",
        source="Li et al. 2023",
        tells="Sparsity of the outputs; about ½ behind a ReLU at initialisation.",
        trap="Trained transformers have 0.9 and more with no penalty at all: it proves no activity L1.",
        function=zero_fraction,
    ),
    Measure(
        name="activity.near_zero_fraction",
        formula="#{|y| < 1e-3·rms, the bound rounded down to 8 bits}/n, zeros included",
        range="[0, 1]",
        tells="Outputs that are all but 0, also behind activations without a cut; a Gaussian layer has 8.0e-4.",
        function=near_zero_fraction,
    ),
    Measure(
        name="activity.max_to_rms",
        formula="max|y|/√E y²",
        range="≥ 1",
        tells="How far the largest output stands out; a Gaussian layer has √(2 ln n).",
        function=max_to_rms,
    ),
    Measure(
        name="activity.max_to_median",
        formula="max|y|/median|y|, the median rounded down to 8 bits",
        range="≥ 1",
        source="Sun et al. 2024",
        tells="Above 1,000 (and max|y| above 100) the activation is massive.",
        trap="Massive activations serve as bias terms that the model needs: never squash them untried.",
        function=max_to_median,
    ),
    Measure(
        name="activity.excess_kurtosis",
        formula="E(y - Ey)⁴/(E(y - Ey)²)² - 3, over all units and rows",
        range="≥ -2",
        tells="Weight of the tails; 0 for a Gaussian, 3 for Laplace.",
        trap="Units of different scale raise it, each of them Gaussian.",
        function=excess_kurtosis,
    ),
    Measure(
        name="activity.hoyer_sparsity",
        formula="mean over rows of (√m - ‖y‖₁/‖y‖₂)/(√m - 1), rows of zeros left out",
        range="[0, 1]",
        source="Hoyer 2004",
        tells="How few units carry a row: 0 all alike, 1 a single one.",
        function=hoyer_sparsity,
    ),
)
