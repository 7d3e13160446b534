"""Rung: weights that had no gradient, `kernel.decay_exposure`, and inputs that vanished, `kernel.vanished_in_count`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.effects.rungs import Evidence, Rung, RungVerdict
from regaudit.records import Exposure, Measurement, Norm, Site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.effects.base import Subject

# An exposure below shrinks by less than 5% and is none; "no decay" needs an interval that ends below, "decay" one that
# begins above it (our choice).
NONE_BELOW = 0.05
SURE_OF_DECAY = 0.9  # the shape, the common scale and the initialisation agree
SURE_OF_DECAY_IF_ASSUMED = 0.75  # the initialisation is the framework's default, not declared
SURE_OF_NO_DECAY = 0.8  # other penalties leave these weights alone, but are rarer
SURE_OF_VANISHED = 0.7
# Of the other weights tiny: L1. Small networks with coupled L2 had up to 0.024, where an input is on only while the unit
# is off, with L1 0.13 and more.
MANY_SMALL = 0.06
GOES_ON = (
    3e-6  # of the others' norm: small networks with L1 stopped at 6e-5 and above, with coupled L2 at 8e-8 and below
)


def exposure(evidence: Evidence) -> RungVerdict | None:
    """Return decay, or none, as the weights without a gradient show it.

    Where layers differ the largest decides, for decay may leave layers out.
    """
    found = _exposures(evidence, "kernel.decay_exposure")
    decayed = [each for each in found if (each.low or 0.0) > NONE_BELOW]
    if decayed:
        return _decay(decayed, Site.KERNEL)
    biases = [each for each in _exposures(evidence, "bias.decay_exposure") if (each.low or 0.0) > NONE_BELOW]
    if biases:
        return _decay(biases, Site.BIAS)
    if not found or any((each.high or 0.0) >= NONE_BELOW for each in found):
        return None
    most = max(found, key=lambda each: each.high or 0.0)
    text = (
        f"Weights of {most.layer} that had no gradient still have their initial scale: exposure {most.value:.2g}, at most "
        f"{most.high:.2g} ({most.detail}). No decay or L1 acted on kernels."
    )
    return RungVerdict(
        site=Site.NONE,
        norm=None,
        confidence=SURE_OF_NO_DECAY,
        basis="weights",
        rationale=(text,),
        exposure=_record([most]),
    )


def _decay(decayed: list[Measurement], site: Site) -> RungVerdict:
    largest = max(decayed, key=lambda each: each.value)
    is_assumed = "assumes" in largest.detail
    text = (
        f"Weights of {largest.layer} that had no gradient shrank to {_percent(largest.value)} of their initial scale: exposure "
        f"wd·Ση = {largest.value:.3g} ({largest.low:.3g} to {largest.high:.3g}; {largest.detail})."
    )
    kept = (
        "They kept the shape of their initialisation, as under AdamW's decay or SGD; L2 in the gradient of Adam, or L1, "
        "would have lost it."
    )
    return RungVerdict(
        site=site,
        norm=Norm.L2,
        confidence=SURE_OF_DECAY_IF_ASSUMED if is_assumed else SURE_OF_DECAY,
        basis="weights",
        rationale=(text, kept),
        exposure=_record([each for each in decayed if _overlap(each, largest)]),
        coupling="decoupled",
    )


def _percent(value: float) -> str:
    return f"{100 * math.exp(-value):.3g}%"


def _exposures(evidence: Evidence, measure: str) -> list[Measurement]:
    layers = evidence.audit.layers
    return [m for each in layers for m in each.measurements if m.measure == measure and m.low is not None]


def _overlap(a: Measurement, b: Measurement) -> bool:
    return (a.low or 0.0) <= (b.high or 0.0) and (b.low or 0.0) <= (a.high or 0.0)


def _record(found: Iterable[Measurement]) -> Exposure:
    """Return one exposure for layers that agree: the narrowest interval."""
    each = sorted(found, key=lambda m: (m.high or 0.0) - (m.low or 0.0))
    best = each[0]
    names = tuple(m.layer for m in each)
    return Exposure(value=best.value, low=best.low or 0.0, high=best.high or 0.0, layers=names)


def vanished(evidence: Evidence) -> RungVerdict | None:
    """Return coupled L2, or L1 where many other weights are tiny too."""
    found = [s for s in evidence.view.subjects if s.has_own_kernel and s.values.get("kernel.vanished_in_count")]
    if not found:
        return None
    most = max(found, key=lambda s: s.values["kernel.vanished_in_count"])
    count = most.values["kernel.vanished_in_count"]
    others = _small_elsewhere(most)
    is_l1 = others > MANY_SMALL
    if not is_l1 and most.values.get("kernel.vanished_scale", 1.0) > GOES_ON:
        return None  # still on the way to zero, or held up by the steps of L1
    seen = (
        f"{count:.0f} of {most.inputs:,} inputs of {most.name} have weights below a thousandth of the others', not exactly zero, "
        "and no longer distributed as initial ones"
    )
    if is_l1:
        text = f"{seen}; {others:.1%} of the other weights are tiny as well: kernel L1."
    else:
        text = f"{seen}, while the others are not small: L2 in the gradient of Adam (coupled), not AdamW's decay."
    return RungVerdict(
        site=Site.KERNEL,
        norm=Norm.L1 if is_l1 else Norm.L2,
        confidence=SURE_OF_VANISHED,
        basis="weights",
        rationale=(text,),
        coupling="" if is_l1 else "coupled",
    )


def _small_elsewhere(subject: Subject) -> float:
    """Return the share of tiny weights outside ignored inputs and dead units."""
    dead, ignored = (subject.values.get(f"kernel.{each}_fraction", 0.0) for each in ("dead_out", "ignored_in"))
    covered = 1 - (1 - dead) * (1 - ignored)
    small = subject.values.get("kernel.near_zero_fraction", 0.0)
    return max(0.0, (small - covered) / (1 - covered)) if covered < 1 else 0.0


EXPOSURE = Rung(
    name="dosimeters",
    conditions=(
        "Any optimizer. Needs weights that never had a gradient (constant inputs, unused tokens, units dead from the start) and "
        "their initialisation, inferred or given with --init."
    ),
    see=exposure,
)
VANISHED = Rung(
    name="vanished inputs",
    conditions="Adam-like optimizers for L2, any for L1. Exact zeros do not count, for masks and pruning leave them.",
    see=vanished,
)
