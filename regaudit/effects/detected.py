"""Which penalty the model shows to have been trained with, told only where the weights or the file give real evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.effects.agreement import agreement
from regaudit.effects.base import view
from regaudit.effects.rung_charges import BALANCE, CLASS_MEAN, RESIDUAL_MEAN
from regaudit.effects.rung_declared import DECLARED
from regaudit.effects.rung_dosimeters import EXPOSURE, VANISHED
from regaudit.effects.rung_equilibrium import EQUILIBRIUM
from regaudit.effects.rung_factors import FACTORS
from regaudit.effects.rung_slope import SLOPE
from regaudit.effects.rung_small_weights import SMALL_WEIGHTS
from regaudit.effects.rung_stationarity import NO_PULL, STATIONARITY
from regaudit.effects.rung_zeros import ZEROS
from regaudit.effects.rungs import Evidence
from regaudit.records import Audit, Detected, Site

if TYPE_CHECKING:
    from regaudit.effects.rungs import Rung, RungVerdict

# From the strongest: what is a matter of proof first, what the file says and the shape of weights last.
RUNGS: Final[tuple[Rung, ...]] = (
    EXPOSURE,
    VANISHED,
    STATIONARITY,
    SMALL_WEIGHTS,
    BALANCE,
    FACTORS,
    CLASS_MEAN,
    RESIDUAL_MEAN,
    DECLARED,
    EQUILIBRIUM,
    SLOPE,
    ZEROS,
    NO_PULL,
)


def detect(audit: Audit) -> Detected | None:
    """Return the penalty that the model shows to have been trained with.

    The strongest rung of evidence that fires decides; rungs that say otherwise are told as contradictions. Where the
    deciding rung has no strength, a declared number that agrees with it fills the gap.

    Args:
        audit: With layers measured and effects seen.

    Returns:
        The penalty with its confidence, or None: cannot tell.

    Source: each rung's module; docs/forensics.md.
    """
    evidence = Evidence(audit=audit, view=view(audit))
    fired = [(rung, verdict) for rung in RUNGS if (verdict := rung.see(evidence))]
    if not fired:
        return None
    rung, first = chosen = _deciding(fired)
    others = [each for each in fired if each is not chosen]
    against = [(other, verdict) for other, verdict in others if first.contradicts(verdict)]
    number = next((v for _, v in fired if v.strength is not None and _same(v, first)), first)
    return Detected(
        site=first.site,
        norm=first.norm,
        strength=number.strength,
        strength_low=number.strength_low,
        strength_high=number.strength_high,
        confidence=round(first.confidence / (1 + len(against)), 3),
        basis=first.basis,
        rationale=_rationale([first, *(v for _, v in others if not first.contradicts(v))]),
        rung=rung.name,
        contradictions=tuple(f"{other.name}: {verdict.rationale[0]}" for other, verdict in against),
        exposure=first.exposure,
        coupling=first.coupling,
        agreement=agreement(audit, first),
    )


def _deciding(fired: list[tuple[Rung, RungVerdict]]) -> tuple[Rung, RungVerdict]:
    """Return the first; where that finds no penalty on kernels, one on biases or activities is still open."""
    elsewhere = (each for each in fired if each[1].site in {Site.BIAS, Site.ACTIVITY})
    return next(elsewhere, fired[0]) if fired[0][1].site is Site.NONE else fired[0]


def _same(a: RungVerdict, b: RungVerdict) -> bool:
    return (a.site, a.norm) == (b.site, b.norm)


def _rationale(verdicts: list[RungVerdict]) -> tuple[str, ...]:
    """Return the deciding rung's sentences, then the first of each that agrees."""
    return verdicts[0].rationale + tuple(v.rationale[0] for v in verdicts[1:])
