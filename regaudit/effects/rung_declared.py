"""Rung: what the file declares, where its effect is visible."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from regaudit.effects.rungs import Evidence, Rung, RungVerdict
from regaudit.records import Norm

if TYPE_CHECKING:
    from regaudit.records import Effect, Site

LEAST_SURE = 0.5  # of a declared penalty's visible effect


def declared(evidence: Evidence) -> RungVerdict | None:
    """Return the declared penalty that most effects agree with."""
    agreeing: dict[tuple[Site, str, float], list[Effect]] = defaultdict(list)
    for effect in evidence.audit.effects:
        if effect.effect == "declared-agrees" and effect.confidence >= LEAST_SURE:
            number = effect.evidence[0]
            agreeing[effect.target, number.measure, number.value].append(effect)
    if not agreeing:
        return None
    (site, measure, value), group = max(agreeing.items(), key=lambda item: len(item[1]))
    strength = None if measure == "declared.weight_decay" else value
    return RungVerdict(
        site=site,
        norm=Norm.L1 if measure == "declared.l1" else Norm.L2,
        strength=strength,
        strength_low=strength,
        strength_high=strength,
        confidence=round(sum(e.confidence for e in group) / len(group), 3),
        basis="declared",
        rationale=tuple(dict.fromkeys(e.text for e in group))[:3],
    )


DECLARED = Rung(
    name="declared",
    conditions="The file declares a penalty, and the weights show what it should do; its number is the file's.",
    see=declared,
)
