"""Rung: the norm at which AdamW's steps and its decay balance, where the file declares both rates."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from regaudit.effects.rungs import Evidence, Rung, RungVerdict
from regaudit.records import Norm, Site

if TYPE_CHECKING:
    from regaudit.records import Declared

WITHIN = 0.1  # of ln: the prediction held within 2% for random gradients; real ones leave some correlation (our choice)
LEAST_KERNELS = 3
SURE = 0.5


def adamw_rms(learning_rate: float, decay: float) -> float:
    """Return √(η/2λ), the rms of weights under AdamW where gradients are noise, whatever β₁.

    Args:
        learning_rate: η.
        decay: λ, AdamW's weight_decay.

    Source: Kosson et al. 2024, arXiv:2305.17212.
    """
    return math.sqrt(learning_rate / (2 * decay))


def rotation(learning_rate: float, decay: float) -> float:
    """Return √(2ηλ), the angle in radians by which decayed, normalized weights turn in one step at equilibrium.

    It is reached after about 1/(2ηλ) steps.

    Args:
        learning_rate: η.
        decay: λ; of SGD the number in the gradient.

    Source: Wan et al. 2021, arXiv:2006.08419; Kosson et al. 2024.
    """
    return math.sqrt(2 * learning_rate * decay)


def equilibrium(evidence: Evidence) -> RungVerdict | None:
    """Return decoupled decay where most kernels have the rms that the declared rates predict."""
    entry = next((e for e in evidence.audit.declared if _has_rates(e)), None)
    if entry is None or entry.value is None or entry.learning_rate is None:
        return None
    expected = adamw_rms(entry.learning_rate, entry.value)
    found = [
        s.values["kernel.rms"] for s in evidence.view.acted_on(entry) if s.has_own_kernel and s.values.get("kernel.rms")
    ]
    if len(found) < LEAST_KERNELS or abs(math.log(median(found) / expected)) > WITHIN:
        return None
    steps = 1 / rotation(entry.learning_rate, entry.value) ** 2
    text = (
        f"The median rms of {len(found)} kernels is {median(found):.3g}, the √(η/2λ) = {expected:.3g} at which AdamW's declared rates "
        f"({entry.where}) balance after some {steps:,.0f} steps."
    )
    return RungVerdict(
        site=Site.KERNEL,
        norm=Norm.L2,
        confidence=SURE,
        basis="declared",
        rationale=(text,),
        coupling="decoupled",
    )


def _has_rates(entry: Declared) -> bool:
    return entry.kind == "decoupled_weight_decay" and bool(entry.value) and bool(entry.learning_rate)


EQUILIBRIUM = Rung(
    name="norm equilibrium",
    conditions=(
        "AdamW at a constant learning rate, gradients mostly noise, long enough for 1/(2ηλ) steps; the rates are the file's. "
        "A lower norm means that decay never reached its equilibrium, or another schedule."
    ),
    see=equilibrium,
)
