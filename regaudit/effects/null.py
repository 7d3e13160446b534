"""What independent random weights of the same shape would show, so that noise is no finding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regaudit.effects.base import Subject

NEAR_ZERO = 1e-3  # of the rms: the definition of kernel.near_zero_fraction, and of a dead unit against the median norm
# Half of ln √6 = 0.9, the distance between PyTorch's default std √(1/3n) and He's √(2/n): what "the initialisation"
# leaves open where the file does not tell it, as a standard error of ln growth.
INITIALISATION_DOUBT = 0.45
HALF_SURE = 2.0  # a distance of so many standard errors gives half of the confidence (our choice)

# Excess kurtosis of the three initialisations in use: uniform, normal cut at ±2σ, normal (definition).
INITIAL_KURTOSES = (-1.2, -0.634, 0.0)
# Below so many weights the shape of a distribution tells nothing: the kurtosis has an error of √(24/n) = 0.15.
SHAPE_NEEDS = 1000
KURTOSIS_ERRORS = 4.0  # standard errors that a healthy random kernel stays within
# A Gini coefficient of norms may exceed that of random ones by this factor (our choice; random: within 1.25).
GINI_SLACK = 1.5


def surety(distance: float, error: float) -> float:
    """Return how sure a distance from the null is: z² / (z² + 2²), z = distance / error.

    Args:
        distance: Of the measured value from the null's expectation.
        error: Standard error of that distance.

    Returns:
        In [0, 1): 0.5 at two standard errors, 0.94 at eight.

    Source: our choice of a smooth, monotone scale.
    """
    z = distance / error if error > 0 else math.inf
    return 1.0 if math.isinf(z) else z * z / (z * z + HALF_SURE**2)


def growth_error(size: int) -> float:
    """Return the standard error of ln(rms / σ₀) of n random weights under an assumed initialisation.

    √(1/2n + 0.45²): sampling of an rms, and the doubt which initialisation it was.

    Source: definition; `INITIALISATION_DOUBT`.
    """
    return math.sqrt(1 / (2 * max(size, 1)) + INITIALISATION_DOUBT**2)


def near_zero_share() -> float:
    """Return the share of normal weights below 10⁻³ of their rms: erf(10⁻³/√2) = 8.0e-4.

    Source: definition.
    """
    return math.erf(NEAR_ZERO / math.sqrt(2))


def small_vectors(count: int, length: int) -> float:
    """Return how many of `count` normal vectors have a norm below 10⁻³ of the median norm.

    P(χ²_k < t) ≈ (t/2)^(k/2) / Γ(k/2 + 1) for small t = 10⁻⁶ · median(χ²_k), median ≈ k(1 - 2/9k)³.

    Args:
        count: Number of vectors.
        length: Elements k of each.

    Returns:
        The expected number: 5e-4 a vector for k = 1, below 1e-6 from k = 2 on.

    Source: Wilson & Hilferty 1931 (the median); the series of the incomplete gamma function.
    """
    if length < 1:
        return 0.0
    squared = NEAR_ZERO**2 * length * (1 - 2 / (9 * length)) ** 3
    log_share = length / 2 * math.log(squared / 2) - math.lgamma(length / 2 + 1)
    return count * math.exp(log_share)


def is_more_than(count: float, expected: float) -> bool:
    """Return whether a count is beyond what a Poisson variable with this mean shows: over mean + 4√mean, and one.

    Source: normal approximation, 4 standard errors.
    """
    return count >= 1 and count > expected + 4 * math.sqrt(expected)


def looks_random(subject: Subject) -> bool:
    """Return whether a kernel shows nothing that independent random weights would not.

    Its kurtosis is that of a uniform, cut normal or normal distribution, its unit norms are as even as random ones,
    and no singular value leaves the Marchenko-Pastur bulk. False where the kernel is too small to tell.

    Source: moments by definition; Marchenko & Pastur 1967 through `kernel.outlier_count`.
    """
    kurtosis = subject.values.get("kernel.excess_kurtosis")
    if kurtosis is None or subject.size < SHAPE_NEEDS:
        return False
    tolerance = KURTOSIS_ERRORS * math.sqrt(24 / subject.size)
    if min(abs(kurtosis - known) for known in INITIAL_KURTOSES) > tolerance:
        return False
    if subject.values.get("kernel.outlier_count", 0) > 0:
        return False
    return all(
        _is_even(subject.values.get(f"kernel.{side}_norm_gini"), length, count)
        for side, length, count in (
            ("out", subject.fan_in, subject.outputs),
            ("in", subject.size // max(subject.inputs, 1), subject.inputs),
        )
    )


def _is_even(gini: float | None, length: int, count: int) -> bool:
    """Return whether norms are as even as those of random vectors: Gini ≈ cv/√π with cv ≤ 1/√(2k)."""
    if gini is None or count < 2:
        return True
    expected = 1 / math.sqrt(2 * max(length, 1) * math.pi)
    return gini <= expected * (GINI_SLACK + 2 / math.sqrt(count))
