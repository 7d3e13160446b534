"""The decision at the level of weights: keep, reduce or leave out what is declared, or add the field's default.

Weights cannot show overfitting, so what decides is the file's own declaration, plain signs of collapse, and else the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.effects.base import scale_text
from regaudit.penalties.units import NORM_OF_KIND, UNITS
from regaudit.recommend.words import counted, number
from regaudit.records import Action, Norm, Reason, Site

if TYPE_CHECKING:
    from regaudit.recommend.in_use import InUse
    from regaudit.recommend.model import Model

# Signs of collapse: over one unit in five dead, half of the weights in all-zero kernels, or kernels at a quarter of their
# initial scale under a penalty above the default (our choices). A low rank is none: of 4 small networks under their best
# kernel L2 2 had one, and no dead unit.
DEAD_ABOVE = 0.2
MOSTLY_ZERO = 0.5
SHRUNK_TO = 0.25
# A kernel below half its initial scale, without a sign of collapse, was held by a penalty or a schedule: of 30 small networks
# three were so, and the default made each of them worse than it was.
HELD_BELOW = 0.5
SURE_AFTER_COLLAPSE = 0.25  # of the default, where an unknown penalty or pruning left its marks
REDUCE_BY = 10  # divides the declared strength; a tenth and three tenths of it were measured, and zero
REDUCE_HIGH = 0.3
FACTOR_OF_DOUBT = 10  # each way, for the penalties that have no range of practice

SURE_OF_NONE = 0.5
SURE_OF_REDUCE = 0.5
SURE_OF_KEEP = 0.3  # weights neither speak against what is in use nor for it
SURE_OF_ADAPTERS = 0.3
SURE_OF_ADD = 0.25  # more than someone declared, because practice takes more
SURE_OF_NOTHING = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to train with next, and why; strengths in Keras' unit.

    `decay` is AdamW's weight_decay where that is what to apply.
    """

    action: Action
    site: Site
    norm: Norm | None
    strength: float | None
    low: float | None
    high: float | None
    basis: str
    confidence: float
    because: Reason
    decay: float | None = None


def decide(model: Model) -> Plan:
    """Return the plan that the weights and the file's declarations allow.

    Args:
        model: With effects and the penalty in use.

    Returns:
        The first that applies of: nothing to penalise, all zero, what is declared (less of it after a collapse), the default.
    """
    if not model.kernels:
        return _nothing_to_penalise(model)
    if _zero_share(model) >= MOSTLY_ZERO:
        return _all_zero(model)
    collapse = _collapse(model)
    used = model.in_use
    if not used:
        held = None if collapse else _held(model)
        return _kept(held) if held else _default(model, collapse)
    if used.strength is None and not used.is_decay:
        return _without_lambda(used, collapse)
    if collapse and used.site is Site.KERNEL and used.strength is not None:
        return _reduced(used, used.strength, collapse)
    return _relative_to(model, used)


def _nothing_to_penalise(model: Model) -> Plan:
    if model.adapters:
        text = (
            f"The file holds {counted(model.adapters, 'low-rank update')}: the rank already bounds the product, and adapters are "
            "trained without decay by default."
        )
        reason = Reason(text=text, measure="layers.adapters", value=float(model.adapters))
        return _no_penalty("default", SURE_OF_ADAPTERS, reason)
    lost = sum(skip.blocking for skip in model.audit.coverage.skipped)
    if lost:
        text = (
            f"{counted(lost, 'tensor')} could not be measured and no kernel was: nothing can be recommended. Audit the model "
            "before it was quantised, merged or converted."
        )
        return _no_penalty(
            "default", SURE_OF_NOTHING, Reason(text=text, measure="coverage.blocking", value=float(lost))
        )
    read = len(model.view.subjects)
    text = f"No kernel that a penalty may act on: {counted(read, 'layer')} read, none of them dense, convolutional or recurrent."
    return _no_penalty("default", SURE_OF_NOTHING, Reason(text=text, measure="layers", value=float(read)))


def _zero_share(model: Model) -> float:
    return sum(s.size for s in model.kernels if s.values.get("kernel.zero_fraction") == 1.0) / model.size


