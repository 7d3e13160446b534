"""The recommendation with labels: the penalty whose predicted validation loss is the lowest, or none where that is noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.penalties.snippets import keras_lines, torch_lines
from regaudit.recommend.choice import Choice, choose, rows_needed
from regaudit.recommend.hints import hints
from regaudit.recommend.model import Model, model_of
from regaudit.recommend.prior import recommend_prior
from regaudit.recommend.words import number
from regaudit.records import Action, Alternative, Norm, Reason, Recommendation, Site

if TYPE_CHECKING:
    from regaudit.records import Audit, Response

SCREENED = "screened"  # the method of responses that only chose what to look at more closely
KNOWN = 0.5  # a detected penalty below this confidence is not relied on (our choice)
OBJECTIVES = {"accuracy": "validation loss", "sparsity": "sparsity", "noise": "robustness to noise"}
_ORDER = (
    (Site.KERNEL, Norm.L2),
    (Site.KERNEL, Norm.L1),
    (Site.ACTIVITY, Norm.L2),
    (Site.ACTIVITY, Norm.L1),
    (Site.BIAS, Norm.L2),
    (Site.BIAS, Norm.L1),
    (Site.NONE, None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """The penalty in use: by the file's word, or as detected. `site` is None where nothing is known."""

    site: Site | None = None
    norm: Norm | None = None
    strength: float | None = None


def recommend_labelled(audit: Audit) -> Recommendation:
    """Recommend from the responses to penalties that were predicted with labels.

    Args:
        audit: With responses; without any the recommendation is that of the level below.

    Returns:
        The whole penalty to train with next. What is in use stays where the gain is within its standard error.

    Source: 30 small networks retrained under 37 penalties each; `docs/recommendation.md` has the figures.
    """
    responses = [r for r in audit.responses if r.method != SCREENED]
    if not responses:
        return _without(audit)
    model = model_of(audit)
    choice = choose(responses, audit.objective)
    used = _used(model)
    action, penalty = _decided(choice, used, audit.objective)
    return Recommendation(
        action=action,
        estimand=choice.response.estimand,
        objective=OBJECTIVES[audit.objective],
        site=penalty.site or Site.NONE,
        norm=penalty.norm,
        strength=penalty.strength,
        strength_low=choice.low if action in {Action.ADD, Action.REDUCE} and penalty.norm else None,
        strength_high=choice.high if action in {Action.ADD, Action.REDUCE} and penalty.norm else None,
        expected_gain=None if action is Action.KEEP else choice.response.gain,
        expected_gain_se=None if action is Action.KEEP else choice.response.gain_se,
        basis="estimated",
        confidence=choice.confidence,
        rationale=_rationale(audit, responses, choice, action),
        alternatives=_alternatives(audit, penalty),
        layers=hints(model),
        apply=_apply(penalty, action),
        next_step=_next_step(audit, choice, action),
    )


def _without(audit: Audit) -> Recommendation:
    """Return the recommendation of the level below, with the reason why nothing was predicted."""
    advice = recommend_prior(audit)
    reason = next((skip.reason for skip in audit.model_skips if skip.measure == "response"), "")
    if not reason:
        return advice
    because = Reason(text=f"No penalty could be tried: {reason}.", measure="responses", value=0.0)
    return replace(advice, rationale=(*advice.rationale, because))


def _used(model: Model) -> Used:
    found, declared = model.audit.detected, model.in_use
    if declared and declared.strength is not None:
        return Used(site=declared.site, norm=declared.norm, strength=declared.strength)
    if found and found.confidence >= KNOWN:
        return Used(site=found.site, norm=found.norm, strength=found.strength)
    return Used()


def _decided(choice: Choice, used: Used, objective: str) -> tuple[Action, Used]:
    """Return the action and the penalty to train with next."""
    best = choice.response
    if not choice.is_clear and objective == "accuracy":
        return (Action.NONE if used.site is Site.NONE else Action.KEEP), used
    if best.norm is None:
        return Action.NONE, Used(site=Site.NONE)
    chosen = Used(site=best.site, norm=best.norm, strength=choice.strength)
    weaker = (used.site, used.norm) == (best.site, best.norm) and (used.strength or 0.0) > choice.strength
    return (Action.REDUCE if weaker else Action.ADD), chosen


def _name(response: Response) -> str:
    return f"{response.site} {response.norm.upper()} {number(response.strength)}" if response.norm else "no penalty"


def _rationale(audit: Audit, responses: list[Response], choice: Choice, action: Action) -> tuple[Reason, ...]:
    reasons = (
        _gain(audit, choice),
        _noise(audit, choice) if action is Action.KEEP or not choice.is_clear else None,
        _against_none(responses, choice),
        _neighbours(responses, choice),
        _effect(choice),
    )
    return tuple(each for each in reasons if each)


