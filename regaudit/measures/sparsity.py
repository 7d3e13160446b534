"""Zeros, near zeros and their patterns; units that are dead, ignored or repeated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ALL_ZERO, ORIENTATION_UNKNOWN, Measure, Value, require
from regaudit.measures.blocks import ALIGNMENT
from regaudit.measures.detail import units
from regaudit.measures.ordered import least_alive

if TYPE_CHECKING:
    from regaudit.measures.subject import Subject
    from regaudit.records import Array


def zero_fraction(subject: Subject) -> Value:
    """Return #{w = 0}/n."""
    return subject.summary.zeros / subject.summary.size


def near_zero_fraction(subject: Subject) -> Value:
    """Return #{|w| < 1e-3·rms}/n, zeros included."""
    return subject.summary.near_zeros / subject.summary.size


def hoyer_sparsity(subject: Subject) -> Value:
    """Return (√n - Σ|w|/‖w‖₂)/(√n - 1), in [0, 1]."""
    summary = subject.summary
    require(summary.size > 1, "it takes at least 2 weights")
    require(summary.squares > 0.0, ALL_ZERO)
    root = math.sqrt(summary.size)
    return min(1.0, max(0.0, (root - summary.l1 / math.sqrt(summary.squares)) / (root - 1)))


def saturated_count(subject: Subject) -> Value:
    """Return #{|w| = the dtype's largest finite value}."""
    count = subject.summary.saturated
    require(count is not None, f"{subject.parameter.dtype} has no largest finite float")
    return float(count or 0)


def dead_out_count(subject: Subject) -> Value:
    """Return the number of rows with ‖w_j‖ < 1e-3·median, zero rows included, and which."""
    return _count(_dead(subject.summary.out_norms, subject.summary.sorted_out_norms), "unit")


def dead_out_fraction(subject: Subject) -> Value:
    """Return the share of rows with ‖w_j‖ < 1e-3·median, zero rows included, and which."""
    return _share(_dead(subject.summary.out_norms, subject.summary.sorted_out_norms), subject.summary.shape[0], "unit")


def zero_out_count(subject: Subject) -> Value:
    """Return the number of rows that are exactly zero, and which."""
    return _count(_zero(subject.summary.out_norms, subject.summary.sorted_out_norms), "unit")


def ignored_in_count(subject: Subject) -> Value:
    """Return the number of in-units with ‖W_:i‖ < 1e-3·median, zero ones included, and which."""
    return _count(_dead(subject.summary.in_norms, subject.summary.sorted_in_norms), "input")


def ignored_in_fraction(subject: Subject) -> Value:
    """Return the share of in-units with ‖W_:i‖ < 1e-3·median, zero ones included, and which."""
    return _share(_dead(subject.summary.in_norms, subject.summary.sorted_in_norms), subject.summary.shape[1], "input")


def zero_in_count(subject: Subject) -> Value:
    """Return the number of in-units whose weights are all exactly zero, and which."""
    return _count(_zero(subject.summary.in_norms, subject.summary.sorted_in_norms), "input")


def duplicate_out_count(subject: Subject) -> Value:
    """Return the number of nonzero rows that equal an earlier one, element by element, and which."""
    return _count(_repeated(subject), "unit")


def duplicate_out_fraction(subject: Subject) -> Value:
    """Return the share of rows that are nonzero and equal an earlier one, and which."""
    return _share(_repeated(subject), subject.summary.shape[0], "unit")


