"""declared-…: what the file says was penalised, against what the weights show.

- declared-agrees: the effect that the penalty should have is visible;
- declared-not-visible: the opposite is visible, and the penalty is strong enough that it should show;
- declared-acts-on-learning-rate: a normalization cancels the scale of every kernel that it acts on;
- declared-cannot-tell: the weights fit both readings, or cannot show the effect at all (activity).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from regaudit.effects.base import scale_text
from regaudit.effects.null import HALF_SURE, INITIALISATION_DOUBT, surety
from regaudit.effects.scale import GROWN_ABOVE
from regaudit.penalties.units import NORM_OF_KIND, Strength, canonical, distinct
from regaudit.records import Declared, Effect, Evidence, Norm, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.effects.base import Subject, View

# A weaker penalty may act and not show (our choice): λ = 1e-3 with SGD at learning rate 0.01 forgets in 50,000 steps,
# AdamW's 0.1 at learning rate 1e-3 in 10,000.
SHOWS_FROM = 1e-3
SHOWS_FROM_DECOUPLED = 0.1
CONTRAST = 0.5  # of the median growth of the kernels that are not penalised: no initialisation needs to be assumed then
SURE_OF_CONTRAST = 0.6  # layers differ in scale for other reasons as well
SURE_OF_GRAPH = 0.9
SURE_OF_SPARSITY = 0.8
SURE_OF_EXPOSURE = 0.8  # the initialisation may be assumed
INERT = 0.05  # an exposure below shrinks nothing by more than 5%
SURE_OF_BIAS = 0.3  # biases that start at zero are small without a penalty
CANNOT_TELL = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a declared penalty and the weights fit: the last word of the effect's name, and why."""

    verdict: str
    confidence: float
    text: str
    evidence: tuple[Evidence, ...] = ()


def compare(model: View) -> Iterator[Effect]:
    """Yield one effect for each declared L1, L2 or weight decay that is not zero."""
    entries = [e for e in distinct(model.declared) if e.kind in NORM_OF_KIND and 0 < (e.value or 0.0) < math.inf]
    free = _unpenalised_growth(model, entries)
    for entry in entries:
        yield _compared(model, entry, free)


def _compared(model: View, entry: Declared, free: float | None) -> Effect:
    target = _target(entry)
    subjects = model.acted_on(entry)
    match target:
        case Site.KERNEL:
            reading = _read_kernel(model, entry, subjects, free)
        case Site.BIAS:
            reading = _read_bias(model, subjects)
        case _:
            reading = _unknown(f"weights alone do not show the {entry.site} of a layer")
    number = _number(entry)
    return Effect(
        layer=subjects[0].name if len(subjects) == 1 else "",
        target=target,
        effect=f"declared-{reading.verdict}",
        confidence=round(reading.confidence, 3),
        text=f"Declared {_name(entry)} on {entry.target or 'the whole model'}: {reading.text}.",
        evidence=(number, *reading.evidence),
    )


def _name(entry: Declared) -> str:
    kind = entry.kind.upper() if entry.kind in {"l1", "l2"} else entry.kind.replace("_", " ")
    site = "" if entry.site == "parameters" else f"{entry.site} "
    return f"{site}{kind} {entry.value:g}"


def _target(entry: Declared) -> Site:
    """Return what the penalty acts on; normalization scales have no site of their own and stay `none`."""
    if entry.site in {"bias", "activity"}:
        return Site(entry.site)
    return Site.NONE if entry.site in {"scale", "offset", "inputs", "loss"} else Site.KERNEL


def _number(entry: Declared) -> Evidence:
    strength = canonical(entry)
    if isinstance(strength, Strength):
        text = f"{entry.where}, in Keras' unit"
        return Evidence(measure=f"declared.{strength.norm}", value=strength.value, text=text)
    return Evidence(measure="declared.weight_decay", value=entry.value or 0.0, text=f"{entry.where}. {strength.reason}")


def _read_kernel(model: View, entry: Declared, subjects: tuple[Subject, ...], free: float | None) -> Reading:
    kernels = [s for s in subjects if s.has_own_kernel and s.values.get("kernel.growth")]
    scaled = [s for s in kernels if s.has_own_scale]
    if not kernels:
        return _unknown("no kernel that it acts on could be measured")
    if exposed := _read_exposure(kernels):
        return exposed
    if not scaled:
        text = "a normalization follows, so it acts on the effective learning rate and not on the function"
        return Reading(verdict="acts-on-learning-rate", confidence=SURE_OF_GRAPH, text=text)
    if NORM_OF_KIND[entry.kind] is Norm.L1:
        sparse = _read_sparsity(model, scaled)
        if sparse:
            return sparse
    return _read_growth(entry, scaled, free)


