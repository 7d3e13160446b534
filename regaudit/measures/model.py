"""Numbers of the whole model, from the measurements of its layers. A tied or shared kernel counts once.

Where a kernel could not be measured (non-finite weights), sums are over the others, and the detail says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Final

from regaudit.measures.base import Measure, Value, require
from regaudit.records import LayerAudit, Use

MIN_DEPTH: Final = 4  # layers: a rank correlation of three takes four values only
_STATISTICS: Final = frozenset({Use.MEAN, Use.VARIANCE})  # counted, not trained


@dataclass(frozen=True)
class Model:
    """The layers of a model in network order, with what was measured of each."""

    layers: tuple[LayerAudit, ...]

    def values(self, use: Use, measure: str) -> list[tuple[float, int]]:
        """Return a measure of every parameter of one use that has it, each with the parameter's size."""
        found = ((each.value(measure), each.layer.get(use)) for each in self.layers)
        return [(value, p.size) for value, p in found if value is not None and p is not None]

    def sizes(self, use: Use) -> list[int]:
        """Return the sizes of all parameters of one use."""
        return [p.size for each in self.layers if (p := each.layer.get(use)) is not None]

    def detail(self, use: Use, values: list[tuple[float, int]]) -> str:
        """Return how many of the parameters a number is about, where it is not about all."""
        count = len(self.sizes(use))
        return "" if len(values) == count else f"{len(values):,} of {count:,} layers with a {use}"


def parameters(model: Model) -> Value:
    """Return the number of trained parameters."""
    return float(sum(p.size for each in model.layers for p in each.layer.parameters if p.use not in _STATISTICS))


def kernel_parameters(model: Model) -> Value:
    """Return the number of kernel weights."""
    return float(sum(model.sizes(Use.KERNEL)))


def kernel_l1_norm(model: Model) -> Value:
    """Return Σ|w| over all kernels."""
    return _sum_of_l1(model, Use.KERNEL)


def kernel_squared_fro_norm(model: Model) -> Value:
    """Return Σw² over all kernels."""
    return _sum_of_squares(model, Use.KERNEL)


def bias_l1_norm(model: Model) -> Value:
    """Return Σ|b| over all biases."""
    return _sum_of_l1(model, Use.BIAS)


def bias_squared_fro_norm(model: Model) -> Value:
    """Return Σb² over all biases."""
    return _sum_of_squares(model, Use.BIAS)


def kernel_rms(model: Model) -> Value:
    """Return √(Σw²/n) over all kernel weights."""
    values = _some(model.values(Use.KERNEL, "kernel.rms"))
    squares = sum(value * value * size for value, size in values)
    return math.sqrt(squares / sum(size for _, size in values)), model.detail(Use.KERNEL, values)


def zero_fraction(model: Model) -> Value:
    """Return the share of kernel weights that are exactly 0."""
    values = _some(model.values(Use.KERNEL, "kernel.zero_fraction"))
    zeros = sum(value * size for value, size in values)
    return zeros / sum(size for _, size in values), model.detail(Use.KERNEL, values)


def log_spectral_product(model: Model) -> Value:
    """Return Σ ln σ₁ over all kernels."""
    values = _some(model.values(Use.KERNEL, "kernel.spectral_norm"))
    require(len(values) == len(model.sizes(Use.KERNEL)), "not every kernel has a spectral norm")
    require(min(values)[0] > 0.0, "a spectral norm is 0")
    return sum(math.log(value) for value, _ in values)


def growth_median(model: Model) -> Value:
    """Return the median of kernel.growth."""
    values = _some(model.values(Use.KERNEL, "kernel.growth"))
    return median(value for value, _ in values), model.detail(Use.KERNEL, values)


def growth_depth_correlation(model: Model) -> Value:
    """Return Spearman's rank correlation of kernel.growth with depth (order of the layers)."""
    growths = [value for value, _ in model.values(Use.KERNEL, "kernel.growth")]
    require(len(growths) >= MIN_DEPTH, f"it takes {MIN_DEPTH} layers")
    require(min(growths) < max(growths), "all layers grew alike")
    return rank_correlation(growths, [float(depth) for depth in range(len(growths))])


