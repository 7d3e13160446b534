"""units-alike: on the probe batch most units of a layer say what an earlier unit says.

Seen only where the model was run. Evidence: `activity.correlated_fraction`, units with |correlation| above 0.95 to an
earlier one, and the effective rank of the outputs. Null: independent weights on inputs that fill more directions than
units almost never correlate so. Few inputs, or a task that needs few directions, do it without any penalty.
"""

from __future__ import annotations

import math

from regaudit.effects.base import Detector, Subject, on_batch
from regaudit.effects.null import surety
from regaudit.records import Effect, Evidence, Site

ALIKE_ABOVE = 0.5  # of the units that vary (our choice; 0.42 in a small transformer that was not penalised)
LEAST_UNITS = 8
FEW_INPUTS = 8  # fewer inputs have no room for units that differ
SURE = 0.6  # the task may need no more


def _see(subject: Subject) -> Effect | None:
    share = subject.values.get("activity.correlated_fraction")
    if share is None or share < ALIKE_ABOVE or subject.outputs < LEAST_UNITS or subject.fan_in < FEW_INPUTS:
        return None
    if subject.audit.layer.is_output or not subject.has_own_kernel:
        return None
    rank = subject.values.get("activity.effective_rank")
    fills = "" if rank is None else f"; the outputs fill {rank:.3g} directions"
    return subject.effect(
        "units-alike",
        SURE * surety(share, math.sqrt(share * (1 - share) / subject.outputs) + 1 / subject.outputs),
        f"{share:.0%} of the units say what an earlier unit says{fills}, of {subject.outputs:,} units.",
        target=Site.ACTIVITY,
        evidence=(
            Evidence(
                measure="activity.correlated_fraction",
                value=share,
                expected=0.0,
                text="share of units with a correlation above 0.95 to an earlier one",
            ),
        ),
        against=(
            Evidence(
                measure="activity.correlated_fraction",
                value=share,
                text="a task that needs few directions leaves units alike without a penalty",
            ),
        ),
    )


UNITS_ALIKE = Detector(
    effect="units-alike",
    target=Site.ACTIVITY,
    summary="On the batch most units say what an earlier unit says.",
    see=on_batch(_see),
)
