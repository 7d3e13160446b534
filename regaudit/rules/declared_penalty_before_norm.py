"""The file declares a kernel penalty where a normalization follows the kernel.

Why:
    A normalization divides the kernel's scale out: f(cW) = f(W). A penalty on W then cannot make the function
    simpler; it only sets how fast the kernel turns, the effective learning rate η/‖W‖² (van Laarhoven 2017; Zhang et
    al. 2019). That can be useful, but it is not the regularization that the declaration looks like.

How:
    A declared L1, L2 or weight decay above 0 on a kernel whose output goes straight into a normalization.

Fix:
    Nothing is broken. To regularize the function, penalise the layers that no normalization follows, or use dropout,
    augmentation or a penalty on the activity.

Silent on:
    Kernels whose output is added to something else before it is normalized.

Example:
    The declared L2 0.01 acts on the learning rate, not on the function: bn1 follows and divides the scale out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.declared import penalties_on, penalties_on_all
from regaudit.rules.kernels import MAPS, kernels, number

if TYPE_CHECKING:
    from collections.abc import Iterator


def _check(audit: Audit) -> Iterator[Finding]:
    before_norm = [each for each in kernels(audit) if each.layer.followed_by]
    for each in before_norm:
        for penalty in penalties_on(audit, each.layer):
            yield RULE.finding(
                f"The declared {penalty.norm.upper()} {number(penalty.declared.value or 0)} acts on the learning rate, "
                f"not on the function: {each.layer.followed_by} follows and divides the scale out.",
                layer=each.layer.name,
                metric=f"declared.{penalty.norm}",
                value=penalty.declared.value,
                op=">",
                threshold=0.0,
            )
    for penalty in penalties_on_all(audit) if before_norm else ():
        yield RULE.finding(
            f"The weight decay {number(penalty.declared.value or 0)} of {penalty.declared.target or 'the model'} acts on "
            f"the learning rate, not on the function, of {len(before_norm):,} of {_count(audit):,} kernels: a "
            "normalization follows them.",
            tensor=penalty.declared.target,
            metric=f"declared.{penalty.declared.kind}",
            value=penalty.declared.value,
            op=">",
            threshold=0.0,
        )


def _count(audit: Audit) -> int:
    return sum(1 for _ in kernels(audit))


RULE = Rule(
    code="RGA401",
    name="declared-penalty-before-norm",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    roles=MAPS,
    cost=Cost.FILE,
    check=_check,
)
