"""Units that give the same whatever the input of the probe batch.

Why:
    A ReLU unit that is never above zero gives nothing and gets no gradient, so it does not come back. Large biases and
    too large a learning rate kill units; too strong a penalty shrinks their weights until the bias decides.

How:
    Units with y = 0 in all rows behind a ReLU, with max y - min y ≤ 1e-6·max|y| behind anything else, over all units;
    a row is an example at one position. A finding from 20% of the units on; a warning from 90% on over 1,000 rows of 100 examples.

Fix:
    Check that the batch is like the data the model meets. Lower the learning rate or the penalty on the kernel, use a
    leaky activation, or take the units out: the model gives the same without them.

Silent on:
    Outputs, tables (a batch of one segment uses one row of them), fewer than 100 rows (never in n rows bounds the rate by 3/n only), units that a normalization follows before
    the activation. Language models of billions of weights have layers with 70% dead units (Voita et al. 2023).

Example:
    480 of 512 units (94%) give the same for all 4,096 rows of the probe batch (units 3-17, 19-40, 42 and 442 more).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Axis, Confidence, Finding, Severity, Use
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.batch import EXAMPLES, ROWS, hidden, rows, severity
from regaudit.rules.kernels import MAPS, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

DEAD = Threshold(
    "dead-units", "dead units, for a note", 0.2, "of the units",
    "calibrated: 0 in small nets trained with mild penalties, 23% to 44% with a kernel penalty that is too strong",
)  # fmt: skip
NEARLY_ALL = Threshold(
    "nearly-all", "dead units, for a warning", 0.9, "of the units",
    "choice: beyond the 70% that Voita et al. (2023) saw in layers of working language models",
)  # fmt: skip


def _check(audit: Audit) -> Iterator[Finding]:
    for each in hidden(audit):
        share, kernel = each.value("activity.dead_fraction"), each.layer.get(Use.KERNEL)
        if share is None or share < DEAD.value or kernel is None:
            continue
        units = kernel.extent(Axis.OUT)
        if round(share * units) <= (each.value("kernel.dead_out_count") or 0.0):
            continue
        limit = NEARLY_ALL if share >= NEARLY_ALL.value else DEAD
        named = each.detail("activity.dead_fraction").rpartition("; ")[0]
        yield RULE.finding(
            f"{round(share * units):,} of {units:,} units ({percent(share)}) give the same for all {rows(each):,.0f} rows of "
            f"the probe batch{f' ({named})' if named else ''}.",
            layer=each.layer.name,
            metric="activity.dead_fraction",
            value=share,
            op=">=",
            threshold=limit.value,
            severity=severity(audit, each, Severity.WARN) if limit is NEARLY_ALL else Severity.INFO,
        )


RULE = Rule(
    code="RGA702",
    name="activity-dead-units",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.MEDIUM,
    thresholds=(DEAD, NEARLY_ALL, ROWS, EXAMPLES),
    roles=MAPS,
    supersedes=("activity-bias-driven",),
    cost=Cost.PROBE,
    check=_check,
)
