"""Rung: single weights near zero that no unit and no input explains, `kernel.scattered_small_fraction`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.effects.rungs import Evidence, Rung, RungVerdict
from regaudit.records import Norm, Site

if TYPE_CHECKING:
    from regaudit.effects.base import Subject

# Of 300 small networks without a penalty on kernels none had more than 0.028, of 60 with kernel L1 25 have more than 0.05;
# normal weights have 0.008. The limits were chosen on these networks.
MANY = 0.05
LEAST = 8  # weights
# Of the small ones at most 0.05 are below 1e-5 of the rms with L1, mostly 0.4 to 1 with coupled L2, none without either.
L1_BELOW = 0.15
COUPLED_ABOVE = 0.35
COUPLED_MANY = 0.015  # small ones; chance leaves 8e-6 of the weights below 1e-5 of the rms
SURE = 0.8
SHARE = "kernel.scattered_small_fraction"


def small_weights(evidence: Evidence) -> RungVerdict | None:
    """Return L1, or coupled L2 where the small weights went on towards zero."""
    known = [s for s in evidence.view.subjects if s.has_telling_kernel and SHARE in s.values]
    weights, small = sum(s.size for s in known), sum(_small(s) for s in known)
    if not weights or small < LEAST:
        return None
    share, gone = small / weights, sum(s.values.get("kernel.gone_fraction", 0.0) * _small(s) for s in known) / small
    seen = f"{share:.1%} of the weights are below a hundredth of what their row and column let expect (chance: 0.8%)"
    if gone >= COUPLED_ABOVE and share > COUPLED_MANY and gone * small >= LEAST:
        text = f"{seen}, and went on towards zero: L2 in the gradient of Adam (coupled)."
        return _kernel(Norm.L2, text, "coupled")
    if gone <= L1_BELOW and share > MANY:
        return _kernel(Norm.L1, f"{seen}, and stopped within a step of zero: kernel L1.")
    return None


def _small(subject: Subject) -> float:
    return subject.values[SHARE] * subject.size


def _kernel(norm: Norm, text: str, coupling: str = "") -> RungVerdict:
    return RungVerdict(
        site=Site.KERNEL, norm=norm, confidence=SURE, basis="weights", rationale=(text,), coupling=coupling
    )


SMALL_WEIGHTS = Rung(
    name="small weights",
    conditions=(
        "L1 by its gradient under any optimizer; L2 under Adam-like ones where weights lost their gradient. Exact zeros do "
        "not count. A start from very small weights, of which few grew, looks like L1."
    ),
    see=small_weights,
)
