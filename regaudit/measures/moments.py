"""Central moments that can be merged, so that a mean far from zero costs no digits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Moments:
    """Count, mean and sums of the 2nd, 3rd and 4th powers of deviations from the mean.

    Source: P. Pébay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
    statistical moments", Sandia SAND2008-6212, equations 2.1 to 2.3.
    """

    count: int = 0
    mean: float = 0.0
    second: float = 0.0
    third: float = 0.0
    fourth: float = 0.0

    def merge(self, other: Moments) -> None:
        """Add the elements that `other` has seen (at least one)."""
        a, b = self.count, other.count
        n = a + b
        # Products, not powers: a float power that overflows raises, a product gives infinity, which the caller expects.
        shift = (other.mean - self.mean) / n
        square = shift * shift
        self.fourth += (
            other.fourth
            + square * square * n * a * b * (a * a - a * b + b * b)
            + 6 * square * (a * a * other.second + b * b * self.second)
            + 4 * shift * (a * other.third - b * self.third)
        )
        self.third += (
            other.third + square * shift * n * a * b * (a - b) + 3 * shift * (a * other.second - b * self.second)
        )
        self.second += other.second + square * n * a * b
        self.mean += shift * b
        self.count = n
