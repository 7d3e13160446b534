"""The recommendation after a trial: the penalty that won, or what is in use where that is noise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.penalties.snippets import keras_lines, torch_lines
from regaudit.recommend.hints import hints
from regaudit.recommend.in_use import in_use
from regaudit.recommend.model import model_of
from regaudit.recommend.prior import recommend_prior
from regaudit.recommend.words import number
from regaudit.records import Action, Alternative, Norm, Reason, Recommendation, Site

if TYPE_CHECKING:
    from regaudit.recommend.in_use import InUse
    from regaudit.records import Audit, Compared, Outcome, Trial

OBJECTIVE = "validation loss"
SURE_AT_MOST = 0.95  # of the rows' distribution and the recipe nothing was measured
FACTOR_OF_DOUBT = 2.0  # each way, at least: neighbours of the grid are five times apart
_SITES = (
    (Site.KERNEL, Norm.L2),
    (Site.KERNEL, Norm.L1),
    (Site.ACTIVITY, Norm.L2),
    (Site.BIAS, Norm.L2),
    (Site.NONE, None),
)


def recommend_measured(audit: Audit) -> Recommendation:
    """Recommend what a trial measured.

    Args:
        audit: With a trial; without one the recommendation is that of weights alone.

    Returns:
        The whole penalty to train with next. What is in use stays where the gain is noise.

    Source: `docs/trial.md` has what was measured of such recommendations.
    """
    trial = audit.trial
    if trial is None or trial.winner is None or trial.validation is None:
        return recommend_prior(audit)
    used = in_use(audit.declared)
    winner = trial.winner
    action = _action(trial, winner, used)
    is_kept = action is Action.KEEP and not trial.is_change
    site, norm, strength = _kept(used) if is_kept else (winner.site, winner.norm, winner.strength or None)
    low, high = (None, None) if is_kept or strength is None else _around(trial, strength)
    return Recommendation(
        action=action,
        estimand=trial.estimand,
        objective=OBJECTIVE,
        site=site,
        norm=norm,
        strength=strength,
        strength_low=low,
        strength_high=high,
        expected_gain=0.0 if is_kept else trial.validation.gain,
        expected_gain_se=trial.validation.gain_se,
        basis="measured",
        confidence=_confidence(trial.validation, is_kept=is_kept),
        rationale=_rationale(trial),
        alternatives=_alternatives(trial, site, norm),
        layers=hints(model_of(audit)),
        apply={}
        if is_kept
        else {"keras": keras_lines(site, norm, strength or 0.0), "pytorch": torch_lines(site, norm, strength or 0.0)},
        next_step=_next_step(trial, is_kept=is_kept),
    )


def _action(trial: Trial, winner: Outcome, used: InUse | None) -> Action:
    if not trial.is_change:
        return Action.KEEP
    if winner.norm is None:
        return Action.NONE
    is_same = used is not None and (used.site, used.norm) == (winner.site, winner.norm)
    return Action.REDUCE if is_same and used and (used.strength or 0.0) > winner.strength else Action.ADD


def _kept(used: InUse | None) -> tuple[Site, Norm | None, float | None]:
    return (used.site, used.norm, used.strength) if used and used.strength is not None else (Site.NONE, None, None)


def _around(trial: Trial, strength: float) -> tuple[float, float]:
    low, high = trial.strength_low or strength, trial.strength_high or strength
    return min(low, strength / FACTOR_OF_DOUBT), max(high, strength * FACTOR_OF_DOUBT)


def _confidence(validation: Compared, *, is_kept: bool) -> float:
    """Return the probability that the loss falls; that it does not where what is in use stays."""
    score = validation.gain / validation.gain_se if validation.gain_se else math.copysign(math.inf, validation.gain)
    falls = 0.5 * (1 + math.erf(score / math.sqrt(2)))
    return min(SURE_AT_MOST, max(0.5, 1 - falls) if is_kept else max(0.5, falls))


def _rationale(trial: Trial) -> tuple[Reason, ...]:
    assert trial.validation
    reasons = [Reason(text=trial.verdict[0], measure="trial.gain", value=trial.validation.gain)]
    reasons += [Reason(text=each) for each in trial.verdict[1:]]
    winner = trial.winner
    if winner and winner.gain is not None:  # which the verdict has in words
        reasons[1] = replace(reasons[1], measure="trial.gain_over_none", value=winner.gain)
    if trial.test:
        text = f"On {trial.test.rows:,} test rows, looked at once, it gains {trial.test.gain:.3g}, standard error {trial.test.gain_se:.2g}."
        reasons.insert(1, Reason(text=text, measure="trial.test_gain", value=trial.test.gain))
    return tuple(reasons)


def _alternatives(trial: Trial, site: Site, norm: Norm | None) -> tuple[Alternative, ...]:
    """Return the best of every other site and norm, as far as it came, against the best of the same trainings."""
    found = []
    for other in _SITES:
        alike = [o for o in trial.outcomes if (o.site, o.norm) == other and o.loss is not None]
        if other == (site, norm) or not alike:
            continue
        best = alike[0]  # outcomes are in order: the longest trainings first, the best of them first
        peers = [
            o.loss
            for o in trial.outcomes
            if (o.estimand, o.steps) == (best.estimand, best.steps) and o.loss is not None
        ]
        behind = (best.loss or 0.0) - min(peers)
        at = f"At {number(best.strength)}, the best tried, it was" if best.norm else "It was"
        place = f"{behind:.3g} behind the best" if behind > 0 else "the best"
        found.append(
            Alternative(
                site=other[0],
                norm=other[1],
                why_not=f"{at} {place} of the trainings of {best.steps:,} steps it came to.",
            )
        )
    return tuple(found)


def _next_step(trial: Trial, *, is_kept: bool) -> str:
    if is_kept:
        return "Give more validation rows, or a larger --budget: then smaller gains can be told from noise."
    if trial.test is None:
        return "Train with this penalty, and judge the model on test rows that decided nothing (--test)."
    return "Train with this penalty."
