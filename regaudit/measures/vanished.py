"""Inputs whose weights shrank to nothing and lost the shape of an initialisation: what a coupled penalty does to them.

Decay by a common factor keeps the shape, however small the weights get. The gradient of an L2 penalty inside Adam is
divided by its own size, so that every weight without another gradient walks to zero at the same speed; an L1 penalty
does so under any optimizer, and to many other weights as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ALL_ZERO, NOT_HERE, ORIENTATION_UNKNOWN, Measure, Value, require
from regaudit.measures.detail import units
from regaudit.measures.dosimeters import MIN_WEIGHTS, independent_scale, uniform_scale
from regaudit.measures.exposure import LARGEST
from regaudit.measures.initial import UNIFORM, initial_kurtosis
from regaudit.measures.ordered import median, nonzero
from regaudit.records import Role

if TYPE_CHECKING:
    from regaudit.measures.subject import Subject
    from regaudit.records import Array

_NOT_FOR: Final = frozenset({Role.EMBEDDING, Role.POSITIONAL, Role.ADAPTER, Role.UNKNOWN, Role.DEPTHWISE})
VANISHED: Final = 1e-3  # of the median norm, as for ignored inputs


def vanished_in_count(subject: Subject) -> Value:
    """Return how many inputs have vanished but are not exactly zero, and no longer look initial; and which."""
    found, _ = _vanished(subject)
    return float(len(found)), units(found, "input")


def vanished_scale(subject: Subject) -> Value:
    """Return the median norm of the inputs that vanished, over the median norm of all."""
    found, norms = _vanished(subject)
    require(len(found) > 0, NOT_HERE)
    return median(np.sort(norms[found])) / median(nonzero(subject.summary.sorted_in_norms))


def _vanished(subject: Subject) -> tuple[Array, Array]:
    """Return which inputs vanished, and the norms of all; raises `NotMeasurable`."""
    require(subject.blocks.oriented, ORIENTATION_UNKNOWN)
    require(subject.parameter.size <= LARGEST, f"more than {LARGEST:,} weights")
    norms, ordered = subject.summary.in_norms, nonzero(subject.summary.sorted_in_norms)
    require(len(ordered) > 0, ALL_ZERO)
    found = np.flatnonzero((norms > 0) & (norms < VANISHED * median(ordered)))
    none = found[:0]
    if len(found) * subject.parameter.size // len(norms) < MIN_WEIGHTS:
        return none, norms
    whole = subject.blocks.canonical(0, subject.parameter.shape[0])
    slices = np.moveaxis(whole, 1, 0).reshape(len(norms), -1)[found].astype(np.float64)
    kurtosis = initial_kurtosis(subject.layer, subject.parameter)
    return (none if _is_initial(slices, found, kurtosis) else found), norms


def _is_initial(slices: Array, found: Array, kurtosis: float | None) -> bool:
    """Return whether they have the shape of their initialisation; what a coupled penalty leaves is close to normal."""
    members = tuple(found.tolist())
    largest = np.abs(slices).max()
    scaled = slices / largest  # squares of very small weights would vanish
    if uniform_scale(scaled, members):
        return True
    return kurtosis != UNIFORM and independent_scale(scaled, members, slices.size) is not None


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.vanished_in_count",
        formula="#{i: 0 < ‖W_:i‖ < 1e-3·median, together no longer distributed as initial weights}",
        range="≥ 0",
        tells="Inputs that a coupled penalty took to zero: L2 in the gradient of Adam, or L1.",
        trap="Exact zeros are not counted: masks and pruning leave them.",
        not_for=_NOT_FOR,
        function=vanished_in_count,
    ),
    Measure(
        name="kernel.vanished_scale",
        formula="median of ‖W_:i‖ over vanished inputs / median over all",
        range="(0, 1e-3)",
        tells="L2 in the gradient of Adam goes on towards 0 (1e-7 and less); L1 stops at the size of a step (1e-4).",
        not_for=_NOT_FOR,
        function=vanished_scale,
    ),
)