def _read_exposure(kernels: list[Subject]) -> Reading | None:
    """Return that decay shows where weights without a gradient shrank, however much the others grew."""
    found = [m for s in kernels for m in s.audit.measurements if m.measure == "kernel.decay_exposure"]
    largest = max(found, key=lambda each: each.value, default=None)
    if largest is None or (largest.low or 0.0) <= INERT:
        return None
    text = (
        f"it shows, weights of {largest.layer} that had no gradient shrank to {math.exp(-largest.value):.3g} of their initial "
        "scale"
    )
    evidence = Evidence(
        measure=largest.measure, value=largest.value, expected=0.0, text="-ln of their scale over the initial one"
    )
    return Reading(verdict="agrees", confidence=SURE_OF_EXPOSURE, text=text, evidence=(evidence,))


def _read_sparsity(model: View, kernels: list[Subject]) -> Reading | None:
    """Return that L1 shows where at least half of the kernels are sparse or nearly so."""
    names = {s.name for s in kernels}
    found = {e.layer for e in model.effects if e.effect in {"sparse", "nearly-sparse"} and e.layer in names}
    if 2 * len(found) < len(names):
        return None
    near = median([s.values.get("kernel.near_zero_fraction", 0.0) for s in kernels])
    text = f"it shows, {near:.1%} of the weights are zero or tiny"
    evidence = Evidence(measure="kernel.near_zero_fraction", value=near, text="median over the kernels that it acts on")
    return Reading(verdict="agrees", confidence=SURE_OF_SPARSITY, text=text, evidence=(evidence,))


def _read_growth(entry: Declared, kernels: list[Subject], free: float | None) -> Reading:
    growth = median([s.values["kernel.growth"] for s in kernels])
    evidence = Evidence(
        measure="kernel.growth", value=growth, expected=1.0, text="median over the kernels that it acts on"
    )
    sure = surety(math.log(growth), INITIALISATION_DOUBT)
    if math.log(growth) < -HALF_SURE * INITIALISATION_DOUBT:
        text = f"it shows, the weights have {scale_text(growth)} of their initial scale"
        return Reading(verdict="agrees", confidence=sure, text=text, evidence=(evidence,))
    if free and growth < CONTRAST * free:
        text = (
            f"it shows, the weights have {scale_text(growth)} times their initial scale, those that are not penalised "
            f"{scale_text(free)} times"
        )
        return Reading(verdict="agrees", confidence=SURE_OF_CONTRAST, text=text, evidence=(evidence,))
    if growth > GROWN_ABOVE and _should_show(entry):
        text = f"it does not show, the weights grew to {scale_text(growth)} times their initial scale"
        return Reading(verdict="not-visible", confidence=sure, text=text, evidence=(evidence,))
    text = f"the weights have {scale_text(growth)} times their initial scale, which fits with and without it"
    return _unknown(text, (evidence,))


def _read_bias(model: View, subjects: tuple[Subject, ...]) -> Reading:
    names = {s.name for s in subjects}
    seen = {e.effect for e in model.effects if e.target is Site.BIAS and e.layer in names}
    if "bias-dominant" in seen:
        return Reading(
            verdict="not-visible", confidence=SURE_OF_BIAS, text="it does not show, biases outweigh the kernel"
        )
    if "bias-near-origin" in seen:
        return Reading(verdict="agrees", confidence=SURE_OF_BIAS, text="it fits, the biases are close to zero")
    return _unknown("the biases fit both with and without it")


def _unknown(text: str, evidence: tuple[Evidence, ...] = ()) -> Reading:
    return Reading(verdict="cannot-tell", confidence=CANNOT_TELL, text=text, evidence=evidence)


def _should_show(entry: Declared) -> bool:
    strength = canonical(entry)
    if isinstance(strength, Strength):
        return strength.value >= SHOWS_FROM
    return (entry.value or 0.0) >= SHOWS_FROM_DECOUPLED


def _unpenalised_growth(model: View, entries: list[Declared]) -> float | None:
    """Return the median growth of the kernels that no declared penalty acts on, where there are some."""
    touched = {s.name for entry in entries if _target(entry) is Site.KERNEL for s in model.acted_on(entry)}
    free = [
        s.values["kernel.growth"]
        for s in model.subjects
        if s.name not in touched and s.has_own_scale and s.values.get("kernel.growth")
    ]
    return median(free) if free else None
