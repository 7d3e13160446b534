"""Units that do not work on the batch, or work on another scale than the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Measure, NotMeasurable, Value, require
from regaudit.probes.activity import CUTS_OFF

if TYPE_CHECKING:
    from regaudit.probes.activity import Activity
    from regaudit.records import Array

LEAST_UNITS: Final = 8  # fewer channels have no usual one (our choice)
OUTLIER: Final = 6.0  # Dettmers et al. 2022: features of magnitude 6 in hidden states whose rms is about 1


def dead_fraction(activity: Activity) -> Value:
    """Return the share of units that never work, and which."""
    activity.require_rows()
    return float(activity.is_dead.mean()), activity.which(activity.is_dead)


def always_on_fraction(activity: Activity) -> Value:
    """Return the share of units that are above 0 in every row, and which."""
    require(activity.activation in CUTS_OFF, "the layer has no ReLU")
    activity.require_rows()
    on = activity.active == activity.rows
    return float(on.mean()), activity.which(on)


def saturated_fraction(activity: Activity) -> Value:
    """Return the share of outputs at the flat ends of a tanh or sigmoid."""
    return float(_saturated(activity).mean()) / activity.rows


def saturated_unit_fraction(activity: Activity) -> Value:
    """Return the share of units that are saturated in every row, and which."""
    always = _saturated(activity) == activity.rows
    activity.require_rows()
    return float(always.mean()), activity.which(always)


def _saturated(activity: Activity) -> Array:
    if activity.saturated is None:
        raise NotMeasurable("the layer has no tanh or sigmoid")
    return activity.saturated


def outlier_channels(activity: Activity) -> Value:
    """Return how many units have an rms above 6 times the median of live units, and which."""
    scale = activity.unit_rms[~activity.is_dead]
    require(len(scale) >= LEAST_UNITS, f"it takes {LEAST_UNITS} live units")
    found = activity.unit_rms > OUTLIER * float(np.median(scale))
    return float(found.sum()), activity.which(found)


MEASURES: Final[tuple[Measure[Activity], ...]] = (
    Measure(
        name="activity.dead_fraction",
        formula="#{units with y = 0 in all N rows}/m behind a ReLU; with max y - min y ≤ 1e-6·max|y| otherwise",
        range="[0, 1]",
        tells="Units that say nothing of the input. The detail names them.",
        trap="A unit that works in fewer than 3/N of all inputs is easily missed; N is in the detail.",
        function=dead_fraction,
    ),
    Measure(
        name="activity.always_on_fraction",
        formula="#{units with y > 0 in all N rows}/m, behind a ReLU",
        range="[0, 1]",
        tells="Units whose ReLU does nothing: they are linear on this batch.",
        function=always_on_fraction,
    ),
    Measure(
        name="activity.saturated_fraction",
        formula="#{|y| > 0.95}/n behind a tanh, #{y < 0.025 or y > 0.975}/n behind a sigmoid",
        range="[0, 1]",
        source="Glorot & Bengio 2010",
        tells="Outputs at the flat ends, where the slope is below a tenth of its largest.",
        trap="Outputs and gates are there on purpose.",
        function=saturated_fraction,
    ),
    Measure(
        name="activity.saturated_unit_fraction",
        formula="#{units that are saturated in all N rows}/m",
        range="[0, 1]",
        source="Glorot & Bengio 2010",
        tells="Units that get no gradient from any row. The detail names them.",
        function=saturated_unit_fraction,
    ),
    Measure(
        name="activity.outlier_channels",
        formula="#{j: rms(y_j) > 6·median of rms(y_k) over live units}",
        range="≥ 0",
        source="threshold: Dettmers et al. 2022 (6.0 in hidden states of rms about 1)",
        tells="Channels of another scale than the rest; they cost precision when activations are quantised.",
        trap="Where units are sparse by nature, so is their rms.",
        function=outlier_channels,
    ),
)
