"""The recommendation with labels: the penalty whose predicted validation loss is the lowest, or none where that is noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.measures.detail import units
from regaudit.penalties.snippets import keras_lines, torch_lines
from regaudit.recommend.by_layer import last_layer, last_layer_responses, proportions
from regaudit.recommend.choice import Choice, choose, is_elastic, rows_needed
from regaudit.recommend.hints import hints
from regaudit.recommend.model import Model, model_of
from regaudit.recommend.prior import recommend_prior
from regaudit.recommend.words import number
from regaudit.records import Action, Alternative, LayerHint, Norm, Reason, Recommendation, Site

if TYPE_CHECKING:
    from regaudit.records import Audit, Response

SCREENED = "screened"  # the method of responses that only chose what to look at more closely
KNOWN = 0.5  # a detected penalty below this confidence is not relied on (our choice)
TRIAL = "Measure the penalties with your own recipe: `regaudit trial`."
OBJECTIVES = {"accuracy": "validation loss", "sparsity": "sparsity", "noise": "robustness to noise"}
_INPUTS = 6  # runs of inputs that are named
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
    """A penalty, in use (by the file's word, or as detected) or to use. `site` is None where nothing is known."""

    site: Site | None = None
    norm: Norm | None = None
    strength: float | None = None
    strength_l2: float | None = None
    how: str = ""  # known: declared or detected


def recommend_labelled(audit: Audit) -> Recommendation:
    """Recommend from the responses to penalties that were predicted with labels.

    Args:
        audit: With responses; without any the recommendation is that of the level below.

    Returns:
        The whole penalty to train with next. What is in use stays where the gain is within its standard error.

    Source: 30 small networks retrained under 37 penalties each; `docs/recommendation.md` has the figures.
    """
    responses = [r for r in audit.responses if r.method != SCREENED and not r.layer]
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
        strength_low=choice.low if action in {Action.ADD, Action.REDUCE} else None,
        strength_high=choice.high if action in {Action.ADD, Action.REDUCE} else None,
        strength_l2=penalty.strength_l2,
        expected_gain=None if action is Action.KEEP else choice.response.gain,
        expected_gain_se=None if action is Action.KEEP else choice.response.gain_se,
        basis="estimated",
        confidence=choice.confidence,
        rationale=_rationale(audit, responses, choice, action, used),
        alternatives=_alternatives(audit, penalty),
        layers=(*_by_layer(model, penalty, action), *hints(model, penalty.site or Site.KERNEL)),
        apply=_apply(penalty, action),
        next_step=_next_step(audit, choice, action),
    )


def _without(audit: Audit) -> Recommendation:
    """Return the recommendation of the level below, with the reason why nothing was predicted."""
    advice = recommend_prior(audit)
    alone = last_layer_responses(audit)
    if alone:
        because, hint = last_layer(alone, audit.probe.val_examples if audit.probe else 0)
        layers = (hint, *advice.layers) if hint else advice.layers
        return replace(advice, rationale=(*advice.rationale, because), layers=layers, next_step=TRIAL)
    reason = next((skip.reason for skip in audit.model_skips if skip.measure == "response"), "")
    if not reason:
        return advice
    because = Reason(text=f"No penalty could be tried: {reason}.", measure="responses", value=0.0)
    return replace(advice, rationale=(*advice.rationale, because))


def _by_layer(model: Model, penalty: Used, action: Action) -> tuple[LayerHint, ...]:
    """Return where the recommended strength is out of proportion; only where a kernel penalty is to be set."""
    if action is Action.KEEP or penalty.site is not Site.KERNEL or penalty.norm is None or not penalty.strength:
        return ()
    return proportions(model, penalty.norm, penalty.strength)


def _used(model: Model) -> Used:
    found, declared = model.audit.detected, model.in_use
    if declared and declared.strength is not None:
        return Used(site=declared.site, norm=declared.norm, strength=declared.strength, how="declared")
    if found and found.confidence >= KNOWN:
        return Used(site=found.site, norm=found.norm, strength=found.strength, how="detected")
    return Used()


