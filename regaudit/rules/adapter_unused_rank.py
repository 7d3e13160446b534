"""Low-rank adapters use a small part of the rank that they were given.

Why:
    Rank is what an adapter costs, in memory and time. Where a few directions carry the update, the others were decayed to
    nothing or never learnt: a smaller rank gives nearly the same model.

How:
    kernel.effective_rank of the product B·A, over the rank of its factors, is at most a quarter in more than half of the
    adapters that are not zero.

Fix:
    Nothing is broken. Try a smaller r for the next adapter; merging this one costs nothing at inference.

Silent on:
    Adapters of rank below 8, those that change nothing (adapter-no-effect), and a single layer that needs little.

Example:
    24 of 24 adapters use a quarter of their rank or less: in the median 1.7 directions of 16.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.kernels import number, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import LayerAudit

SHARE = Threshold(
    "share", "effective rank over the rank that was given", 0.25, "", "choice: four directions are paid for one in use"
)
MIN_RANK = Threshold("min-rank", "rank that was given", 8, "", "choice: a share of fewer directions says little")
ADAPTERS = Threshold(
    "adapters", "share of adapters with unused rank", 0.5, "", "choice: r is set for all of them at once"
)


def _check(audit: Audit) -> Iterator[Finding]:
    adapters = [each for each in audit.layers if _rank(each) >= MIN_RANK.value and each.value("kernel.effective_rank")]
    unused = [each for each in adapters if _used(each) <= SHARE.value * _rank(each)]
    if not adapters or len(unused) <= ADAPTERS.value * len(adapters):
        return
    rank, used = median(map(_rank, unused)), median(map(_used, unused))
    yield RULE.finding(
        f"{len(unused):,} of {len(adapters):,} adapters use {percent(SHARE.value)} of their rank or less: in the median "
        f"{number(used)} directions of {number(rank)}.",
        metric="kernel.effective_rank",
        value=used,
        op="<=",
        threshold=SHARE.value * rank,
    )


def _rank(each: LayerAudit) -> int:
    """Return the rank that a layer's factors allow; 0 where it is no product."""
    return each.layer.factors[0].shape[1] if each.layer.role is Role.ADAPTER and each.layer.factors else 0


def _used(each: LayerAudit) -> float:
    return each.value("kernel.effective_rank") or 0.0


RULE = Rule(
    code="RGA602",
    name="adapter-unused-rank",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    thresholds=(SHARE, MIN_RANK, ADAPTERS),
    roles=(Role.ADAPTER,),
    cost=Cost.SPECTRUM,
    check=_check,
)
