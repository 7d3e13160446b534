"""A layer gives massive activations: single outputs a thousand times the usual one.

Why:
    They act as bias terms that the model needs (Sun et al. 2024), so an activity penalty or clipping that removes them may
    break it; and they cost precision when activations are quantised.

How:
    max|y| > 100 and max|y| > 1,000·median|y| over the probe batch.

Fix:
    Nothing, unless activations are to be quantised: then keep these channels in higher precision. Try an activity penalty
    only against a baseline without.

Silent on:
    Outputs, tables, and layers where half of the outputs are 0 (behind a ReLU there is no median to compare with).

Example:
    The largest output is 9,812 times the median (unit 2393).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.batch import hidden
from regaudit.rules.kernels import MAPS, number, which

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = Threshold("size", "largest output", 100.0, "", "Sun et al. 2024: magnitude above 100")
RATIO = Threshold(
    "over-median", "largest output over the median", 1000.0, "times", "Sun et al. 2024: about 1,000 times the median"
)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in hidden(audit):
        size, ratio = each.value("activity.max_abs"), each.value("activity.max_to_median")
        if size is not None and size > SIZE.value and ratio is not None and ratio > RATIO.value:
            yield RULE.finding(
                f"The largest output is {number(ratio)} times the median{which(each.detail('activity.max_to_median'))}.",
                layer=each.layer.name,
                metric="activity.max_to_median",
                value=ratio,
                op=">",
                threshold=RATIO.value,
            )


RULE = Rule(
    code="RGA707",
    name="activity-massive",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    thresholds=(SIZE, RATIO),
    roles=MAPS,
    cost=Cost.PROBE,
    check=_check,
)