def _decided(choice: Choice, used: Used, objective: str) -> tuple[Action, Used]:
    """Return the action and the penalty to train with next."""
    best = choice.response
    if not choice.is_clear and objective == "accuracy":
        return (Action.NONE if used.site is Site.NONE else Action.KEEP), used
    if best.site is Site.NONE:
        return Action.NONE, Used(site=Site.NONE)
    chosen = Used(site=best.site, norm=best.norm, strength=choice.strength, strength_l2=choice.strength_l2)
    weaker = (used.site, used.norm) == (best.site, best.norm) and (used.strength or 0.0) > choice.strength
    return (Action.REDUCE if weaker else Action.ADD), chosen


def _name(response: Response) -> str:
    if response.strength_l2 is not None:
        return f"{response.site} L1 {number(response.strength)} and L2 {number(response.strength_l2)}"
    return f"{response.site} {response.norm.upper()} {number(response.strength)}" if response.norm else "no penalty"


def _rationale(
    audit: Audit, responses: list[Response], choice: Choice, action: Action, used: Used
) -> tuple[Reason, ...]:
    reasons = (
        _gain(audit, choice),
        _noise(audit, choice, action, used) if not choice.is_clear else None,
        _in_use(used, choice) if action is Action.REDUCE else None,
        _against_none(responses, choice),
        _neighbours(responses, choice),
        _effect(choice),
        _both(responses, choice),
    )
    return tuple(each for each in reasons if each)


def _gain(audit: Audit, choice: Choice) -> Reason:
    best, rows = choice.response, audit.probe.val_examples if audit.probe else 0
    how = "trained anew" if best.estimand == "retrain" else "trained on from these weights"
    against = "that of the model as it is" if rows else "that without a penalty"
    text = (
        f"The model {how} with {_name(best)} is predicted to have a {'validation' if rows else 'held-out'} loss {abs(best.gain):.3g} "
        f"{'below' if best.gain >= 0 else 'above'} {against} (standard error {best.gain_se:.2g}{f', {rows:,} validation rows' if rows else ''}). "
        "This comes from short trainings with regaudit's own settings, not yours."
    )
    return Reason(text=text, measure="response.gain", value=best.gain)


def _in_use(used: Used, choice: Choice) -> Reason:
    assert used.strength
    text = (
        f"{str(used.site).capitalize()} {used.norm.upper() if used.norm else ''} {number(used.strength)} is in use ({used.how}): "
        f"{used.strength / choice.strength:.2g} times as strong as what is recommended."
    )
    return Reason(text=text, measure="strength", value=used.strength)


def _noise(audit: Audit, choice: Choice, action: Action, used: Used) -> Reason:
    best, rows = choice.response, audit.probe.val_examples if audit.probe else 0
    needed = rows_needed(best, rows) if rows else None
    if best.gain <= 0:
        text = f"Nothing that was tried is predicted to do better than the model as it is, so {_stays(action, used)}."
        return Reason(text=text, measure="response.gain", value=best.gain)
    decide = f" About {needed:,} validation rows would decide." if needed else ""
    text = f"That could be chance, so {_stays(action, used)}.{decide}"
    return Reason(text=text, measure="rows_needed", value=float(needed) if needed else None)


def _stays(action: Action, used: Used) -> str:
    if action is Action.NONE:
        return f"none is added (none is in use, as {used.how})"
    if used.site is None:
        return "what was used stays, though it is not known what that was"
    strength = "" if used.strength is None else f" {number(used.strength)}"
    return f"the {used.how} {used.site} {used.norm.upper() if used.norm else 'penalty'}{strength} stays"


def _against_none(responses: list[Response], choice: Choice) -> Reason | None:
    none = next((r for r in responses if r.site is Site.NONE), None)
    if none is None or choice.response.site is Site.NONE:
        return None
    text = (
        f"The same trainings reach a held-out loss of {number(none.loss)} without a penalty and of {number(choice.response.loss)} with "
        f"{_name(choice.response)}: {none.behind:.3g} less (standard error {none.behind_se:.2g})."
    )
    return Reason(text=text, measure="response.behind", value=none.behind)