def _gain(audit: Audit, choice: Choice) -> Reason:
    best, rows = choice.response, audit.probe.val_examples if audit.probe else 0
    verb = "Trained anew" if best.estimand == "retrain" else "Trained on from these weights"
    against = "against the model as it is" if rows else "against no penalty"
    text = (
        f"{verb} with {_name(best)}, the {'validation' if rows else 'held-out'} loss is predicted to change by {-best.gain:+.3g} "
        f"(standard error {best.gain_se:.2g}{f', {rows:,} validation rows' if rows else ''}) {against}; short trainings of our own recipe."
    )
    return Reason(text=text, measure="response.gain", value=best.gain)


def _noise(audit: Audit, choice: Choice) -> Reason:
    best, rows = choice.response, audit.probe.val_examples if audit.probe else 0
    needed = rows_needed(best, rows) if rows else None
    if best.gain <= 0:
        text = "No penalty that was tried is predicted to do better than the model as it is."
        return Reason(text=text, measure="response.gain", value=best.gain)
    decide = f" About {needed:,} validation rows would decide." if needed else ""
    text = f"That is within its noise, so what is in use stays.{decide}"
    return Reason(text=text, measure="rows_needed", value=float(needed) if needed else None)


def _against_none(responses: list[Response], choice: Choice) -> Reason | None:
    none = next((r for r in responses if r.norm is None), None)
    if none is None or choice.response.norm is None:
        return None
    text = (
        f"The same trainings without a penalty come to a held-out loss of {number(none.loss)}, with {_name(choice.response)} to "
        f"{number(choice.response.loss)}: a difference of {none.behind:.3g}, standard error {none.behind_se:.2g}."
    )
    return Reason(text=text, measure="response.behind", value=none.behind)


def _neighbours(responses: list[Response], choice: Choice) -> Reason | None:
    best = choice.response
    others = sorted(
        (r for r in responses if (r.site, r.norm) == (best.site, best.norm) and r.strength != best.strength),
        key=lambda each: each.strength,
    )
    if not others:
        return None
    listed = ", ".join(f"{number(r.strength)} to {number(r.loss)}" for r in others)
    text = f"Other strengths of {best.site} {best.norm.upper() if best.norm else ''} come to: {listed}."
    return Reason(text=text, measure="response.loss", value=best.loss)


def _effect(choice: Choice) -> Reason | None:
    """Return what the penalty is predicted to do to the weights and to the output's steadiness."""
    best = choice.response
    if best.norm is None or best.shrinkage is None:
        return None
    parts = [f"leave {best.shrinkage:.0%} of the kernels' sum of squares"]
    if best.zero_fraction is not None and (best.site, best.norm) == (Site.KERNEL, Norm.L1):
        parts.append(f"bring {best.zero_fraction:.0%} of their weights within 1% of zero")
    if best.sensitivity is not None:
        parts.append(f"let noise on the inputs change the output {best.sensitivity:.2f} times as much")
    text = f"Against training without a penalty it is predicted to {_listed(parts)}."
    return Reason(text=text, measure="response.shrinkage", value=best.shrinkage)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _alternatives(audit: Audit, penalty: Used) -> tuple[Alternative, ...]:
    """Return the best of every other site and norm, with what it was predicted to cost."""
    found = []
    for site, norm in _ORDER:
        alike = [r for r in audit.responses if (r.site, r.norm) == (site, norm)]
        if not alike or (site, norm) == (penalty.site or Site.NONE, penalty.norm):
            continue
        nearest = min(alike, key=lambda each: (each.method == SCREENED, each.loss))
        first = "in the first, shorter trainings " if nearest.method == SCREENED else ""
        found_at = f"At its best strength, {number(nearest.strength)}, {first}it is predicted" if norm else "Predicted"
        text = f"{found_at} {nearest.behind:.3g} behind the best (standard error {nearest.behind_se:.2g})."
        if not nearest.behind and not first:
            text = "The best that was tried, but not clearly better than the model as it is."
        found.append(Alternative(site=site, norm=norm, why_not=text))
    return tuple(found)


def _apply(penalty: Used, action: Action) -> dict[str, str]:
    if action is Action.KEEP and penalty.strength is None:
        return {}  # what is in use stays as it is
    site, norm, strength = penalty.site or Site.NONE, penalty.norm, penalty.strength or 0.0
    return {"keras": keras_lines(site, norm, strength), "pytorch": torch_lines(site, norm, strength)}


def _next_step(audit: Audit, choice: Choice, action: Action) -> str:
    if audit.probe is None or not audit.probe.val:
        return "Give validation data with --val: then the gain is measured against the model as it is."
    if action is Action.KEEP:
        return "Give more validation rows, or measure the penalties with your own recipe: `regaudit trial`."
    return f"Train with your own recipe at {number(choice.low)}, {number(choice.strength)} and {number(choice.high)}, and keep the best on validation data."
