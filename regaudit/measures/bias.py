"""How large the biases are, alone and beside the weights of their units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Measure, Value, plural, require
from regaudit.measures.detail import units
from regaudit.measures.norms import l1_norm, max_abs, nonfinite_count, rms, value_range
from regaudit.measures.ordered import median
from regaudit.measures.sparsity import zero_fraction

if TYPE_CHECKING:
    from regaudit.measures.subject import Subject
    from regaudit.records import Array

# |b_j| in units of the pre-activation's standard deviation under inputs of variance 1: beyond 3 a Gaussian
# pre-activation keeps one sign in 99.7% of cases, so the unit is a constant (or off).
DOMINANT: Final = 3.0


def to_kernel_median(subject: Subject) -> Value:
    """Return the median of |b_j|/‖w_j‖ over units that have weights."""
    ratios, _, detail = _ratios(subject)
    return median(np.sort(ratios)), detail


def to_kernel_max(subject: Subject) -> Value:
    """Return the largest |b_j|/‖w_j‖ over units that have weights, and which unit has it."""
    ratios, found, detail = _ratios(subject)
    unit = f"unit {found[int(ratios.argmax())]}"
    return float(ratios.max()), f"{unit}; {detail}" if detail else unit


def dominant_fraction(subject: Subject) -> Value:
    """Return the share of units with |b_j| > 3‖w_j‖, and which."""
    sizes, norms = _sides(subject)
    dominant = np.flatnonzero(sizes > DOMINANT * norms)
    return len(dominant) / len(sizes), units(dominant)


def _ratios(subject: Subject) -> tuple[Array, Array, str]:
    """Return |b_j|/‖w_j‖ of the units that have weights, which they are, and a word on the others."""
    sizes, norms = _sides(subject)
    found = np.flatnonzero(norms)
    require(len(found) > 0, "no unit has weights")
    without = len(norms) - len(found)
    detail = f"{plural(without, 'unit')} without weights left out" if without else ""
    return sizes[found] / norms[found], found, detail


def _sides(subject: Subject) -> tuple[Array, Array]:
    """Return |b_j| and ‖w_j‖ of every unit, in the unit of the weights."""
    bias, kernel = subject.summary, subject.kernel
    norms = kernel.out_norms
    sizes = bias.per_unit(bias.out_l1, bias.shape[0])
    require(len(sizes) == len(norms), f"{len(sizes):,} biases for {plural(len(norms), 'unit')}")
    return sizes * bias.unit, norms * kernel.unit


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="bias.nonfinite_count",
        formula="#{b: NaN or ±∞}",
        range="≥ 0",
        tells="Biases that make an output NaN or infinite. Anything above 0 skips all other measures.",
        function=nonfinite_count,
    ),
    Measure(
        name="bias.l1_norm",
        formula="Σ|b|",
        unit="b",
        range="≥ 0",
        tells="What an L1 bias penalty with λ = 1 would add to the loss.",
        function=l1_norm,
    ),
    Measure(
        name="bias.rms",
        formula="√(Σb²/n)",
        unit="b",
        range="≥ 0",
        tells="Size of one bias; 0 where they were never trained, or pulled to the origin by a penalty.",
        function=rms,
    ),
    Measure(
        name="bias.max_abs",
        formula="max|b|",
        unit="b",
        range="≥ 0",
        tells="The largest bias; the detail says which.",
        function=max_abs,
    ),
    Measure(
        name="bias.value_range",
        formula="max b - min b",
        unit="b",
        range="≥ 0",
        tells="0 means that all biases are equal.",
        function=value_range,
    ),
    Measure(
        name="bias.zero_fraction",
        formula="#{b = 0}/n",
        range="[0, 1]",
        tells="1 is the usual initial state (Keras, transformers): untrained, or no gradient.",
        function=zero_fraction,
    ),
    Measure(
        name="bias.to_kernel_median",
        formula="median of |b_j|/‖w_j‖ over units with weights",
        range="≥ 0",
        tells="The usual bias in units of the pre-activation's standard deviation, for inputs of mean 0, variance 1.",
        trap="The scale of the real inputs is not known from weights.",
        function=to_kernel_median,
    ),
    Measure(
        name="bias.to_kernel_max",
        formula="max of |b_j|/‖w_j‖ over units with weights",
        range="≥ 0",
        tells="The unit that its bias decides most.",
        trap="The scale of the real inputs is not known from weights; output biases carry class priors.",
        function=to_kernel_max,
    ),
    Measure(
        name="bias.dominant_fraction",
        formula="#{j: |b_j| > 3‖w_j‖}/out",
        range="[0, 1]",
        tells="Units that are all but constant: inputs of variance 1 change their sign in 0.3% of cases.",
        trap="Key biases of softmax attention have no effect at any size; output biases carry class priors.",
        function=dominant_fraction,
    ),
)
