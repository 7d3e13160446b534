"""The sentences of a recommendation: its rationale and the alternatives, each with the number it rests on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.effects.base import scale_text
from regaudit.penalties.units import Strength, canonical, timescale
from regaudit.recommend.words import counted, number, share
from regaudit.records import Action, Alternative, Norm, Reason, Site

if TYPE_CHECKING:
    from regaudit.effects.base import Subject
    from regaudit.recommend.model import Model
    from regaudit.recommend.plan import Plan

# Out of 30 small networks, each retrained under 37 penalties: how many had this as their best.
BEST_OF_30 = {(Site.KERNEL, Norm.L2): 14, (Site.KERNEL, Norm.L1): 7, (Site.ACTIVITY, None): 4, (Site.BIAS, None): 2}
NONE_BEST_OF_30 = 3
_EXAMPLES = (1_000, 100_000)  # training examples: a table that scikit-learn is used for, and a large one
_EXAMPLE_RATE = 1e-3  # AdamW's default
MOST_REASONS = 6  # a reader takes in no more
SPARSE_ENOUGH = 0.1  # of the weights exactly zero: size is then an argument for L1 (our choice)


def rationale(model: Model, plan: Plan) -> tuple[Reason, ...]:
    """Return why this plan, most telling first.

    Args:
        model: With effects seen.
        plan: What was decided.

    Returns:
        Three to six sentences with a number each; fewer where there is no kernel to speak of.
    """
    if not model.kernels:
        return (plan.because,)
    # What is kept or reduced stays on its layers; what is added goes on all kernels.
    kernels = model.kernels if plan.action is Action.ADD else model.penalised
    reasons = (
        plan.because,
        _not_finite(model),
        _also_declared(model, plan),
        _state(model),
        _strength(model, plan),
        _by_examples(model, plan),
        _spread(plan),
        _scale_free(kernels),
        _added_loss(kernels, plan),
    )
    return tuple(r for r in reasons if r)[:MOST_REASONS]


def alternatives(model: Model, plan: Plan) -> tuple[Alternative, ...]:
    """Return the penalties that were not recommended, and why not.

    Args:
        model: With effects seen.
        plan: What was decided.

    Returns:
        Every other site and norm that a user may think of.
    """
    all_of_them = (
        Alternative(site=Site.KERNEL, norm=Norm.L1, why_not=_why_not_l1(model)),
        Alternative(site=Site.KERNEL, norm=Norm.L2, why_not=_why_not_l2(plan)),
        Alternative(site=Site.BIAS, norm=Norm.L2, why_not=_why_not_bias(model)),
        Alternative(site=Site.ACTIVITY, norm=Norm.L2, why_not=_why_not_activity()),
        Alternative(site=Site.NONE, norm=None, why_not=_why_not_none()),
    )
    return tuple(a for a in all_of_them if (a.site, a.norm) != (plan.site, plan.norm))


def _state(model: Model) -> Reason:
    kernels = f"{counted(len(model.kernels), 'kernel')} with {model.size:,} weights could be penalised"
    zeros = share(model.zero_fraction, "weight", "exactly zero")
    if model.growth is None:
        text = f"{kernels}; {zeros}."
        return Reason(text=text, measure="kernel.zero_fraction", value=model.zero_fraction)
    text = (
        f"{kernels}; their scale is {scale_text(model.growth)} times the assumed initialisation (median), "
        f"{share(model.dead_fraction, 'unit', 'dead')} and {zeros}."
    )
    return Reason(text=text, measure="model.growth_median", value=model.growth)


def _not_finite(model: Model) -> Reason | None:
    count = sum(s.values.get("kernel.nonfinite_count", 0.0) for s in model.kernels)
    if not count:
        return None
    text = f"{counted(int(count), 'weight')} not finite: the run diverged or the file is damaged. Repair that first."
    return Reason(text=text, measure="kernel.nonfinite_count", value=count)


def _also_declared(model: Model, plan: Plan) -> Reason | None:
    """Return what to do with the other penalties in use, of which the plan says nothing."""
    others = model.in_use.others if model.in_use else ()
    if not others or plan.basis == "default" or plan.site is Site.NONE:
        return None
    first, more = others[0], len(others) - 1
    kind = first.kind.upper() if first.kind in {Norm.L1, Norm.L2} else first.kind.replace("_", " ")
    name = f"{kind} {number(first.value or 0.0)} on the {first.site}"
    text = f"Also declared: {name}{f' and {more} more' if more else ''}. Change one penalty at a time and leave these as they are."
    return Reason(text=text, measure="declared.others", value=float(len(others)))


def _strength(model: Model, plan: Plan) -> Reason | None:
    """Return where the strength comes from, where it is the recipe's: a kernel L2."""
    is_recipe = (plan.site, plan.norm, plan.strength) == (Site.KERNEL, Norm.L2, model.recipe.strength)
    if not is_recipe or plan.decay is not None:
        return None
    return Reason(text=model.recipe.why, measure="recipe", value=model.recipe.value)