def _neighbours(responses: list[Response], choice: Choice) -> Reason | None:
    best = choice.response
    others = sorted(
        (r for r in responses if (r.site, r.norm) == (best.site, best.norm) and r.strength != best.strength),
        key=lambda each: each.strength,
    )
    if not others or best.norm is None:
        return None
    listed = ", ".join(f"{number(r.loss)} at {number(r.strength)}" for r in others)
    text = f"With other strengths of {best.site} {best.norm.upper()} the held-out loss is {listed}."
    if choice.is_clear and choice.strength != best.strength:
        text += (
            f" The recommended {number(choice.strength)} is a mean of these strengths and {number(best.strength)}, in which the closer to "
            "the best loss the more a strength counts."
        )
    return Reason(text=text, measure="response.loss", value=best.loss)


def _effect(choice: Choice) -> Reason | None:
    """Return what the penalty is predicted to do to the weights and to the output's steadiness."""
    best = choice.response
    if best.site is Site.NONE or best.shrinkage is None:
        return None
    parts = [f"make the kernels' weights {best.shrinkage**0.5:.2g} times as large (root mean square)"]
    if best.zero_fraction is not None and best.site is Site.KERNEL and best.norm is not Norm.L2:
        parts.append(f"bring {best.zero_fraction:.0%} of them to about zero")
    if best.dropped_inputs:
        dropped = units(best.dropped_inputs, "input", _INPUTS)
        parts.append(f"drop {dropped} ({len(best.dropped_inputs):,} in all, counted from 0)")
    if best.sensitivity is not None:
        parts.append(f"make the output move {best.sensitivity:.2g} times as far when noise is added to the inputs")
    text = f"Compared with the same training without a penalty, {_name(best)} is predicted to {_listed(parts)}."
    return Reason(text=text, measure="response.shrinkage", value=best.shrinkage)


def _both(responses: list[Response], choice: Choice) -> Reason | None:
    """Return what L1 and L2 at once came to, where they were tried and are not recommended."""
    both = next((r for r in responses if is_elastic(r)), None)
    if both is None or is_elastic(choice.response) or choice.response.site is not Site.KERNEL:
        return None
    text = f"Tried at once, {_name(both)} reach a held-out loss of {number(both.loss)}: not clearly below the best of one alone."
    return Reason(text=text, measure="response.loss", value=both.loss)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _alternatives(audit: Audit, penalty: Used) -> tuple[Alternative, ...]:
    """Return the best of every other site and norm, with what it was predicted to cost."""
    found = []
    for site, norm in _ORDER:
        alike = [r for r in audit.responses if (r.site, r.norm) == (site, norm) and not r.layer]
        if not alike or (site, norm) == (penalty.site or Site.NONE, penalty.norm):
            continue
        nearest = min(alike, key=lambda each: (each.method == SCREENED, each.loss))
        first = " in the first, shorter trainings" if nearest.method == SCREENED else ""
        found_at = f"At {number(nearest.strength)}, its best strength, the" if norm else "The"
        text = (
            f"{found_at} held-out loss is {nearest.behind:.3g} above that of the best penalty{first} (standard error "
            f"{nearest.behind_se:.2g})."
        )
        if not nearest.behind and not first:
            how = "not clearly" if nearest.gain > 0 else "no"
            text = f"The best that was tried, but predicted to be {how} better than the model as it is."
        found.append(Alternative(site=site, norm=norm, why_not=text))
    return tuple(found)


def _apply(penalty: Used, action: Action) -> dict[str, str]:
    if action is Action.KEEP and penalty.strength is None:
        return {}  # what is in use stays as it is
    site, norm, strength = penalty.site or Site.NONE, penalty.norm, penalty.strength or 0.0
    parts = site, norm, strength, penalty.strength_l2
    return {"keras": keras_lines(*parts), "pytorch": torch_lines(*parts)}


def _next_step(audit: Audit, choice: Choice, action: Action) -> str:
    if audit.probe is None or not audit.probe.val:
        return "Give validation data with --val: then the gain is measured against the model as it is."
    if not choice.is_clear and audit.objective == "accuracy":
        if choice.response.gain <= 0:
            return TRIAL
        return f"Give more validation rows. Or: {TRIAL[0].lower()}{TRIAL[1:]}"
    if action is Action.NONE:
        return "Train with your own recipe without a penalty, and compare the validation loss."
    if choice.strength_l2 is not None:
        return "Train with your own recipe at half of both strengths, at both and at twice both, and keep the best on validation data."
    return f"Train with your own recipe at {number(choice.low)}, {number(choice.strength)} and {number(choice.high)}, and keep the best on validation data."
