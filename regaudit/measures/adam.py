"""What Adam's moments say of decay, without data: the direction in which the optimizer was about to move the weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ALL_ZERO, NOT_HERE, Estimate, Measure, NotMeasurable, require

if TYPE_CHECKING:
    from regaudit.measures.subject import Subject
    from regaudit.records import Adam

BETA1: Final = 0.9  # Kingma & Ba 2015; torch, Keras and optax take the same
BETA2: Final = 0.999
EPSILON: Final = 1e-8
LEFT: Final = 1e-3  # of (wd·w)²; what v holds above it is the loss's (our choice)
BLOCK: Final = 1 << 18  # elements that are held at once


def decay_slope(subject: Subject) -> Estimate:
    """Return -⟨m̂/(√v̂ + ε), w⟩/‖w‖², the decoupled decay that would hold the weights' norm, and after how many steps.

    Where the file declares a decay wd inside the gradient (coupled), wd·w is taken out of m̂ and (wd·w)² out of v̂ first.
    The standard error is that of pure noise, of which m̂/√v̂ keeps √((1 - β₁)/(1 + β₁)): 0.23/‖w‖.

    Raises:
        NotMeasurable: There are no moments, or they are of no use.
    """
    adam, kernel = subject.layer.adam, subject.parameter
    if adam is None:
        raise NotMeasurable(NOT_HERE)
    if not adam.step:
        raise NotMeasurable("the file does not say how many steps the optimizer took")
    require(subject.summary.squares > 0, ALL_ZERO)
    rows = kernel.shape[0] if kernel.shape else 1
    step = max(1, BLOCK * rows // kernel.size)
    product = sum(_product(subject, adam, start, min(start + step, rows)) for start in range(0, rows, step))
    norm = subject.summary.squares * subject.summary.unit**2
    require(norm > 0 and math.isfinite(norm), "the squares of the weights leave the range of a double")
    noise = math.sqrt((1 - BETA1) / (1 + BETA1) / norm)
    taken = f", less the declared decay of {adam.coupled:g} in them" if adam.coupled else ""
    return Estimate(value=-product / norm, se=noise, detail=f"step {adam.step:,}; assumes β = 0.9, 0.999{taken}")


def _product(subject: Subject, adam: Adam, start: int, stop: int) -> float:
    """Return ⟨m̂/(√v̂ + ε), w⟩ over some rows.

    Raises:
        NotMeasurable: The moments are not finite.
    """
    m, v, w = (each.load(start, stop).astype(np.float64) for each in (adam.first, adam.second, subject.parameter))
    if not (np.isfinite(m).all() and np.isfinite(v).all() and (v >= 0).all()):
        raise NotMeasurable("the moments are not finite")
    m /= 1 - BETA1 ** (adam.step or 1)
    v /= 1 - BETA2 ** (adam.step or 1)
    if adam.coupled:
        m -= adam.coupled * w
        v = np.maximum(v - np.square(adam.coupled * w), 0.0)
        # What is left of a gradient that was decay alone is rounding.
        m[v <= LEFT * np.square(adam.coupled * w)] = 0.0
    return float(np.sum(m / (np.sqrt(v) + EPSILON) * w))


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.decay_slope",
        formula="-⟨m̂/(√v̂ + ε), w⟩/‖w‖², m̂ and v̂ Adam's corrected moments",
        range="any",
        source="definition; Li et al. 2025 (moments as gradient and curvature)",
        tells="At a steady norm it equals AdamW's weight_decay; while the norm grows it is above: an upper bound.",
        trap="Networks that only grow along their weights (interpolating cross-entropy) show 0.1 to 0.2 without any decay.",
        function=decay_slope,
    ),
)
