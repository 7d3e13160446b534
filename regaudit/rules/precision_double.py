"""Kernels are stored in double precision, which no network needs.

Why:
    Training noise is orders of magnitude above float32's rounding: 64 bits double the file, the memory and the time, and
    most accelerators are slow with them. It is usually an accident (numpy's default).

How:
    Kernels of dtype F64.

Fix:
    Convert the weights to float32 before saving.

Silent on:
    scikit-learn models, which compute in double precision, and models of fewer than 10,000 weights.

Example:
    12 kernels with 1,250,000 weights are stored in double precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity, Use
from regaudit.rules.base import Cost, Rule, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

WEIGHTS = Threshold("weights", "weights in double precision", 10_000, "weights", "choice: less costs nothing")
SCIENTIFIC = "scikit-learn"  # how its reader names the format


def _check(audit: Audit) -> Iterator[Finding]:
    if any(SCIENTIFIC in each.format for each in audit.inputs):
        return
    kernels = [each.layer.get(Use.KERNEL) for each in audit.layers]
    double = [each.size for each in kernels if each is not None and each.dtype == "F64"]
    if sum(double) >= WEIGHTS.value:
        noun = "kernel" if len(double) == 1 else "kernels"
        yield RULE.finding(
            f"{len(double):,} {noun} with {sum(double):,} weights are stored in double precision.",
            metric="kernel.double_precision",
            value=float(sum(double)),
            op=">=",
            threshold=WEIGHTS.value,
        )


RULE = Rule(
    code="RGA502",
    name="precision-double",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    thresholds=(WEIGHTS,),
    cost=Cost.FILE,
    check=_check,
)
