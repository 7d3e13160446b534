"""How the scale of activations goes with depth: where it grows or shrinks layer by layer, training and rounding suffer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final

from regaudit.measures.base import Measure, Value, require
from regaudit.measures.model import MIN_DEPTH, rank_correlation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.records import Measurement

SCALE: Final = "activity.linear_rms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The scale of z, ln √E z², of each hidden layer whose z is not all 0, in network order."""

    scales: tuple[float, ...]


def profile(measurements: Iterable[Measurement], hidden: frozenset[str]) -> Profile:
    """Return the profile of a model from the measurements of its layers.

    Args:
        measurements: Of all layers, in network order.
        hidden: Names of the layers that count.
    """
    scales = (m.value for m in measurements if m.measure == SCALE and m.layer in hidden)
    return Profile(scales=tuple(math.log(value) for value in scales if value > 0))


def growth(model: Profile) -> Value:
    """Return exp(slope·(L - 1)) of the least-squares line through ln √E z² over depth."""
    slope = _slope(model)
    return math.exp(min(700.0, slope * (len(model.scales) - 1))), f"over {len(model.scales):,} hidden layers"


def depth_correlation(model: Profile) -> Value:
    """Return Spearman's ρ of √E z² and depth."""
    _slope(model)
    require(min(model.scales) < max(model.scales), "all layers have one scale")
    return rank_correlation(list(model.scales), [float(depth) for depth in range(len(model.scales))])


def _slope(model: Profile) -> float:
    require(len(model.scales) >= MIN_DEPTH, f"it takes {MIN_DEPTH} hidden layers")
    middle, center = (len(model.scales) - 1) / 2, fmean(model.scales)
    products = [(depth - middle) * (scale - center) for depth, scale in enumerate(model.scales)]
    return sum(products) / sum((depth - middle) ** 2 for depth in range(len(model.scales)))


MEASURES: Final[tuple[Measure[Profile], ...]] = (
    Measure(
        name="model.activity_growth",
        formula="exp(slope·(L - 1)), the least-squares slope of ln √E z² over the L hidden layers",
        range="> 0",
        source="He et al. 2015 (1 where every layer keeps the scale)",
        tells="The factor by which pre-activations grow from the first hidden layer to the last.",
        trap="Depth is the order of the layers in the model; branches are read as if in a row.",
        function=growth,
    ),
    Measure(
        name="model.activity_depth_correlation",
        formula="Spearman's ρ of √E z² and depth, over hidden layers",
        range="[-1, 1]",
        source="Spearman 1904",
        tells="±1 where every layer grows (shrinks) what the one before gave.",
        trap="Depth is the order of the layers in the model; branches are read as if in a row.",
        function=depth_correlation,
    ),
)
