"""Singular values of the (out, in·taps) matrix, against those of a noise matrix of the same shape.

For a convolution that matrix is the kernel reshaped: its largest singular value is not the norm of the convolution
as an operator, only within a factor √taps of it. A depthwise kernel is (channels, taps).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ALL_ZERO, Estimate, Measure, Value, require
from regaudit.measures.marchenko_pastur import NoiseSpectrum, noise_spectrum
from regaudit.records import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.measures.subject import Subject
    from regaudit.records import Array

_PRODUCT: Final = frozenset({Role.ADAPTER})  # a product of two noise matrices does not follow the law


def spectral_norm(subject: Subject) -> Value:
    """Return σ₁, in the unit of the weights."""
    found = _largest(subject)
    return _transformed(found, lambda s: s * subject.summary.unit)


def stable_rank(subject: Subject) -> Value:
    """Return ‖W‖_F²/σ₁², in [1, min(out, in·taps)]."""
    return _stable_rank(subject, 1.0)


def stable_rank_ratio(subject: Subject) -> Value:
    """Return the stable rank over that of a Gaussian matrix of the shape."""
    return _stable_rank(subject, _noise(subject).stable_rank)


def effective_rank(subject: Subject) -> Value:
    """Return exp(-Σ p ln p), p = σ/Σσ, in [1, min(out, in·taps)]."""
    return _effective_rank(subject, 1.0)


def effective_rank_ratio(subject: Subject) -> Value:
    """Return the effective rank over that of a Gaussian matrix of the shape."""
    return _effective_rank(subject, _noise(subject).effective_rank)


def condition_number(subject: Subject) -> Value:
    """Return σ₁/σ_min, where σ_min is no rounding noise."""
    values, spectrum = _nonzero(subject), subject.spectrum
    smallest = float(values[-1])
    singular = f"singular to double precision: rank {spectrum.rank:,} of {len(values):,}"
    unknown = "above 1e6, and the matrix is too large for an SVD, which could tell"
    require(smallest > spectrum.resolution, singular if spectrum.is_exact else unknown)
    return spectrum.largest / smallest


def noise_edge(subject: Subject) -> Value:
    """Return s(√m + √n), s² the noise variance that the median of the bulk implies, in the unit of the weights."""
    return subject.bulk.edge * subject.summary.unit


def outlier_count(subject: Subject) -> Value:
    """Return the number of singular values above the noise edge and its finite-size margin."""
    return float(len(subject.bulk.outliers))


def outlier_energy(subject: Subject) -> Value:
    """Return Σσ² above the noise edge and its margin, over ‖W‖_F²."""
    outliers = subject.bulk.outliers
    return min(1.0, float(outliers.dot(outliers)) / subject.summary.squares)


def top_energy(subject: Subject) -> Value:
    """Return σ₁²/‖W‖_F²."""
    found = _largest(subject)
    require(found != 0.0, ALL_ZERO)
    return _transformed(found, lambda s: 1 / max(1.0, subject.summary.squares / s**2))


def _largest(subject: Subject) -> Estimate | float:
    """Return σ₁ in the summary's unit, exact or estimated; raises `NotMeasurable`."""
    return subject.estimated.largest if subject.is_estimated else subject.spectrum.largest


def _transformed(found: Estimate | float, function: Callable[[float], float]) -> Value:
    """Return a monotonic function of a number, or of an estimate and the ends of its interval."""
    if not isinstance(found, Estimate):
        return function(found)
    assert found.low is not None
    assert found.high is not None
    low, high = sorted((function(found.low), function(found.high)))
    return Estimate(value=function(found.value), low=low, high=high)


def _stable_rank(subject: Subject, expected: float) -> Value:
    found = _largest(subject)
    require(found != 0.0, ALL_ZERO)
    return _transformed(found, lambda s: max(1.0, subject.summary.squares / s**2) / expected)


def _nonzero(subject: Subject) -> Array:
    values = subject.spectrum.values
    require(subject.spectrum.largest > 0.0, ALL_ZERO)
    return values


def _noise(subject: Subject) -> NoiseSpectrum:
    m, n = sorted(subject.blocks.matrix_shape)
    require(m > 1, "a single row or column always has rank 1")
    return noise_spectrum(m, n)