def _all_zero(model: Model) -> Plan:
    share = _zero_share(model)
    text = f"{share:.0%} of the weights lie in kernels that are all zero: there is nothing that a penalty could hold."
    return _no_penalty("weights", SURE_OF_NONE, Reason(text=text, measure="kernel.zero_fraction", value=share))


def _collapse(model: Model) -> Reason | None:
    """Return the plain sign that the model was held too tightly, if there is one."""
    if model.dead_fraction > DEAD_ABOVE:
        text = f"{model.dead_fraction:.0%} of the units have no weights: the model lost capacity that it was given."
        return Reason(text=text, measure="kernel.dead_out_fraction", value=model.dead_fraction)
    return _overshrunk(model)


def _overshrunk(model: Model) -> Reason | None:
    used, growth = model.in_use, model.growth
    if not used or used.strength is None or growth is None or used.site is not Site.KERNEL:
        return None
    if growth >= SHRUNK_TO or used.strength <= model.recipe.strength:
        return None
    text = (
        f"The weights have {scale_text(growth)} of their initial scale under a declared strength of {number(used.strength)}, above the "
        f"{number(model.recipe.strength)} that {model.recipe.kind} usually takes."
    )
    return Reason(text=text, measure="model.growth_median", value=growth)


def _held(model: Model) -> Reason | None:
    """Return the sign that a penalty which the file does not name holds the weights already, if there is one."""
    growths = [s.values["kernel.growth"] for s in model.kernels if s.has_own_scale and "kernel.growth" in s.values]
    if not growths or min(growths) >= HELD_BELOW or max(growths) < SHRUNK_TO:
        return None
    text = (
        f"A kernel has {scale_text(min(growths))} of its initial scale: something holds it already, though the file declares no "
        "penalty. Keep what you trained with; without labels nothing says that more would help."
    )
    return Reason(text=text, measure="kernel.growth", value=min(growths))


def _kept(because: Reason) -> Plan:
    return Plan(
        action=Action.KEEP,
        site=Site.KERNEL,
        norm=Norm.L2,
        strength=None,
        low=None,
        high=None,
        basis="weights",
        confidence=SURE_OF_KEEP,
        because=because,
    )


def _reduced(used: InUse, strength: float, because: Reason) -> Plan:
    return Plan(
        action=Action.REDUCE,
        site=used.site,
        norm=used.norm,
        strength=strength / REDUCE_BY,
        low=0.0,
        high=REDUCE_HIGH * strength,
        basis="weights",
        confidence=SURE_OF_REDUCE,
        because=because,
    )


def _relative_to(model: Model, used: InUse) -> Plan:
    # What is declared stays where practice allows it, and else comes to the default.
    if used.strength is None:
        return _keep_decay(model, used)
    recipe = model.recipe
    name = f"{used.site} {used.norm.upper()} {number(used.strength)} in Keras' unit on {_scope(model)} ({used.entries[0].where})"
    if used.site is not Site.KERNEL or used.norm is not Norm.L2 or recipe.low <= used.strength <= recipe.high:
        text = f"The file declares {name}, and nothing in the weights speaks against it."
        return _declared(model, used, Action.KEEP, used.strength, SURE_OF_KEEP, text)
    if not any(s.has_own_scale for s in model.penalised):
        text = f"The file declares {name}, where normalizations follow: it sets the learning rate, and needs no other strength."
        return _declared(model, used, Action.KEEP, used.strength, SURE_OF_KEEP, text)
    text = f"The file declares {name}; {recipe.kind} usually takes {number(recipe.low)} to {number(recipe.high)}."
    if used.strength > recipe.high:
        return _declared(model, used, Action.REDUCE, recipe.strength, recipe.confidence, text)
    return _declared(model, used, Action.ADD, recipe.strength, min(recipe.confidence, SURE_OF_ADD), text)


def _scope(model: Model) -> str:
    """Return how many of the kernels the penalty in use acts on, in words."""
    return f"{len(model.penalised)} of {counted(len(model.kernels), 'layer')}"


