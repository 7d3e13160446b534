"""Some kernels look as they did before training, though others have learnt.

Why:
    A layer that was frozen, left out of the optimizer, or never used in the forward pass keeps its random start. Then it is
    no part of what was trained, and a penalty on it only shrinks noise.

How:
    The effect `untouched` (shape of the distribution, evenness of the units and spectrum are those of independent random
    weights of the assumed initial scale) has a confidence of at least 0.8, and at least half of all kernels do not show it.

Fix:
    Was it meant (a random projection, a frozen part)? If not, look for the layer in the optimizer's parameter groups and in
    the forward pass.

Silent on:
    Models that are untouched as a whole, kernels that moved little but visibly, small kernels, kernels whose spectrum was not
    computed.

Example:
    The kernel looks like its random start, though 11 of 12 others have learnt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity, Site
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.kernels import MAPS, kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

SURE = Threshold(
    "confidence", "confidence of the effect", 0.8, "", "choice: shape, evenness, spectrum and scale all agree"
)
OTHERS = Threshold(
    "learnt", "share of kernels that have learnt", 0.5, "", "choice: the others show that there was a training"
)


def _check(audit: Audit) -> Iterator[Finding]:
    seen = {
        each.layer: each.confidence
        for each in audit.effects
        if each.effect == "untouched" and each.target is Site.KERNEL and each.confidence > 0
    }
    every = {each.layer.name: each for each in kernels(audit)}
    learnt = sum(name not in seen for name in every)
    if learnt < max(1.0, OTHERS.value * len(every)):
        return
    for name, each in every.items():
        has_spectrum = each.value("kernel.outlier_count") is not None
        if has_spectrum and seen.get(name, 0.0) >= SURE.value:
            yield RULE.finding(
                f"The kernel looks like its random start, though {learnt:,} of {len(every) - 1:,} others have learnt.",
                layer=name,
                metric="effect.untouched",
                value=seen[name],
                op=">=",
                threshold=SURE.value,
            )


RULE = Rule(
    code="RGA109",
    name="kernel-untouched",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    thresholds=(SURE, OTHERS),
    roles=MAPS,
    cost=Cost.SPECTRUM,
    check=_check,
)
