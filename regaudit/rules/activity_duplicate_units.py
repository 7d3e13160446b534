"""Most units of a layer say on the probe batch what an earlier unit says.

Why:
    Units that correlate add cost, no capacity: the layer could be narrower. Strong decay on two layers in a row leaves
    few directions, and units that differ in scale only.

How:
    Units with |correlation| > 0.95 to an earlier one over units that vary (of 512 drawn where there are more), on at
    least 100 rows; a unit counts where it is not 0 in at least 30 rows. A finding from 75% of the units on.

Fix:
    Try a narrower layer. If the model fits too loosely, lower the kernel penalty.

Silent on:
    Outputs, tables, layers with fewer than 8 inputs or 8 units, which have no room for units that differ.

Example:
    97% of the units say what an earlier unit says; the outputs fill 1.01 directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Axis, Confidence, Finding, Severity, Use
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.batch import hidden
from regaudit.rules.kernels import MAPS, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

ALIKE = Threshold(
    "alike-units", "units that correlate above 0.95 with an earlier one", 0.75, "of the units",
    "calibrated: 42% in a small transformer without a penalty, 78% to 97% under strong kernel penalties",
)  # fmt: skip
MIN_SIDE = Threshold(
    "min-side", "inputs, and units, of the layer", 8, "", "choice: fewer have no room for units that differ"
)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in hidden(audit):
        share, kernel = each.value("activity.correlated_fraction"), each.layer.get(Use.KERNEL)
        if share is None or share < ALIKE.value or kernel is None:
            continue
        units = kernel.extent(Axis.OUT)
        if min(units, kernel.size // max(units, 1)) < MIN_SIDE.value:
            continue
        rank = each.value("activity.effective_rank")
        fills = "" if rank is None else f"; the outputs fill {number(rank)} directions"
        yield RULE.finding(
            f"{percent(share)} of the units say what an earlier unit says{fills}.",
            layer=each.layer.name,
            metric="activity.correlated_fraction",
            value=share,
            op=">=",
            threshold=ALIKE.value,
        )


RULE = Rule(
    code="RGA706",
    name="activity-duplicate-units",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    thresholds=(ALIKE, MIN_SIDE),
    roles=MAPS,
    cost=Cost.PROBE,
    check=_check,
)
