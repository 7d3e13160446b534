"""How what was detected and what the file declares fit: agree, disagree, or cannot tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.penalties.units import NORM_OF_KIND, distinct
from regaudit.records import Agreement, Norm, Site

if TYPE_CHECKING:
    from regaudit.effects.rungs import RungVerdict
    from regaudit.records import Audit, Declared

_NOT_KERNELS = frozenset({"bias", "activity", "scale", "offset", "inputs", "loss", "gradient"})
_DECAYS = frozenset({"weight_decay", "decoupled_weight_decay"})
SHOULD_SHOW = 0.1  # an expected exposure that a dosimeter cannot miss


def agreement(audit: Audit, verdict: RungVerdict) -> Agreement | None:
    """Return how a verdict on kernels fits the declared penalties on kernels.

    Args:
        audit: With what the file declares.
        verdict: Of the rung that decided.

    Returns:
        None where the file declares no L1, L2 or decay, not even one of zero, and where the verdict rests on the
        declaration itself: agree.
    """
    entries = [e for e in distinct(audit.declared) if e.kind in NORM_OF_KIND and e.value is not None]
    if not entries:
        return None
    if verdict.basis == "declared":
        return Agreement.AGREE
    kernels = [e for e in entries if e.site not in _NOT_KERNELS]
    active = [e for e in kernels if 0 < (e.value or 0.0) < math.inf]
    if verdict.site is Site.NONE:
        return _none_against(audit, active)
    if verdict.site is not Site.KERNEL or not kernels:
        return Agreement.CANNOT_TELL
    if not active:
        return Agreement.DISAGREE
    return Agreement.AGREE if any(_fits(e, verdict) for e in active) else Agreement.DISAGREE


def _fits(entry: Declared, verdict: RungVerdict) -> bool:
    if verdict.norm is Norm.L1:
        return NORM_OF_KIND[entry.kind] is Norm.L1
    is_decoupled = entry.kind == "decoupled_weight_decay"
    return NORM_OF_KIND[entry.kind] is Norm.L2 and not (verdict.coupling == "coupled" and is_decoupled)


def _none_against(audit: Audit, active: list[Declared]) -> Agreement:
    """Return whether the declared decay should have shown: its rate, its learning rate and the steps tell."""
    if not active:
        return Agreement.AGREE
    steps = max((each.layer.adam.step or 0 for each in audit.layers if each.layer.adam), default=0)
    expected = [(e.value or 0.0) * (e.learning_rate or 0.0) * steps for e in active if e.kind in _DECAYS]
    return Agreement.DISAGREE if expected and min(expected) > SHOULD_SHOW else Agreement.CANNOT_TELL
