"""Which inputs the model uses, and which it ignores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Estimate, Measure, Value, plural, require
from regaudit.measures.ordered import gini
from regaudit.probes.jackknife import standard_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.probes.coordinates import Coordinates
    from regaudit.probes.jacobian import Jacobians
    from regaudit.records import Array

# Of the share that each input had if all were used alike. Rule of thumb: such an input moves the output by less than
# a hundredth of what the usual one does.
IGNORED: Final = 0.01
MOST: Final = 0.9  # of the output's variation


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Sensitivity of the output to each input.

    Args:
        coordinates: Which numbers the inputs are.
        squares: s_i² = std(x_i)²·E Σ_k (∂f_k/∂x_i)², summed over the examples of a block; shape (blocks, inputs).
        counts: Examples in each block.
        varies: Which inputs differ between examples.
        touched: Which inputs have a gradient other than 0 at some example.
        detail: How the gradients were taken.
    """

    coordinates: Coordinates
    squares: Array
    counts: Array
    varies: Array
    touched: Array
    detail: str

    @cached_property
    def sensitivity(self) -> Array:
        """s_i of every input, shape (inputs,)."""
        found: Array = np.sqrt(self.squares.sum(0) / self.counts.sum())
        return found

    @cached_property
    def ignored(self) -> Array:
        """Indices of the inputs that vary and have less than 1% of the uniform share of Σ s_i, shape (ignored,)."""
        s = self.sensitivity[self.varies]
        return np.flatnonzero(self.varies)[s < IGNORED * s.sum() / len(s)] if s.any() else np.flatnonzero(self.varies)

    @cached_property
    def untouched(self) -> Array:
        """Indices of the inputs whose gradient is exactly 0 at every example."""
        return np.flatnonzero(~self.touched)

    @cached_property
    def constant(self) -> Array:
        """Indices of the inputs that are the same at every example."""
        return np.flatnonzero(~self.varies)


def inputs(coordinates: Coordinates, found: Jacobians, scale: Array) -> Inputs:
    """Return the sensitivity to each input.

    Args:
        coordinates: Which numbers the inputs are.
        found: The Jacobians by coordinate.
        scale: Standard deviation of each coordinate, shape (coordinates,).
    """
    unit_of = coordinates.unit_of
    count = int(unit_of.max()) + 1
    squares = np.stack([np.bincount(unit_of, row, count) for row in found.squares * np.square(scale)])
    return Inputs(
        coordinates=coordinates,
        squares=squares,
        counts=found.counts,
        varies=np.bincount(unit_of, scale, count) > 0,
        touched=np.bincount(unit_of, found.squares.sum(0), count) > 0,
        detail=found.how,
    )


def ignored_fraction(found: Inputs) -> Value:
    """Return the share of varying inputs that the model all but ignores, and which."""
    require(bool(found.varies.any()), "no input varies over the examples")
    return len(found.ignored) / int(found.varies.sum()), found.coordinates.named(found.ignored)


def zero_gradient_fraction(found: Inputs) -> Value:
    """Return the share of inputs whose gradient is exactly 0 at every example, and which."""
    return len(found.untouched) / len(found.touched), found.coordinates.named(found.untouched)


def constant_fraction(found: Inputs) -> Value:
    """Return the share of inputs that are the same at every example, and which."""
    return len(found.constant) / len(found.varies), found.coordinates.named(found.constant)


def sensitivity_gini(found: Inputs) -> Value:
    """Return the Gini coefficient of s_i over varying inputs."""
    return _of_sensitivity(found, lambda s: gini(np.sort(s)))


def sensitivity_share_90(found: Inputs) -> Value:
    """Return the smallest share of varying inputs that carries 90% of Σ s_i²."""
    return _of_sensitivity(found, _share_of_most)


def _share_of_most(s: Array) -> float:
    """Return how many of the largest s_i² it takes for 90%, as a share; the last one counts in part."""
    carried = np.concatenate([[0.0], np.cumsum(np.sort(np.square(s))[::-1])])
    return float(np.interp(MOST * carried[-1], carried, np.arange(len(carried)))) / len(s)


def _of_sensitivity(found: Inputs, function: Callable[[Array], float]) -> Value:
    """Return a function of the sensitivities of the inputs that vary, with its standard error over blocks."""
    require(bool(found.varies.any()), "no input varies over the examples")
    require(bool(found.sensitivity[found.varies].any()), "the gradient is 0 at every input and every example")
    rest = found.squares.sum(0) - found.squares
    rest = np.sqrt(np.maximum(rest, 0.0) / (found.counts.sum() - found.counts).clip(1)[:, None])[:, found.varies]
    se = standard_error(np.array([function(each) for each in rest])) if rest.any(1).all() else None
    detail = f"{plural(int(found.varies.sum()), found.coordinates.unit)}, {found.detail}"
    return Estimate(value=function(found.sensitivity[found.varies]), detail=detail, se=se)


_S: Final = "s_i = std(x_i)·√(E_x Σ_k (∂f_k/∂x_i)²)"

MEASURES: Final[tuple[Measure[Inputs], ...]] = (
    Measure(
        name="input.ignored_fraction",
        formula=f"share of inputs that vary with s_i < 0.01·mean of s, {_S}",
        range="[0, 1]",
        tells="Inputs that the model ignores, which is what an L1 penalty on the first kernel does; the detail names them.",
        trap="For token ids the inputs are positions, taken by their embeddings; padding is ignored rightly.",
        function=ignored_fraction,
    ),
    Measure(
        name="input.zero_gradient_fraction",
        formula="#{i: ∂f/∂x_i = 0 at every example}/inputs",
        range="[0, 1]",
        tells="Inputs that are cut off exactly: pruned, masked, or behind units that never fire. The detail names them.",
        trap="A first kernel trained on a constant input has a gradient by it all the same.",
        function=zero_gradient_fraction,
    ),
    Measure(
        name="input.constant_fraction",
        formula="#{i: x_i is the same at every example}/inputs",
        range="[0, 1]",
        tells="Inputs of which the batch says nothing; the detail names them.",
        function=constant_fraction,
    ),
    Measure(
        name="input.sensitivity_gini",
        formula=f"Gini coefficient of s over inputs that vary, {_S}",
        range="[0, 1)",
        source="Gini 1912",
        tells="0 all inputs count alike, near 1 few inputs decide.",
        trap="Inputs that carry the same information share their weight in any way.",
        function=sensitivity_gini,
    ),
    Measure(
        name="input.sensitivity_share_90",
        formula=f"least share of inputs that vary with 90% of Σs_i², {_S}",
        range="(0, 1]",
        tells="How many of the inputs carry the output's variation, to first order.",
        trap="Inputs that carry the same information share their weight in any way.",
        function=sensitivity_share_90,
    ),
)
