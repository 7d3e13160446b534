"""A running variance of a normalization is negative.

Why:
    Variances are never negative: sqrt(variance + ε) is NaN from there on, in evaluation though not in training.
    Averaging checkpoints, merging models and integer overflow have made such files.

How:
    min over the running variances < 0.

Fix:
    Recompute the running statistics: set the model to training mode and run some hundred batches of training data
    through it without updating weights.

Silent on:
    Variances of exactly zero (a channel that never varies) and fresh ones (all 1).

Example:
    The smallest running variance is -0.03.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALLEST = Threshold(
    "smallest", "smallest running variance", 0.0, "in squared units of the activity", "definition of a variance"
)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in audit.layers:
        smallest = each.value("variance.min")
        if smallest is not None and smallest < SMALLEST.value:
            yield RULE.finding(
                f"The smallest running variance is {number(smallest)}.",
                layer=each.layer.name,
                metric="variance.min",
                value=smallest,
                op="<",
                threshold=SMALLEST.value,
            )


RULE = Rule(
    code="RGA301",
    name="norm-invalid-variance",
    page=__doc__,
    severity=Severity.ERROR,
    confidence=Confidence.HIGH,
    thresholds=(SMALLEST,),
    check=_check,
)
