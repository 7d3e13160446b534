"""Rung: the decay that Adam's moments leave room for, `kernel.decay_slope`; an upper bound, which can only exclude decay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.effects.rung_dosimeters import NONE_BELOW
from regaudit.effects.rungs import Evidence, Rung, RungVerdict
from regaudit.records import Site

if TYPE_CHECKING:
    from regaudit.records import Measurement

ERRORS = 2  # standard errors
SURE = 0.5  # the bound holds for the decay at the end, not for one that a schedule took away


def slope(evidence: Evidence) -> RungVerdict | None:
    """Return none where every kernel's bound, over all steps, is an exposure below 0.05."""
    rates = {each.learning_rate for each in evidence.audit.declared if each.learning_rate}
    layers = [each.layer for each in evidence.audit.layers if each.layer.adam is not None]
    found = [m for each in evidence.audit.layers for m in each.measurements if m.measure == "kernel.decay_slope"]
    steps = [layer.adam.step for layer in layers if layer.adam is not None and layer.adam.step]
    if not found or len(found) < len(layers) or len(rates) != 1 or not steps:
        return None
    bound = max(_bound(each) for each in found)
    exposure = max(bound, 0.0) * rates.pop() * max(steps)
    if exposure >= NONE_BELOW:
        return None
    text = (
        f"Adam's moments leave room for a decoupled decay of at most {max(bound, 0.0):.2g}: over {max(steps):,} steps an exposure "
        f"of {exposure:.1g}, which is none. It is an upper bound and shows no decay."
    )
    return RungVerdict(site=Site.NONE, norm=None, confidence=SURE, basis="optimizer", rationale=(text,))


def _bound(found: Measurement) -> float:
    return found.value + ERRORS * (found.se or 0.0)


SLOPE = Rung(
    name="decay slope",
    conditions=(
        "Adam-like optimizer state, a declared learning rate. Growth along the weights adds to the slope, so it bounds decay from "
        "above and never shows any; a decay that ended before is not excluded."
    ),
    see=slope,
)
