"""Weights near zero that no unit and no input explains: what a penalty on kernels does to single weights.

A dead unit or an ignored input makes whole rows or columns small, whatever the training. So each weight is compared with
what its row and its column let expect, r_j·c_i/rms. The gradient of an L1 penalty walks single weights to zero and keeps
them within a step of it; L2 in the gradient of Adam, where a weight has no other gradient, goes on to 10⁻¹⁰ and below.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ALL_ZERO, ORIENTATION_UNKNOWN, Measure, Value, require
from regaudit.records import Role

if TYPE_CHECKING:
    from regaudit.measures.subject import Subject
    from regaudit.records import Array

SMALL: Final = 1e-2  # of what row and column let expect; 0.8% of normal weights
GONE: Final = 1e-5  # of the rms
LEAST: Final = 32  # weights
SAMPLE: Final = 1 << 14  # weights that are looked at in a larger kernel: a share of 5% is then known to 0.2%
# Tables mix the scales of rare and frequent rows; an adapter's product has no rows of its own.
_NOT_FOR: Final = frozenset({Role.EMBEDDING, Role.POSITIONAL, Role.ADAPTER, Role.UNKNOWN, Role.DEPTHWISE})


def scattered_small_fraction(subject: Subject) -> Value:
    """Return the share of nonzero weights below 1% of r_j·c_i/rms, r and c the rms of their row and column."""
    _, scaled = subject.small_sample
    small = int(np.count_nonzero(scaled < SMALL))
    return small / scaled.size, f"{small:,} of {scaled.size:,} weights"


def gone_fraction(subject: Subject) -> Value:
    """Return the share of weights below 10⁻⁵·rms among the nonzero ones below 10⁻²·rms."""
    sizes, _ = subject.small_sample
    small = sizes < SMALL
    require(bool(small.any()), "no weight is small")
    return float(np.count_nonzero(sizes < GONE) / np.count_nonzero(small))


def small_sample(subject: Subject) -> tuple[Array, Array]:
    """Return |w|/rms and |w|·rms/(r_j·c_i) of nonzero weights; raises `NotMeasurable`."""
    summary = subject.summary
    out, into, taps = subject.blocks.shape
    require(subject.blocks.oriented, ORIENTATION_UNKNOWN)
    require(min(out, into * taps) > 1 and summary.size >= LEAST, f"it takes {LEAST} weights in two rows and columns")
    require(summary.rms > 0, ALL_ZERO)
    sizes, expected = [], []
    for box in subject.blocks.sampled(SAMPLE):
        rows = summary.out_norms[box.out : box.out + box.values.shape[0]] / math.sqrt(into * taps)
        columns = summary.in_norms[box.into : box.into + box.values.shape[1]] / math.sqrt(out * taps)
        sizes.append(np.abs(box.values, dtype=np.float64).reshape(-1) / summary.rms)
        both = np.empty(box.values.shape)
        both[...] = rows[:, None, None] * columns[:, None] / summary.rms**2
        expected.append(both.reshape(-1))
    size, scale = np.concatenate(sizes), np.concatenate(expected)
    alive = (size > 0) & (scale > 0)
    require(bool(alive.any()), ALL_ZERO)
    return size[alive], size[alive] / scale[alive]


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.scattered_small_fraction",
        formula="#{0 < |w_ji| < 0.01·r_j·c_i/rms}/#{w ≠ 0}, r_j and c_i the rms of row and column (of a sample)",
        range="[0, 1]",
        source="definition; 0.008 for normal weights, whatever the scales of their rows and columns",
        tells="Above 0.05 single weights were walked to zero: kernel L1, or L2 in the gradient of Adam.",
        trap="A start from very small weights, of which few grew, looks the same.",
        not_for=_NOT_FOR,
        function=scattered_small_fraction,
    ),
    Measure(
        name="kernel.gone_fraction",
        formula="#{0 < |w| < 1e-5·rms}/#{0 < |w| < 0.01·rms} (of a sample)",
        range="[0, 1]",
        tells="About 0.001 where weights stop within a step of zero (L1), near 1 where L2 in the gradient of Adam took them on.",
        not_for=_NOT_FOR,
        function=gone_fraction,
    ),
)
