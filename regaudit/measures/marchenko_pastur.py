"""What the singular values of pure noise look like: the Marchenko-Pastur law for a same-shape Gaussian matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import plural, require
from regaudit.measures.ordered import median

if TYPE_CHECKING:
    from regaudit.records import Array

# Trapezoid nodes in the angle; the integrand is smooth and periodic, so 2,048 give 12 digits of the integrals
# and 7 of the median.
NODES: Final = 2048
# How far, in Tracy-Widom units, the largest eigenvalue of noise may lie above the edge. The law's own 99.9% point
# is 3.3; the rest is for the bulk median of a small matrix. Calibrated: over 8×8 to 300×784 Gaussian matrices the
# 99% points of what was seen are 0.8 to 5.3 (1,000 seeds each below 64 rows).
EDGE_MARGIN: Final = 6.0
MIN_BULK: Final = 8  # singular values from which their median means something; the margin is calibrated from there


@dataclass(frozen=True, slots=True)
class NoiseSpectrum:
    """The law for an m×n matrix (m ≤ n) of independent entries with variance s².

    Args:
        median: Median of λ/(n·s²), λ = σ² the squared singular values.
        edge: Upper edge of σ/s: √m + √n.
        reach: What σ/s stays below in 99% of noise matrices at least.
        effective_rank: exp of the entropy of σ/Σσ.
        stable_rank: ‖W‖_F²/σ₁² = mn/(√m+√n)².
    """

    median: float
    edge: float
    reach: float
    effective_rank: float
    stable_rank: float


@lru_cache(maxsize=1024)
def noise_spectrum(m: int, n: int) -> NoiseSpectrum:
    """Return what the spectrum of an m×n noise matrix is expected to show.

    With γ = m/n and x = 1 + γ + 2√γ·cos θ the density of x = λ/(n·s²) becomes 2 sin²θ/(π·x) dθ on (0, π), which has
    no singularity. The entropy of p = σ/Σσ follows from the means of √x and √x·ln √x.

    Args:
        m: The smaller side, at least 1.
        n: The larger side.

    Returns:
        The law; the effective rank is 1% too high at 32×32, 3% at 8×8 (checked by simulation).

    Source: Marchenko & Pastur 1967; fluctuations of the edge: Johnstone 2001 ("On the distribution of the largest
    eigenvalue in principal components analysis"), theorem 1.1.
    """
    gamma = m / n
    theta = (np.arange(NODES) + 0.5) * (math.pi / NODES)
    x = (1 + gamma + 2 * math.sqrt(gamma) * np.cos(theta))[::-1]
    weight = 2 * np.sin(theta[::-1]) ** 2 / (NODES * x)
    below = np.cumsum(weight) - weight / 2
    root = np.sqrt(x)
    mean_root = float(weight @ root)
    entropy_term = float(weight @ (root * np.log(root))) / mean_root
    edge = math.sqrt(m) + math.sqrt(n)
    tracy_widom = edge * (1 / math.sqrt(m) + 1 / math.sqrt(n)) ** (1 / 3)
    return NoiseSpectrum(
        median=float(np.interp(0.5, below, x)),
        edge=edge,
        reach=math.sqrt(edge**2 + EDGE_MARGIN * tracy_widom),
        effective_rank=m * mean_root * math.exp(-entropy_term),
        stable_rank=m * n / edge**2,
    )


@dataclass(frozen=True, slots=True)
class Bulk:
    """The noise that the bulk of a spectrum implies, and what sticks out of it.

    Args:
        edge: Largest singular value that the law expects of that noise.
        outliers: Singular values beyond the edge and its finite-size margin, descending.
    """

    edge: float
    outliers: Array


def bulk(values: Array, longer: int) -> Bulk:
    """Return the noise edge s(√m + √n), with s² = median σ²/(n·median of the law).

    Args:
        values: The nonzero singular values, descending; their number is m.
        longer: n, the longer side of the matrix without zero rows and columns.

    Source: Gavish & Donoho 2014 ("The optimal hard threshold for singular values is 4/√3"), section III.E.
    """
    require(
        len(values) >= MIN_BULK,
        f"{plural(len(values), 'singular value')} above rounding; it takes {MIN_BULK} to see a bulk",
    )
    noise = noise_spectrum(len(values), longer)
    scale = median(values) / math.sqrt(longer * noise.median)
    reached = np.searchsorted(-values, -scale * noise.reach)
    return Bulk(scale * noise.edge, values[:reached])