def rank_correlation(x: list[float], y: list[float]) -> float:
    """Return Spearman's ρ: the correlation of ranks, ties sharing their mean rank.

    Args:
        x: Numbers, not all equal.
        y: As many numbers, not all equal.

    Returns:
        The correlation, in [-1, 1].

    Source: Spearman 1904.
    """
    a, b = _ranks(x), _ranks(y)
    middle = (len(x) - 1) / 2
    covariance = sum((i - middle) * (j - middle) for i, j in zip(a, b, strict=True))
    norm = math.sqrt(sum((i - middle) ** 2 for i in a) * sum((j - middle) ** 2 for j in b))
    return max(-1.0, min(1.0, covariance / norm))


def _ranks(x: list[float]) -> list[float]:
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(x)):
        places.setdefault(value, []).append(place)
    return [sum(places[value]) / len(places[value]) for value in x]


def _sum_of_l1(model: Model, use: Use) -> Value:
    values = _some(model.values(use, f"{use}.l1_norm"))
    return sum(value for value, _ in values), model.detail(use, values)


def _sum_of_squares(model: Model, use: Use) -> Value:
    values = _some(model.values(use, f"{use}.rms"))
    return sum(value * value * size for value, size in values), model.detail(use, values)


def _some(values: list[tuple[float, int]]) -> list[tuple[float, int]]:
    require(bool(values), "no layer has it")
    return values


MEASURES: Final[tuple[Measure[Model], ...]] = (
    Measure(
        name="model.parameters",
        formula="number of trained elements in all layers",
        range="≥ 0",
        tells="Size of the model; running statistics are not counted.",
        function=parameters,
    ),
    Measure(
        name="model.kernel_parameters",
        formula="number of kernel weights",
        range="≥ 0",
        tells="What a kernel penalty acts on.",
        function=kernel_parameters,
    ),
    Measure(
        name="model.kernel_l1_norm",
        formula="Σ|w| over all kernels",
        unit="w",
        range="≥ 0",
        tells="What an L1 kernel penalty with λ = 1 on all layers would add to the loss.",
        trap="Kernels before a normalization count with a scale that means nothing.",
        function=kernel_l1_norm,
    ),
    Measure(
        name="model.kernel_squared_fro_norm",
        formula="Σw² over all kernels",
        unit="w²",
        range="≥ 0",
        tells="What Keras' L2 kernel penalty with λ = 1 on all layers would add to the loss.",
        trap="Kernels before a normalization count with a scale that means nothing.",
        function=kernel_squared_fro_norm,
    ),
    Measure(
        name="model.bias_squared_fro_norm",
        formula="Σb² over all biases",
        unit="b²",
        range="≥ 0",
        tells="What Keras' L2 bias penalty with λ = 1 on all layers would add to the loss.",
        function=bias_squared_fro_norm,
    ),
    Measure(
        name="model.bias_l1_norm",
        formula="Σ|b| over all biases",
        unit="b",
        range="≥ 0",
        tells="What an L1 bias penalty with λ = 1 on all layers would add to the loss.",
        function=bias_l1_norm,
    ),
    Measure(
        name="model.kernel_rms",
        formula="√(Σw²/n) over all kernels",
        unit="w",
        range="≥ 0",
        tells="Size of one weight.",
        function=kernel_rms,
    ),
    Measure(
        name="model.zero_fraction",
        formula="#{w = 0}/n over all kernels",
        range="[0, 1]",
        tells="Sparsity of the model.",
        function=zero_fraction,
    ),
    Measure(
        name="model.log_spectral_product",
        formula="Σ ln σ₁ over all kernels",
        unit="nats",
        range="any",
        source="Bartlett et al. 2017 (leading factor of the bound)",
        tells="Log of a bound on how much a feed-forward model stretches its input.",
        trap="Correlates negatively with the generalization gap (Jiang et al. 2020): described, never judged.",
        function=log_spectral_product,
    ),
    Measure(
        name="model.growth_median",
        formula="median of kernel.growth",
        range="≥ 0",
        tells="How far the usual kernel grew from its assumed initialisation.",
        trap="The initialisation is assumed, not known.",
        function=growth_median,
    ),
    Measure(
        name="model.growth_depth_correlation",
        formula="Spearman's ρ of kernel.growth and depth",
        range="[-1, 1]",
        source="Spearman 1904",
        tells="Positive where later layers grew more; decay that ends too early, or small gradients, leave a profile.",
        trap="Depth is the order in the file.",
        function=growth_depth_correlation,
    ),
)
