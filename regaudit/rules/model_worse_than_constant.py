"""On validation data the model does worse than one that ignores its inputs.

Why:
    A constant output (the mean of the targets, the classes' frequencies) needs no training. A model that is worse has learnt
    its training rows by heart, is confidently wrong, was given other data or labels than it was trained on, or is not the model
    that it is taken for.

How:
    model.val_loss exceeds model.val_null_loss, the loss of the best constant on the same rows, by more than two standard
    errors of the two.

Fix:
    Check that data, labels and preprocessing are those of the training. If they are, the model needs a penalty, more data, or
    an early stop: the recommendation says which penalty.

Silent on:
    Fewer than 30 validation rows, and differences within their noise.

Example:
    The validation loss 2.01 is above 0.69, that of a constant output.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

ERRORS = Threshold(
    "standard-errors", "standard errors of the difference", 2.0, "", "two-sided 5% of a normal distribution"
)
ROWS = Threshold("min-rows", "validation rows to be sure", 30, "rows", "common rule for a normal mean")


def _check(audit: Audit) -> Iterator[Finding]:
    found = {each.measure: each for each in audit.model}
    loss, constant = found.get("model.val_loss"), found.get("model.val_null_loss")
    if loss is None or constant is None or audit.probe is None or audit.probe.val_examples < ROWS.value:
        return
    if loss.value - constant.value > ERRORS.value * math.hypot(loss.se or 0.0, constant.se or 0.0):
        yield RULE.finding(
            f"The validation loss {number(loss.value)} is above {number(constant.value)}, that of a constant output.",
            metric=loss.measure,
            value=loss.value,
            op=">",
            threshold=constant.value,
        )


RULE = Rule(
    code="RGA710",
    name="model-worse-than-constant",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    thresholds=(ERRORS, ROWS),
    cost=Cost.LABELS,
    check=_check,
)
