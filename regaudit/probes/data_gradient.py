"""What the data want of each kernel and bias: u = -∇L, beside what a penalty wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from regaudit.measures.base import ALL_ZERO, Estimate, Measure, Value, plural, require
from regaudit.probes.jackknife import standard_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.records import Array

THRESHOLDS: Final = (10, 50, 90)  # percent of the weights
# Of the rms gradient of one example. A mean of float32 gradients that cancel is exact to about 1e-7 of them.
ROUNDING: Final = 1e-6
WITHIN_ROUNDING: Final = "the examples' gradients cancel up to rounding"
SCALAR: Final = "a single number has no direction"
WITHIN_NOISE: Final = "the mean gradient is within its own sampling noise"
ONE: Final = "takes two examples"


@dataclass(frozen=True, kw_only=True, eq=False)
class DataGradient:
    """The gradients of one parameter, or of all, as far as the measures need them; g_n = ∇ℓ_n, ḡ their mean.

    Args:
        size: Number of weights.
        mean_square: ‖ḡ‖².
        squares: ‖g_n‖², shape (examples,).
        along_mean: ⟨g_n, ḡ⟩, shape (examples,).
        along_weight: ⟨-g_n, w⟩, shape (examples,).
        weight_square: ‖w‖².
        thresholds: |u_i + h_i·w_i| of every weight, ascending; () where the curvature was not taken.
        no_curvature: Why it was not.
        curvature: Mean of h_i.
    """

    size: int
    mean_square: float
    squares: Array
    along_mean: Array
    along_weight: Array
    weight_square: float
    thresholds: Array
    curvature: float = 0.0
    no_curvature: str = ""

    @property
    def detail(self) -> str:
        """On how many examples it was taken."""
        return plural(len(self.squares), "example")

    @property
    def covariance(self) -> float:
        """Trace of the covariance of g_n, divisor N - 1."""
        n = len(self.squares)
        require(n > 1, ONE)
        return max(0.0, (float(self.squares.mean()) - self.mean_square) * n / (n - 1))

    def without_each(self) -> tuple[Array, Array, Array]:
        """Return ‖ḡ‖², the mean of ‖g_n‖² and ⟨u, w⟩ without each example in turn."""
        n = len(self.squares)
        mean_square = (n * n * self.mean_square - 2 * n * self.along_mean + self.squares) / (n - 1) ** 2
        squares = (self.squares.sum() - self.squares) / (n - 1)
        return np.maximum(mean_square, 0.0), squares, (self.along_weight.sum() - self.along_weight) / (n - 1)

    def estimate(self, function: Callable[[Any, Any, Any], Any]) -> Estimate:
        """Return a function of ‖ḡ‖², the mean of ‖g_n‖² and ⟨u, w⟩, with its standard error by the jackknife."""
        value = function(self.mean_square, self.squares.mean(), self.along_weight.mean())
        if len(self.squares) < 2:
            return Estimate(value=float(value), detail=self.detail)
        with np.errstate(divide="ignore", invalid="ignore"):
            se = standard_error(np.asarray(function(*self.without_each())))
        return Estimate(value=float(value), detail=self.detail, se=se)


def data_gradient_rms(found: DataGradient) -> Value:
    """Return √(‖u‖²/n)."""
    return found.estimate(lambda mean_square, _, __: np.sqrt(mean_square / found.size))


def data_gradient_noise(found: DataGradient) -> Value:
    """Return √(tr Cov(g)/(N·n)), the rms standard error of u."""
    return float(np.sqrt(found.covariance / (len(found.squares) * found.size))), found.detail


def gradient_alignment(found: DataGradient) -> Value:
    """Return ⟨u, w⟩/(‖u‖·‖w‖)."""
    require(found.weight_square > 0, ALL_ZERO)
    require(found.size > 1, SCALAR)
    require(found.mean_square > ROUNDING**2 * float(found.squares.mean()), WITHIN_ROUNDING)
    norm = np.sqrt(found.weight_square)
    return found.estimate(lambda mean_square, _, along: along / (np.sqrt(mean_square) * norm))


def l2_equilibrium(found: DataGradient) -> Value:
    """Return ⟨u, w⟩/(2‖w‖²)."""
    require(found.weight_square > 0, ALL_ZERO)
    return found.estimate(lambda _, __, along: along / (2 * found.weight_square))


def gradient_noise_scale(found: DataGradient) -> Value:
    """Return tr Cov(g)/‖∇L‖², both unbiased."""
    n = len(found.squares)
    signal = found.mean_square - found.covariance / n
    require(signal > 0, WITHIN_NOISE)

    def scale(mean_square: Any, squares: Any, _: Any) -> Any:  # noqa: ANN401
        m = n if np.ndim(mean_square) == 0 else n - 1
        covariance = (squares - mean_square) * m / (m - 1)
        return covariance / (mean_square - covariance / m)

    if n < 3:
        return Estimate(value=float(scale(found.mean_square, found.squares.mean(), None)), detail=found.detail)
    return found.estimate(scale)


def curvature_mean(found: DataGradient) -> Value:
    """Return the mean of h_i."""
    require(not found.no_curvature, found.no_curvature)
    return found.curvature, found.detail


def _threshold(percent: int) -> Callable[[DataGradient], Value]:
    """Return the measure of the λ at which L1 zeroes a share of the weights."""

    def threshold(found: DataGradient) -> Value:
        require(not found.no_curvature, found.no_curvature)
        return float(np.quantile(found.thresholds, percent / 100)), found.detail

    return threshold


def _measures(use: str, w: str) -> tuple[Measure[DataGradient], ...]:
    """Return the measures of a kernel or of a bias."""
    return (
        Measure(
            name=f"{use}.data_gradient_rms",
            formula=f"√(Σu²/n), u = -∂L/∂{w}, L the mean loss over the training examples without any penalty",
            unit=f"L/{w}",
            range="≥ 0",
            tells="How strongly the data still pull; at a trained optimum as strongly as the penalty pulls back.",
            trap="Not 0 in a model that was not trained to the end.",
            function=data_gradient_rms,
        ),
        Measure(
            name=f"{use}.data_gradient_noise",
            formula="√(tr Cov(g)/(N·n)), g the gradient of one example, N examples",
            unit=f"L/{w}",
            range="≥ 0",
            tells="What other training examples would make of data_gradient_rms if its true value were 0.",
            function=data_gradient_noise,
        ),
        Measure(
            name=f"{use}.gradient_alignment",
            formula=f"⟨u, {w}⟩/(‖u‖·‖{w}‖)",
            range="[-1, 1]",
            source="Wang & Gong 2018",
            tells="1 where an L2 penalty holds the data in equilibrium, u = 2λw.",
            trap="Cross entropy without any penalty pulls along the weights too, once all examples are right (Ji & Telgarsky 2020).",
            function=gradient_alignment,
        ),
        Measure(
            name=f"{use}.l2_equilibrium_strength",
            formula=f"⟨u, {w}⟩/(2‖{w}‖²)",
            unit=f"L/{w}²",
            range="any",
            source="Wang & Gong 2018",
            tells="The λ of the L2 penalty under which the size of the weights would now stay: w = u/(2λ).",
            trap="Means a penalty only where gradient_alignment is near 1.",
            function=l2_equilibrium,
        ),
        Measure(
            name=f"{use}.gradient_noise_scale",
            formula="tr Cov(g)/‖∇L‖², both unbiased, g the gradient of one example",
            unit="examples",
            range="≥ 0",
            source="McCandlish et al. 2018, simple noise scale",
            tells="Batches far below it see mostly noise, batches far above it waste examples.",
            trap="Grows without bound as training ends; on the training examples of a fitted model the mean gradient is within its noise.",
            function=gradient_noise_scale,
        ),
        Measure(
            name=f"{use}.curvature_mean",
            formula=f"Σh/n, h_i = ∂²L/∂{w}_i² by Gauss-Newton",
            unit=f"L/{w}²",
            range="≥ 0",
            source="Martens 2020",
            tells="An L2 penalty with 2λ far below it changes little, far above it removes what was learned.",
            trap="Goes to 0 where cross entropy is fitted perfectly: then it says nothing.",
            function=curvature_mean,
        ),
        *(
            Measure(
                name=f"{use}.l1_threshold_{percent}",
                formula=f"{percent}% quantile of |u_i + h_i·{w}_i|, h_i = ∂²L/∂{w}_i² by Gauss-Newton",
                unit=f"L/{w}",
                range="≥ 0",
                source="Tibshirani 1996, for one weight at a time",
                tells=f"The λ at which L1 zeroes {percent}% of the weights: those whose data gradient at 0 is below λ.",
                trap="One weight at a time, in the local quadratic: weights that stand in for each other go sooner or later.",
                function=_threshold(percent),
            )
            for percent in THRESHOLDS
        ),
    )


OF_KERNEL: Final = _measures("kernel", "w")
OF_BIAS: Final = _measures("bias", "b")
OF_MODEL: Final[tuple[Measure[DataGradient], ...]] = (
    Measure(
        name="model.data_gradient_norm",
        formula="‖∇L‖ over all parameters, L the mean loss over the training examples without any penalty",
        unit="L/w",
        range="≥ 0",
        tells="How far the model is from an optimum of its data loss.",
        function=lambda found: found.estimate(lambda mean_square, _, __: np.sqrt(mean_square)),
    ),
    Measure(
        name="model.gradient_noise_scale",
        formula="tr Cov(g)/‖∇L‖² over all parameters, both unbiased, g the gradient of one example",
        unit="examples",
        range="≥ 0",
        source="McCandlish et al. 2018, simple noise scale",
        tells="Batches far below it see mostly noise, batches far above it waste examples.",
        trap="Grows without bound as training ends; on the training examples of a fitted model the mean gradient is within its noise.",
        function=gradient_noise_scale,
    ),
)
