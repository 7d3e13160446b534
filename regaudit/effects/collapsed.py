"""inputs-ignored and units-collapsed: input or output units whose whole weight vector is below 10⁻³ of the median norm.

Null: a normal vector of k elements does that with a probability of 5e-4 for k = 1, below 1e-6 from k = 2 on.
Embedding and positional tables are left out: their inputs are vocabulary entries, and unused ones are normal.
"""

from __future__ import annotations

import math

from regaudit.effects.base import Detector, Subject, each_layer
from regaudit.effects.null import is_more_than, small_vectors, surety
from regaudit.records import Effect, Evidence, Role, Site

SURE = 0.9  # the vectors are plain to see; what made them so is not
SURE_OF_ALL_ZERO = 0.5  # a kernel initialised at zero and never trained looks the same


def _ignored(subject: Subject) -> Effect | None:
    count = subject.values.get("kernel.ignored_in_count")
    if not subject.has_telling_kernel or subject.role is Role.DEPTHWISE or count is None or _is_all_zero(subject):
        return None
    expected = small_vectors(subject.inputs, subject.size // max(subject.inputs, 1))
    if not is_more_than(count, expected):
        return None
    return subject.effect(
        "inputs-ignored",
        SURE * surety(count - expected, math.sqrt(expected + 1)),
        f"{count:.0f} of {subject.inputs:,} inputs have {_how(subject, count, 'kernel.zero_in_count')}"
        f"{_where(subject, 'kernel.ignored_in_count')}: the layer does not use them.",
        evidence=(
            Evidence(
                measure="kernel.ignored_in_count",
                value=count,
                expected=expected,
                text="inputs with a norm below 0.001 of the median",
            ),
        ),
        against=(
            Evidence(
                measure="kernel.ignored_in_count",
                value=count,
                text="inputs that never vary lose their weights under any decay; L1 and pruning do the same",
            ),
        ),
    )


def _collapsed(subject: Subject) -> Effect | None:
    if not subject.has_telling_kernel:
        return None
    if _is_all_zero(subject):
        return _all_zero(subject)
    count = subject.values.get("kernel.dead_out_count")
    if count is None:
        return None
    expected = small_vectors(subject.outputs, subject.fan_in)
    if not is_more_than(count, expected):
        return None
    return subject.effect(
        "units-collapsed",
        SURE * surety(count - expected, math.sqrt(expected + 1)),
        f"{count:.0f} of {subject.outputs:,} units have {_how(subject, count, 'kernel.zero_out_count')}"
        f"{_where(subject, 'kernel.dead_out_count')}: they give next to a constant.",
        evidence=(
            Evidence(
                measure="kernel.dead_out_count",
                value=count,
                expected=expected,
                text="units with a norm below 0.001 of the median",
            ),
        ),
        against=(
            Evidence(
                measure="kernel.dead_out_count",
                value=count,
                text="too strong a penalty, dead activations under decay and pruned units look alike",
            ),
        ),
    )


def _all_zero(subject: Subject) -> Effect:
    return subject.effect(
        "units-collapsed",
        SURE_OF_ALL_ZERO,
        f"All {subject.size:,} weights are zero: the layer gives a constant.",
        evidence=(
            Evidence(measure="kernel.zero_fraction", value=1.0, expected=0.0, text="a trained kernel has no zeros"),
        ),
        against=(
            Evidence(
                measure="kernel.zero_fraction", value=1.0, text="a kernel that starts at zero and was never trained"
            ),
        ),
    )


def _is_all_zero(subject: Subject) -> bool:
    return subject.values.get("kernel.zero_fraction") == 1.0


def _how(subject: Subject, count: float, measure: str) -> str:
    """Return whether these have exactly no weights, or only tiny ones."""
    return "no weights" if subject.values.get(measure) == count else "weights below a thousandth of the others'"


def _where(subject: Subject, measure: str) -> str:
    detail = subject.audit.detail(measure)
    return f" ({detail})" if detail else ""


INPUTS_IGNORED = Detector(
    effect="inputs-ignored",
    target=Site.KERNEL,
    summary="Some inputs have no weight at all.",
    see=each_layer(_ignored),
)
UNITS_COLLAPSED = Detector(
    effect="units-collapsed",
    target=Site.KERNEL,
    summary="Some units have no weights at all.",
    see=each_layer(_collapsed),
)
