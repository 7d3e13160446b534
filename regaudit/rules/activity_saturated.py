"""Most outputs of a tanh or sigmoid layer are at its flat ends.

Why:
    There the slope is below a tenth of its largest: the layer answers like a switch and the weights before it get
    almost no gradient. Kernels or biases have grown too far, or inputs are not scaled.

How:
    Outputs with |y| > 0.95 behind a tanh, y < 0.025 or y > 0.975 behind a sigmoid, over all outputs on the probe batch. A
    finding from 50% on; a warning where half of the units are there in every one of 1,000 rows of 100 examples.

Fix:
    Scale the inputs as in training. An L2 penalty on the kernel, or a normalization before the activation, keeps
    pre-activations small.

Silent on:
    Outputs, which should be sure; fewer than 100 rows for the warning. Gates open and close on purpose: a note.

Example:
    83% of the outputs are at the flat ends of the activation, and 61% of the units in every one of 2,048 rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.batch import EXAMPLES, ROWS, hidden, rows, severity
from regaudit.rules.kernels import MAPS, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

SATURATED = Threshold(
    "saturated", "outputs at the flat ends", 0.5, "of the outputs",
    "the limit of Amazon SageMaker Debugger for a layer; 9% at most in small trained nets",
)  # fmt: skip
STUCK = Threshold(
    "stuck-units", "units that never leave them", 0.5, "of the units", "as above, of units that no row moves"
)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in hidden(audit):
        share, stuck = each.value("activity.saturated_fraction"), each.value("activity.saturated_unit_fraction") or 0.0
        if share is None or share < SATURATED.value:
            continue
        never = f", and {percent(stuck)} of the units in every one of {rows(each):,.0f} rows" if stuck else ""
        yield RULE.finding(
            f"{percent(share)} of the outputs are at the flat ends of the activation{never}.",
            layer=each.layer.name,
            metric="activity.saturated_fraction",
            value=share,
            op=">=",
            threshold=SATURATED.value,
            severity=severity(audit, each, Severity.WARN) if stuck >= STUCK.value else Severity.INFO,
        )


RULE = Rule(
    code="RGA703",
    name="activity-saturated",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.MEDIUM,
    thresholds=(SATURATED, STUCK, ROWS, EXAMPLES),
    roles=MAPS,
    supersedes=("activity-bias-driven",),
    cost=Cost.PROBE,
    check=_check,
)
