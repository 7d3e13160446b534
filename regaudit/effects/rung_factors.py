"""Rung: balance of two linear maps of which only the product matters: query and key, value and output, LoRA's factors."""

from __future__ import annotations

from statistics import median

from regaudit.effects.rungs import Evidence, Rung, RungVerdict
from regaudit.records import Norm, Site

BALANCED = 0.2  # of chance, as for units
BALANCED_FACTORS = 0.02  # of 1, where B = 0 starts; at the minimum 1e-3 and less (our choice)
SURE = 0.7


def factors(evidence: Evidence) -> RungVerdict | None:
    """Return kernel L2 where factors agree better than chance and their start explain."""
    text = _attention(evidence) or _adapters(evidence)
    if not text:
        return None
    return RungVerdict(site=Site.KERNEL, norm=Norm.L2, confidence=SURE, basis="weights", rationale=(text,))


def _attention(evidence: Evidence) -> str:
    values = {m.measure: m.value for m in evidence.audit.model}
    chance, growth = values.get("model.factor_balance_to_chance"), values.get("model.growth_median")
    if chance is None or growth is None or chance >= BALANCED:
        return ""
    if chance * max(1.0, growth) ** 2 >= 1:  # without a penalty SGD keeps the difference of squares while both grow
        return ""
    return (
        f"The units of query and key, and of value and output projections have the same norms to {chance:.0%} of chance: at "
        "the minimum of loss and kernel L2 they are equal, and the penalty is a nuclear norm on the product."
    )


def _adapters(evidence: Evidence) -> str:
    layers = evidence.audit.layers
    found = [value for each in layers if (value := each.value("kernel.factor_imbalance")) is not None]
    if not found or median(found) >= BALANCED_FACTORS:
        return ""
    return (
        f"The factors of {len(found)} low-rank updates are in balance, AAᵀ = BᵀB to {median(found):.1g}, though B starts at 0: "
        "L2 on both, a nuclear norm on their product."
    )


FACTORS = Rung(
    name="factor balance",
    conditions=(
        "Two linear maps in a row that are penalised alike; no normalization of queries or keys, no grouped heads; any optimizer "
        "at convergence, SGD before. A start from very small weights is balanced too."
    ),
    see=factors,
)