def two_of_four_fraction(subject: Subject) -> Value:
    """Return the share of groups of 4 consecutive inputs with at least 2 zeros."""
    out, into, taps = _oriented_shape(subject)
    require(into >= ALIGNMENT, "fewer than 4 inputs")
    return subject.summary.two_of_four / (out * (into // ALIGNMENT) * taps)


def zero_block_fraction(subject: Subject) -> Value:
    """Return the share of blocks of 4 outputs × 4 inputs that are all zero."""
    out, into, taps = _oriented_shape(subject)
    require(min(out, into) >= ALIGNMENT, "fewer than 4 outputs or 4 inputs")
    return subject.summary.zero_blocks / ((out // ALIGNMENT) * (into // ALIGNMENT) * taps)


def _oriented_shape(subject: Subject) -> tuple[int, int, int]:
    require(subject.summary.oriented, ORIENTATION_UNKNOWN)
    return subject.summary.shape


_NONE: Final = np.zeros(0, np.intp)


def _dead(norms: Array, ascending: Array) -> Array:
    """Return the units below the threshold; where all are zero, all."""
    threshold = least_alive(ascending)
    return np.flatnonzero(norms < threshold) if ascending[0] < threshold else _NONE


def _zero(norms: Array, ascending: Array) -> Array:
    return np.flatnonzero(norms == 0.0) if ascending[0] == 0.0 else _NONE


def _repeated(subject: Subject) -> Array:
    """Return the rows that are not zero and equal an earlier row."""
    norms, fingerprints = subject.summary.out_norms, subject.summary.fingerprints
    if fingerprints is None:
        return _NONE
    repeated = norms > 0.0
    repeated[np.unique(fingerprints, return_index=True)[1]] = False
    return np.flatnonzero(repeated)


def _count(found: Array, noun: str) -> Value:
    return float(len(found)), units(found, noun)


def _share(found: Array, of: int, noun: str) -> Value:
    return len(found) / of, units(found, noun)


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.zero_fraction",
        formula="#{w = 0}/n",
        range="[0, 1]",
        tells="Exact zeros: in a trained float kernel they come from pruning, masks, padding or a proximal L1 step.",
        trap="Subgradient L1 (SGD, Adam) never gives exact zeros: 0 here does not exclude an L1 penalty.",
        function=zero_fraction,
    ),
    Measure(
        name="kernel.near_zero_fraction",
        formula="#{|w| < 1e-3·rms}/n, zeros included",
        range="[0, 1]",
        tells="Weights that a penalty has all but removed; a Gaussian kernel has 8.0e-4 there.",
        trap="Subgradient L1 leaves a ripple that can lie above this threshold.",
        function=near_zero_fraction,
    ),
    Measure(
        name="kernel.hoyer_sparsity",
        formula="(√n - Σ|w|/‖w‖₂)/(√n - 1)",
        range="[0, 1]",
        source="Hoyer 2004",
        tells="Sparsity free of scale and threshold; large Gaussian kernels show 0.202, Laplace 0.293.",
        trap="Rows of different scale raise it without a single small weight.",
        function=hoyer_sparsity,
    ),
    Measure(
        name="kernel.saturated_count",
        formula="#{|w| = largest finite value of the dtype}",
        range="≥ 0",
        tells="Weights that were clipped when they were converted to half precision or FP8.",
        function=saturated_count,
    ),
    Measure(
        name="kernel.dead_out_count",
        formula="#{j: ‖w_j‖ < 1e-3·median of the nonzero ‖w_j‖}, zero rows included",
        range="≥ 0",
        tells="Out-units without weights: they emit their bias alone. The detail names them.",
        trap="Pruned on purpose, or padding, looks the same.",
        function=dead_out_count,
    ),
    Measure(
        name="kernel.dead_out_fraction",
        formula="dead_out_count/out",
        range="[0, 1]",
        tells="The same as a share.",
        function=dead_out_fraction,
    ),
    Measure(
        name="kernel.zero_out_count",
        formula="#{j: ‖w_j‖ = 0}",
        range="≥ 0",
        tells="Out-units that are exactly zero: removed, not shrunk.",
        function=zero_out_count,
    ),
    Measure(
        name="kernel.ignored_in_count",
        formula="#{i: ‖W_:i‖ < 1e-3·median of the nonzero ‖W_:i‖}, zero ones included",
        range="≥ 0",
        tells="Inputs that the layer ignores. The detail names them.",
        trap="For an embedding these are tokens never seen (padding, reserved): no defect.",
        function=ignored_in_count,
    ),
    Measure(
        name="kernel.ignored_in_fraction",
        formula="ignored_in_count/in",
        range="[0, 1]",
        tells="The same as a share.",
        function=ignored_in_fraction,
    ),
    Measure(
        name="kernel.zero_in_count",
        formula="#{i: ‖W_:i‖ = 0}",
        range="≥ 0",
        tells="Inputs with no weight at all.",
        function=zero_in_count,
    ),
    Measure(
        name="kernel.duplicate_out_count",
        formula="#{j: w_j ≠ 0 and w_j = w_k for some k < j}",
        range="≥ 0",
        tells="Out-units that repeat another to the last bit: their symmetry was never broken, or rows were copied.",
        trap="Compared by 64 bits of a row's fingerprint; rows of few low-precision weights may repeat by chance.",
        function=duplicate_out_count,
    ),
    Measure(
        name="kernel.duplicate_out_fraction",
        formula="duplicate_out_count/out",
        range="[0, 1)",
        tells="The same as a share.",
        function=duplicate_out_fraction,
    ),
    Measure(
        name="kernel.two_of_four_fraction",
        formula="share of groups of 4 consecutive inputs with ≥ 2 zeros",
        range="[0, 1]",
        source="2:4 sparsity: Mishra et al. 2021",
        tells="1 is the hardware's 2:4 pattern; scattered zeros at 50% give 0.6875.",
        trap="At most three inputs at the end belong to no group.",
        function=two_of_four_fraction,
    ),
    Measure(
        name="kernel.zero_block_fraction",
        formula="share of 4 outputs × 4 inputs blocks (at one tap) that are all zero",
        range="[0, 1]",
        tells="Block-wise pruning.",
        function=zero_block_fraction,
    ),
)