def _by_examples(model: Model, plan: Plan) -> Reason | None:
    """Return what a declared number amounts to at some numbers of training examples, where λ depends on them."""
    if plan.strength is not None or not model.in_use or plan.site is Site.NONE:
        return None
    found = [canonical(model.in_use.entries[0], examples=examples) for examples in _EXAMPLES]
    values = [each.value for each in found if isinstance(each, Strength)]
    if len(values) < len(_EXAMPLES):
        return None
    listed = ", ".join(f"{number(v)} at N = {n:,}" for v, n in zip(values, _EXAMPLES, strict=True))
    recipe = model.recipe
    text = (
        f"In Keras' unit that is {listed}; {recipe.kind} usually takes {number(recipe.low)} to {number(recipe.high)}."
    )
    return Reason(text=text, measure="strength", value=values[0])


def _scale_free(kernels: tuple[Subject, ...]) -> Reason | None:
    count = sum(not s.has_own_scale for s in kernels)
    if not count:
        return None
    text = (
        f"A normalization follows {count} of the {counted(len(kernels), 'kernel')} that it acts on: there it sets the effective "
        "learning rate, not the capacity."
    )
    return Reason(text=text, measure="layers.followed_by", value=float(count))


def _added_loss(kernels: tuple[Subject, ...], plan: Plan) -> Reason | None:
    """Return what the penalty costs at these weights: a check that users can make against their own loss."""
    if plan.strength is None or plan.decay is not None or (plan.site, plan.norm) != (Site.KERNEL, Norm.L2):
        return None
    norms = [s.values.get("kernel.fro_norm", math.inf) for s in kernels]
    squared = sum(norm * norm for norm in norms)
    if not math.isfinite(squared):  # not measured, or beyond a float
        return None
    text = (
        f"At the present weights it adds {number(plan.strength * squared)} to the loss ({number(plan.strength)} x {number(squared)}): where that "
        "is far above your training loss, start at the low end."
    )
    return Reason(text=text, measure="kernel.squared_fro_norm", value=squared)


def _spread(plan: Plan) -> Reason | None:
    if plan.decay is not None:
        return _timescale(plan.decay)
    if not plan.low or not plan.high or plan.low == plan.high:
        return None
    factor = plan.high / plan.low
    text = (
        f"The range spans a factor of {factor:,.0f}, for the right strength falls as 1/N with the number of training examples, "
        "which weights do not show: with much clean data take the low end, or none."
    )
    return Reason(text=text, measure="strength_high/strength_low", value=factor)


def _timescale(decay: float) -> Reason:
    steps = timescale(_EXAMPLE_RATE, decay)
    text = (
        f"At learning rate {_EXAMPLE_RATE:g} it forgets over {steps:,.0f} steps: that should be more than an epoch and less than "
        "the whole training."
    )
    return Reason(text=text, measure="steps", value=steps)


def _why_not_l1(model: Model) -> str:
    best = BEST_OF_30[Site.KERNEL, Norm.L1], BEST_OF_30[Site.KERNEL, Norm.L2]
    if model.zero_fraction >= SPARSE_ENOUGH:
        seen = (
            f"{model.zero_fraction:.0%} of the weights are zero already; take it, with a proximal step, to stay sparse."
        )
    else:
        seen = "Take it where few inputs matter or a sparse model is the aim; the shape of the weights does not tell."
    return f"{seen} It was best in {best[0]} of 30 small networks, kernel L2 in {best[1]}."


def _why_not_l2(plan: Plan) -> str:
    if plan.action is Action.NONE:
        return "The weights show no room for a penalty; first train without one and look again."
    best = BEST_OF_30[Site.KERNEL, Norm.L2]
    return f"It was best in {best} of 30 small networks, but weights alone give no reason to change what is declared."


def _why_not_bias(model: Model) -> str:
    dominant = sum(e.effect == "bias-dominant" for e in model.audit.effects)
    seen = f"The bias dominates {counted(dominant, 'layer')}" if dominant else "No layer is dominated by its bias"
    return f"{seen}; it was best in {BEST_OF_30[Site.BIAS, None]} of 30 small networks, and only retraining showed it."


def _why_not_activity() -> str:
    return f"Weights do not show activities; it was best in {BEST_OF_30[Site.ACTIVITY, None]} of 30 small networks."


def _why_not_none() -> str:
    return (
        "Take none if your validation loss is as low as your training loss; it was best in "
        f"{NONE_BEST_OF_30} of 30 small networks, those with much clean data."
    )
