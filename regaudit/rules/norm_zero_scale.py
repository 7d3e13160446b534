"""All scales of a normalization are exactly zero in a model that has been trained.

Why:
    With gamma = 0 the layer's output is its offset, whatever comes in: the branch before it is switched off.
    Residual networks start like this on purpose; after training, a scale of exactly zero got no gradient at all.

How:
    max|gamma| = 0, while another normalization of the model has scales that differ from each other (a fresh model's
    are all alike).

Fix:
    Check that the branch was trained (not frozen, not skipped) and that the tensor was loaded. If a penalty on gamma
    pruned the branch on purpose, remove the branch.

Silent on:
    Fresh models with zero-initialised residual branches, scales that are small but not zero.

Example:
    All 64 scales are exactly 0: the branch before this layer is switched off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity, Use
from regaudit.rules.base import Rule, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = Threshold("largest", "largest |gamma|", 0.0, "", "definition")


def _check(audit: Audit) -> Iterator[Finding]:
    norms = [each for each in audit.layers if each.layer.role is Role.NORM]
    if not any(each.value("scale.std") for each in norms):
        return
    for each in norms:
        scale = each.layer.get(Use.SCALE)
        if scale is not None and each.value("scale.max_abs") == LARGEST.value:
            yield RULE.finding(
                f"All {scale.size:,} scales are exactly 0: the branch before this layer is switched off.",
                layer=each.layer.name,
                metric="scale.max_abs",
                value=0.0,
                op="==",
                threshold=LARGEST.value,
            )


RULE = Rule(
    code="RGA302",
    name="norm-zero-scale",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.MEDIUM,
    thresholds=(LARGEST,),
    roles=(Role.NORM,),
    check=_check,
)