def _effective_rank(subject: Subject, expected: float) -> Value:
    if subject.is_estimated:
        return _transformed(subject.estimated.effective_rank, lambda rank: rank / expected)
    values = _nonzero(subject)
    shares = values / np.add.reduce(values)
    if shares[-1] == 0.0:  # also where a share underflows
        shares = shares[shares > 0.0]
    return math.exp(-float(shares.dot(np.log(shares)))) / expected


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.spectral_norm",
        formula="σ₁ of the (out, in·taps) matrix",
        unit="w",
        range="≥ 0",
        tells="The largest factor by which a dense layer stretches an input.",
        trap="For a convolution not the operator's norm, which is at most √taps times it.",
        function=spectral_norm,
    ),
    Measure(
        name="kernel.stable_rank",
        formula="‖W‖_F²/σ₁²",
        range="[1, min(out, in·taps)]",
        source="Rudelson & Vershynin 2007",
        tells="How many directions carry the norm.",
        trap="Depends on the shape: read stable_rank_ratio.",
        function=stable_rank,
    ),
    Measure(
        name="kernel.stable_rank_ratio",
        formula="stable_rank / (mn/(√m+√n)²)",
        range="> 0",
        source="Marchenko & Pastur 1967 (edge)",
        tells="1 is a random matrix of that shape; below 0.1 one or a few directions dominate.",
        trap="A mean far from 0 is one such direction. Small noise matrices show more: 1.2 at 16×16, 1.07 at 64×64.",
        function=stable_rank_ratio,
    ),
    Measure(
        name="kernel.effective_rank",
        formula="exp(-Σ p ln p), p = σ/Σσ",
        range="[1, min(out, in·taps)]",
        source="Roy & Vetterli 2007",
        tells="How many directions are in use, small ones included.",
        trap="Over σ, not σ². Depends on the shape: read effective_rank_ratio.",
        function=effective_rank,
    ),
    Measure(
        name="kernel.effective_rank_ratio",
        formula="effective_rank / that of the Marchenko-Pastur law at m/n",
        range="> 0",
        source="Roy & Vetterli 2007; Marchenko & Pastur 1967",
        tells="1 is a random matrix of that shape; small where weight decay on products, or collapse, took directions.",
        trap="The law is 1% too high at 32×32, 3% at 8×8.",
        function=effective_rank_ratio,
    ),
    Measure(
        name="kernel.condition_number",
        formula="σ₁/σ_min",
        range="≥ 1",
        tells="How unevenly directions are stretched.",
        trap="Near-square random matrices have about their size; large values alone are no defect.",
        function=condition_number,
    ),
    Measure(
        name="kernel.noise_edge",
        formula="s(√m+√n), s² = median σ²/(n·median of the law)",
        unit="w",
        range="> 0",
        source="Marchenko & Pastur 1967; Gavish & Donoho 2014 (noise from the median)",
        tells="Up to here singular values may be noise.",
        trap="m is the rank, n the longer side without zero units.",
        not_for=_PRODUCT,
        function=noise_edge,
    ),
    Measure(
        name="kernel.outlier_count",
        formula="#{σ² > s²((√m+√n)² + 6 Tracy-Widom units)}",
        range="≥ 0",
        source="Johnstone 2001 (scale of the margin)",
        tells="Directions that training has added; 0 for noise of any variance in at least 99% of cases.",
        trap="Heavy-tailed entries exceed the edge without any signal.",
        not_for=_PRODUCT,
        function=outlier_count,
    ),
    Measure(
        name="kernel.outlier_energy",
        formula="Σσ² of the outliers/‖W‖_F²",
        range="[0, 1]",
        tells="The share of the norm in those directions.",
        trap="Heavy-tailed entries exceed the edge without any signal.",
        not_for=_PRODUCT,
        function=outlier_energy,
    ),
    Measure(
        name="kernel.top_energy",
        formula="σ₁²/‖W‖_F²",
        range="(0, 1]",
        tells="The share of the norm in one direction; 1 is rank one.",
        function=top_energy,
    ),
)
