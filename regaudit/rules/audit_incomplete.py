"""Some tensors that should have been measured were not.

Why:
    The audit is silent about them: no finding there is not the same as no defect. `regaudit check` exits with 3.

How:
    Tensors that were skipped for a reason that blocks (packed integers, an unknown number format). Masks, counters and
    second names of a tensor are skipped too and do not count.

Fix:
    Audit the model before it was quantised, or save the tensors that are named as floats.

Silent on:
    What is no weight.

Example:
    12 of 40 tensors could not be measured: packed 4-bit integers are not weights (12).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

SKIPPED = Threshold("skipped", "tensors that were skipped and block", 0, "tensors", "definition")
_SHOWN = 3  # reasons that a message lists


def _check(audit: Audit) -> Iterator[Finding]:
    reasons = Counter(skip.reason for skip in audit.coverage.skipped if skip.blocking)
    if not reasons:
        return
    listed = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(_SHOWN))
    more = f"; and {len(reasons) - _SHOWN:,} more reasons" if len(reasons) > _SHOWN else ""
    yield RULE.finding(
        f"{reasons.total():,} of {audit.coverage.tensors:,} tensors could not be measured: {listed}{more}.",
        metric="coverage.blocking",
        value=float(reasons.total()),
        op=">",
        threshold=SKIPPED.value,
    )


RULE = Rule(
    code="RGA901",
    name="audit-incomplete",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    thresholds=(SKIPPED,),
    cost=Cost.FILE,
    check=_check,
)
