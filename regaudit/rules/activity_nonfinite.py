"""A layer gives NaN or infinity on the probe batch.

Why:
    Everything after such a number is NaN too: the prediction, the loss and every gradient.

How:
    Outputs of the layer that are not finite, over all rows of the probe batch, in float32. One is enough; the first such
    layer of the model is named.

Fix:
    Look at the inputs of this layer: an overflow (huge weights or inputs), a division by zero, the logarithm of 0.
    Check that the inputs are scaled as in training. If an earlier checkpoint gives finite outputs, use that one.

Silent on:
    Inputs that are not finite themselves (they are refused), and later layers, which only pass it on.

Example:
    12 outputs are NaN or infinite on the probe batch; later layers only pass them on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.batch import is_drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = Threshold("nonfinite", "outputs that are not finite", 0, "", "definition: one is enough")


def _check(audit: Audit) -> Iterator[Finding]:
    found = [(each, count) for each in audit.layers if (count := each.value("activity.nonfinite_count"))]
    for each, count in found[:1]:
        verb = "output is" if count == 1 else "outputs are"
        yield RULE.finding(
            f"{count:,.0f} {verb} NaN or infinite on the probe batch; later layers only pass them on.",
            layer=each.layer.name,
            metric="activity.nonfinite_count",
            value=count,
            op=">",
            threshold=COUNT.value,
            severity=Severity.WARN if is_drawn(audit) else Severity.ERROR,
        )


RULE = Rule(
    code="RGA701",
    name="activity-nonfinite",
    page=__doc__,
    severity=Severity.ERROR,
    confidence=Confidence.HIGH,
    thresholds=(COUNT,),
    cost=Cost.PROBE,
    check=_check,
)
