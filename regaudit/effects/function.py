"""activity-scale, inputs-unused and over-sensitive: what the whole model does to its inputs on the probe batch.

Seen only where the model was run. Activations that grow or shrink steadily from layer to layer (null: He et al. 2015, each
layer keeps the scale) show that nothing holds the scale of the kernels. Inputs to which the output does not respond are
what L1 on the first kernel leaves, and what inputs without information get under any decay. A model that follows noise
on its inputs further than its own outputs vary has had little of what L2 does (null: a linear model on independent inputs
has a noise sensitivity of 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.effects.base import Detector, View, scale_text
from regaudit.records import Effect, Evidence, Measurement, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

UNSTABLE = 1e3  # over all hidden layers together (our choice)
STEADY = 0.9  # rank correlation with depth: every layer adds to it (our choice)
SURE_OF_SCALE = 0.7  # branches are read as if in a row
UNUSED_ABOVE = 0.05  # of the inputs that vary (our choice)
SURE_OF_UNUSED = 0.5  # inputs without information are ignored rightly
SENSITIVE_ABOVE = 3.0  # times a linear model on independent inputs (our choice)
SURE_OF_SENSITIVE = 0.3  # inputs that move together raise it in a healthy model too


def _scale(model: View) -> Iterator[Effect]:
    growth, steady = model.model.get("model.activity_growth"), model.model.get("model.activity_depth_correlation")
    if growth is None or steady is None or abs(steady.value) < STEADY or 1 / UNSTABLE < growth.value < UNSTABLE:
        return
    way = "grow" if growth.value > 1 else "shrink"
    yield _effect(
        model,
        "activity-scale",
        SURE_OF_SCALE,
        Site.ACTIVITY,
        f"Activations {way} by a factor of {scale_text(growth.value)} {growth.detail}, layer by layer.",
        Evidence(measure=growth.measure, value=growth.value, expected=1.0, text="fitted growth over depth"),
        Evidence(measure=growth.measure, value=growth.value, text="branches are read as if they were in a row"),
    )


def _unused(model: View) -> Iterator[Effect]:
    found = model.model.get("input.ignored_fraction")
    if found is None or found.value < UNUSED_ABOVE:
        return
    which = f" ({found.detail})" if found.detail else ""
    yield _effect(
        model,
        "inputs-unused",
        SURE_OF_UNUSED,
        Site.KERNEL,
        f"The output all but ignores {found.value:.0%} of the inputs that vary{which}.",
        Evidence(
            measure=found.measure, value=found.value, expected=0.0, text="inputs below 1% of the usual sensitivity"
        ),
        Evidence(measure=found.measure, value=found.value, text="inputs without information are ignored rightly"),
    )


def _sensitive(model: View) -> Iterator[Effect]:
    found = model.model.get("model.noise_sensitivity")
    if found is None or _lower_end(found) < SENSITIVE_ABOVE:
        return
    yield _effect(
        model,
        "over-sensitive",
        SURE_OF_SENSITIVE,
        Site.KERNEL,
        f"Noise on the inputs moves the output {found.value:.3g} times as far as it would move a linear model with outputs "
        "of the same spread.",
        Evidence(
            measure=found.measure,
            value=found.value,
            expected=1.0,
            text="response to noise of 10% of the inputs' spread",
        ),
        Evidence(measure=found.measure, value=found.value, text="inputs that move together raise it in any model"),
    )


def _lower_end(found: Measurement) -> float:
    """Return the lower end of the 95% interval where the number is an estimate."""
    return found.value - 2 * (found.se or 0.0) if found.low is None else found.low


def _effect(
    model: View, name: str, confidence: float, target: Site, text: str, evidence: Evidence, against: Evidence
) -> Effect:
    return Effect(
        layer="",
        target=target,
        effect=name,
        confidence=round(confidence * model.trust, 3),
        text=text,
        evidence=(evidence,),
        against=(against,),
    )


ACTIVITY_SCALE = Detector(
    effect="activity-scale",
    target=Site.ACTIVITY,
    summary="Activations grow or shrink from layer to layer.",
    see=_scale,
)
INPUTS_UNUSED = Detector(
    effect="inputs-unused",
    target=Site.KERNEL,
    summary="The output does not respond to some inputs.",
    see=_unused,
)
OVER_SENSITIVE = Detector(
    effect="over-sensitive",
    target=Site.KERNEL,
    summary="The output follows noise on the inputs further than it should.",
    see=_sensitive,
)