def _declared(model: Model, used: InUse, action: Action, strength: float, confidence: float, text: str) -> Plan:
    same_range = used.site is Site.KERNEL and used.norm is Norm.L2
    return Plan(
        action=action,
        site=used.site,
        norm=used.norm,
        strength=strength,
        low=min(model.recipe.low, strength) if same_range else strength / FACTOR_OF_DOUBT,
        high=max(model.recipe.high, strength) if same_range else strength * FACTOR_OF_DOUBT,
        basis="declared",
        confidence=confidence,
        because=Reason(text=text, measure=f"declared.{used.norm}", value=used.strength),
    )


def _keep_decay(model: Model, used: InUse) -> Plan:
    text = (
        f"The file declares weight_decay {used.number:g} ({used.entries[0].where}). {used.no_strength} Keep it as it is; the "
        f"strength {number(model.recipe.strength)} is for an L2 term in the loss instead."
    )
    return Plan(
        action=Action.KEEP,
        site=Site.KERNEL,
        norm=Norm.L2,
        strength=model.recipe.strength,
        low=model.recipe.low,
        high=model.recipe.high,
        basis="declared",
        confidence=SURE_OF_KEEP,
        because=Reason(text=text, measure="declared.weight_decay", value=used.number),
        decay=used.number,
    )


def _without_lambda(used: InUse, collapse: Reason | None) -> Plan:
    # A number such as scikit-learn's alpha or C stays in its own unit: its λ needs what the file does not hold.
    entry = used.entries[0]
    text = f"The file declares {used.site} {used.norm.upper()} {number(used.number)} ({entry.where}), whose λ is not known. {used.no_strength}"
    if collapse:
        is_inverse = entry.unit in UNITS and UNITS[entry.unit].inverse
        text = (
            f"{collapse.text} {text} Take {'ten times' if is_inverse else 'a tenth of'} this number: a weaker penalty."
        )
    else:
        text += " Keep it as it is: nothing in the weights speaks against it."
    return Plan(
        action=Action.REDUCE if collapse else Action.KEEP,
        site=used.site,
        norm=used.norm,
        strength=None,
        low=None,
        high=None,
        basis="weights" if collapse else "declared",
        confidence=SURE_OF_REDUCE if collapse else SURE_OF_KEEP,
        because=Reason(text=text, measure=f"declared.{used.norm}", value=used.number),
    )


def _default(model: Model, collapse: Reason | None) -> Plan:
    recipe = model.recipe
    is_open = any(e.kind in NORM_OF_KIND and e.value is None for e in model.audit.declared)
    known = "no penalty whose strength could be read" if is_open else "no penalty"
    text = f"The file declares {known}, and weights alone cannot show overfitting: this is the field's default."
    because = Reason(text=text, measure="declared.penalties", value=0.0)
    if collapse:
        text = f"{collapse.text} The file declares no penalty that did this; in its place take the field's default."
        because = Reason(text=text, measure=collapse.measure, value=collapse.value)
    found = model.audit.detected
    if found and found.norm is Norm.L1:
        because = Reason(text=_after_l1(model, collapse), measure="kernel.zero_fraction", value=model.zero_fraction)
    return Plan(
        action=Action.ADD,
        site=Site.KERNEL,
        norm=Norm.L2,
        strength=recipe.strength,
        low=recipe.low,
        high=recipe.high,
        basis="default",
        confidence=min(recipe.confidence, SURE_AFTER_COLLAPSE) if collapse else recipe.confidence,
        because=because,
    )


def _after_l1(model: Model, collapse: Reason | None) -> str:
    """Return what to do about zeros that L1 or pruning left, where nothing says which or how strong."""
    weaker = f", but weaker ({model.dead_fraction:.0%} of the units have no weights left)" if collapse else ""
    return (
        f"{model.zero_fraction:.0%} of the weights are exactly zero, as kernel L1 or pruning leave them; which one, and how "
        f"strong, weights do not tell. For a sparse model train with the L1 that you used{weaker}; for accuracy the field's "
        "default follows."
    )


def _no_penalty(basis: str, confidence: float, because: Reason) -> Plan:
    return Plan(
        action=Action.NONE,
        site=Site.NONE,
        norm=None,
        strength=None,
        low=None,
        high=None,
        basis=basis,
        confidence=confidence,
        because=because,
    )
