"""What one layer gave on the batch: the record that its measures are defined on.

A row is one example at one position (of a convolution or a sequence), N rows in all; a column is a unit, or a channel.
y is what the layer gives after its activation, z = Wx + b what it gives before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import plural, require
from regaudit.measures.detail import units
from regaudit.probes.accumulate import numbers, value_of

if TYPE_CHECKING:
    from regaudit.probes.accumulate import Columns, Pool, SecondMoments
    from regaudit.records import Array

# Rule of three (Hanley & Lippman-Hand 1983): never in n rows bounds the rate by 3/n; 100 rows exclude 3%.
LEAST_ROWS: Final = 100
CONSTANT: Final = 1e-6  # of the unit's largest output: rounding of float32 (2^-24) over a sum, and no more
# tanh beyond 0.95 has a slope below 0.1; sigmoid(2z) = (1 + tanh z)/2 has there .025 and .975 (Glorot & Bengio 2010).
SATURATED_TANH: Final = 0.95
SATURATED_SIGMOID: Final = 0.025
# Activations that are exactly 0 on a whole half-line, and those that level off at both ends; names as in torch and Keras.
CUTS_OFF: Final = frozenset({"relu", "relu6", "relu2", "relu_squared", "squared_relu", "threshold", "thresholdedrelu"})
TANHS: Final = frozenset({"tanh", "hardtanh", "hard_tanh"})
SIGMOIDS: Final = frozenset({"sigmoid", "hardsigmoid", "hard_sigmoid", "logistic"})


@dataclass(frozen=True, kw_only=True, eq=False)
class Activity:
    """What one layer gave on all rows.

    Args:
        activation: Name of the activation that makes y of z ("" if none).
        examples: Examples, by which Keras divides an activity penalty.
        nonfinite: How many outputs are NaN or infinite; nothing else is said where there are some.
        pool: Sums over everything.
        columns: Sums of each unit.
        moments: The covariance of units.
        saturated: In how many rows each unit is saturated; None where the activation has no such ends.
        linear: Sums of each unit of z.
        bias: b, shape (units,); None where the layer has none, or `no_bias` says why it is not known.
        no_bias: Why there is no bias to speak of.
        input_rms: √E x² of what the layer took; None where that is no tensor of floats.
    """

    activation: str
    examples: int
    nonfinite: int = 0
    pool: Pool
    columns: Columns
    moments: SecondMoments
    saturated: Array | None = None
    linear: Columns
    bias: Array | None = None
    no_bias: str = "the layer has no bias"
    input_rms: float | None = None

    @property
    def rows(self) -> int:
        """Examples times positions."""
        return self.columns.rows

    @property
    def rms(self) -> float:
        """√E y²."""
        return math.sqrt(self.pool.l2 / self.pool.size)

    @cached_property
    def peaks(self) -> Array:
        """max|y| of each unit."""
        found: Array = np.maximum(numbers(self.columns.high), -numbers(self.columns.low))
        return found

    @cached_property
    def unit_rms(self) -> Array:
        """√E y² of each unit."""
        found: Array = np.sqrt(self.columns.variances + self.columns.means**2)
        return found

    @cached_property
    def active(self) -> Array:
        """In how many rows each unit is not 0."""
        return numbers(self.columns.active)

    @cached_property
    def is_constant(self) -> Array:
        """Which units give one value on all rows."""
        spread = numbers(self.columns.high) - numbers(self.columns.low)
        found: Array = spread <= CONSTANT * self.peaks
        return found

    @cached_property
    def is_dead(self) -> Array:
        """Which units never work: always 0 where the activation cuts off, one value otherwise."""
        found: Array = self.active == 0 if self.activation in CUTS_OFF else self.is_constant
        return found

    @cached_property
    def median_magnitude(self) -> float:
        """The median of |y|, rounded down to 8 bits."""
        counts = np.cumsum(numbers(self.pool.magnitudes))
        return value_of(int(np.searchsorted(counts, (self.pool.size + 1) // 2)))

    @cached_property
    def linear_moments(self) -> tuple[Array, Array]:
        """Mean and variance of z of each unit.

        Raises:
            NotMeasurable: Some z are not finite.
        """
        means, variances = self.linear.means, self.linear.variances
        require(bool(np.isfinite(means + variances).all()), "some pre-activations are not finite")
        return means, variances

    def require_rows(self, least: int = LEAST_ROWS) -> None:
        """Refuse too few rows.

        Raises:
            NotMeasurable: There are fewer.
        """
        require(self.rows >= least, f"{plural(self.rows, 'row')} cannot tell; it takes {least:,}")

    def which(self, found: Array) -> str:
        """Return which units, and of how many rows."""
        named = units(np.flatnonzero(found))
        return f"{named}; " * bool(named) + f"of {plural(self.rows, 'row')}"
