"""The validation loss is far above the training loss: the model knows its training rows better than the task.

Why:
    The gap between validation and training loss is the only direct evidence of overfitting, and what a penalty is for. No gap, no
    penalty.

How:
    model.generalization_gap, the validation loss minus the training loss, is more than twice its standard error and more than
    half of what the model gains on training data over a constant output.

Fix:
    Take the recommendation, which weighs the penalties on your data, or measure them by training.

Silent on:
    Gaps within their noise, and gaps that are small beside what the model learnt.

Example:
    The validation loss is 0.59 above the training loss of 0.002: the model fits its training rows, not the task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

ERRORS = Threshold("standard-errors", "standard errors of the gap", 2.0, "", "two-sided 5% of a normal distribution")
SHARE = Threshold(
    "share", "gap over what was learnt", 0.5, "", "choice: half of the gain on training data is then memory"
)


def _check(audit: Audit) -> Iterator[Finding]:
    found = {each.measure: each for each in audit.model}
    gap, loss, constant = (
        found.get(f"model.{name}") for name in ("generalization_gap", "train_loss", "train_null_loss")
    )
    if gap is None or loss is None or constant is None:
        return
    learnt = constant.value - loss.value
    if learnt > 0 and gap.value > max(ERRORS.value * (gap.se or 0.0), SHARE.value * learnt):
        yield RULE.finding(
            f"The validation loss is {number(gap.value)} above the training loss of {number(loss.value)}: the model fits its "
            "training rows, not the task.",
            metric=gap.measure,
            value=gap.value,
            op=">",
            threshold=SHARE.value * learnt,
        )


RULE = Rule(
    code="RGA711",
    name="model-overfits",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    thresholds=(ERRORS, SHARE),
    cost=Cost.LABELS,
    check=_check,
)
