"""units-dead and saturated: units that give the next layer nothing, or get no gradient, on the probe batch.

Seen only where the model was run, and not of tables: a batch may use one row of them. Null of the first: of N rows, a unit that works in more than 3/N of all inputs is active
in one at least (rule of three, Hanley & Lippman-Hand 1983), so no unit is dead. Null of the second: a tanh fed with a
standard normal z is beyond 0.95 in 7% of the cases; Glorot & Bengio (2010) saw layers go there in training and stay.
"""

from __future__ import annotations

import math

from regaudit.effects.base import Detector, Subject, on_batch
from regaudit.effects.null import surety
from regaudit.records import Effect, Evidence, Site

LEAST_DEAD = 0.05  # of the units (our choice)
RARE_BELOW = 0.01  # a unit that works less often than this is as good as dead: it takes 300 rows to say so (our choice)
SURE_OF_DEAD = 0.9  # plain on these rows; what made them so is not
SATURATED_ABOVE = 0.5  # of the outputs (the limit of Amazon's debugger for a layer, too)
SATURATED_EXPECTED = 0.0669  # P(|z| > atanh 0.95) of a standard normal z
SURE_OF_SATURATED = 0.6  # gates do it on purpose


def _dead(subject: Subject) -> Effect | None:
    share, rows = subject.values.get("activity.dead_fraction"), subject.values.get("activity.rows")
    if not share or rows is None or share < LEAST_DEAD or subject.audit.layer.is_output or not subject.has_own_kernel:
        return None
    units = subject.outputs
    if round(share * units) <= subject.values.get("kernel.dead_out_count", 0.0):
        return None  # units-collapsed tells it
    return subject.effect(
        "units-dead",
        SURE_OF_DEAD * min(1.0, rows * RARE_BELOW / 3),
        f"{round(share * units):,} of {units:,} units give the same whatever the input{_which(subject)}.",
        target=Site.ACTIVITY,
        evidence=(
            Evidence(
                measure="activity.dead_fraction",
                value=share,
                expected=0.0,
                text=f"share of units that are constant over {rows:,.0f} rows",
            ),
        ),
        against=(
            Evidence(
                measure="activity.rows",
                value=rows,
                text=f"a unit that works in fewer than {3 / rows:.2g} of all inputs is easily missed",
            ),
        ),
    )


def _saturated(subject: Subject) -> Effect | None:
    share, rows = subject.values.get("activity.saturated_fraction"), subject.values.get("activity.rows")
    if share is None or rows is None or share < SATURATED_ABOVE or subject.audit.layer.is_output:
        return None
    always = subject.values.get("activity.saturated_unit_fraction")
    stuck = "" if always is None else f"; {always:.0%} of the units never leave them"
    return subject.effect(
        "saturated",
        SURE_OF_SATURATED * surety(share - SATURATED_EXPECTED, math.sqrt(share / rows)),
        f"{share:.0%} of the outputs are at the flat ends of the activation{stuck}.",
        target=Site.ACTIVITY,
        evidence=(
            Evidence(
                measure="activity.saturated_fraction",
                value=share,
                expected=SATURATED_EXPECTED,
                text="share of outputs at the flat ends; expected of a standard normal pre-activation",
            ),
        ),
        against=(Evidence(measure="activity.saturated_fraction", value=share, text="gates open and close on purpose"),),
    )


def _which(subject: Subject) -> str:
    detail = subject.audit.detail("activity.dead_fraction")
    return f" ({detail})" if detail else ""


UNITS_DEAD = Detector(
    effect="units-dead",
    target=Site.ACTIVITY,
    summary="Some units give the same whatever the input.",
    see=on_batch(_dead),
)
SATURATED = Detector(
    effect="saturated",
    target=Site.ACTIVITY,
    summary="Most outputs are at the flat ends of a tanh or sigmoid.",
    see=on_batch(_saturated),
)
