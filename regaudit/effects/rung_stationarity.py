"""Rung: with labels, the data gradient that is left, -∇L, against the gradient of each penalty.

Source: Wang & Gong 2018, https://arxiv.org/abs/1802.05351, for exact optima; noise, unpenalised growth and weights that
hover around zero are weighed by fitted odds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.effects.rungs import Evidence, Rung, RungVerdict
from regaudit.effects.stationary_features import by_penalty
from regaudit.effects.stationary_odds import NO_PENALTY, probabilities
from regaudit.records import Norm, Site

if TYPE_CHECKING:
    from regaudit.effects.stationary_odds import Penalty
    from regaudit.records import Stationarity

# A penalty is named only where none is this improbable: then 5% of the networks without any read as penalised.
MOST_OF_NONE: Final = 0.2
LEAST_SURE: Final = 0.35  # below, the answers are too even for any to be told
LEAST_OF_NONE: Final = 0.5  # no penalty is named only where it is more probable than all penalties together
# λ is told where the gradient points along the penalty's own and stands out of its noise: there it was within a factor 2
# in 94% to 97% of the networks of three zoos.
CLEAR: Final = {Site.KERNEL: 0.35, Site.BIAS: 0.9, Site.ACTIVITY: 0.5}
FEW: Final = 4  # weights: fewer follow any line, so that λ must stand out of its standard error
ABOVE_NOISE: Final = 3.0  # standard errors
HELD: Final = 0.2  # share of biases near zero above which L1 holds them with any λ that is large enough
NORMAL_95: Final = 1.96


def penalised(evidence: Evidence) -> RungVerdict | None:
    """Return the most probable penalty where having none is improbable."""
    fits = by_penalty(evidence.audit.stationarity)
    if not fits:
        return None
    found = probabilities(fits)
    if found[NO_PENALTY] > MOST_OF_NONE:
        return None
    site, norm = max((each for each in found if each != NO_PENALTY), key=lambda each: found[each])
    if found[site, norm] < LEAST_SURE:
        return None
    assert norm is not None
    fit = fits[site, norm]
    strength, low, high = _strength(fit)
    return RungVerdict(
        site=site,
        norm=norm,
        confidence=round(found[site, norm], 3),
        basis="estimated",
        rationale=(_pull(fit), _others(found, (site, norm)), *_held(fit, strength)),
        strength=strength,
        strength_low=low,
        strength_high=high,
    )


def unpenalised(evidence: Evidence) -> RungVerdict | None:
    """Return no penalty where that is more probable than all penalties together."""
    fits = by_penalty(evidence.audit.stationarity)
    if not fits:
        return None
    found = probabilities(fits)
    if found[NO_PENALTY] < LEAST_OF_NONE:
        return None
    text = "What the data still pull at follows no penalty's gradient beyond what networks without any show."
    return RungVerdict(
        site=Site.NONE,
        norm=None,
        confidence=round(found[NO_PENALTY], 3),
        basis="estimated",
        rationale=(text, _others(found, NO_PENALTY)),
    )


def _strength(fit: Stationarity) -> tuple[float | None, float | None, float | None]:
    """Return λ with low and high: the regression of u on ∇R, and that of ∇R on u, for both are noisy."""
    cosine = fit.statistics["cosine"]
    is_held = fit.site is Site.BIAS and fit.norm is Norm.L1 and fit.statistics["near_zero"] > HELD
    is_noise = fit.statistics.get("size", FEW) < FEW and fit.strength < ABOVE_NOISE * fit.se
    if cosine < CLEAR[fit.site] or is_held or is_noise or fit.strength <= 0:
        return None, None, None
    error = NORMAL_95 * fit.se
    ends = max(fit.strength - error, fit.strength * cosine**2), fit.strength / cosine**2 + error
    return _rounded(fit.strength), _rounded(ends[0]), _rounded(ends[1])


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _pull(fit: Stationarity) -> str:
    what = {Norm.L1: "the sign of", Norm.L2: "twice"}[fit.norm]
    of = {Site.KERNEL: "the kernels", Site.BIAS: "the biases"}.get(fit.site)
    towards = f"{what} {of}" if of else f"the gradient of the activity's {fit.norm.upper()} penalty"
    cosine = fit.statistics["cosine"]
    return f"-∇L of the training data against {towards}: cosine {cosine:.2f}, λ = {fit.strength:.3g} ± {fit.se:.1g}."


def _held(fit: Stationarity, strength: float | None) -> tuple[str, ...]:
    if strength is not None:
        return ()
    if fit.norm is Norm.L1 and fit.site is Site.BIAS and fit.statistics["near_zero"] > HELD:
        largest = fit.statistics["largest"]
        return (f"Biases at zero are held by any λ above their gradient, at most {largest:.2g} here.",)
    return ("λ cannot be told: the noise of the gradient hides the slope.",)


def _others(found: dict[Penalty, float], chosen: Penalty) -> str:
    ranked = sorted((each for each in found if each != chosen), key=lambda each: -found[each])[:2]
    named = " and ".join(f"{_name(each)} ({found[each]:.0%})" for each in ranked)
    return f"The next most probable are {named}."


def _name(penalty: Penalty) -> str:
    site, norm = penalty
    return f"{site} {norm.upper()}" if norm else "no penalty"


_CONDITIONS = (
    "Labels and the loss of the training, a model near its optimum; AdamW's decoupled decay is no penalty of the loss."
)

STATIONARITY = Rung(name="stationarity", conditions=_CONDITIONS, see=penalised)
NO_PULL = Rung(name="no pull", conditions=_CONDITIONS, see=unpenalised)
