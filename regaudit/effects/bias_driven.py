"""bias-driven: on the probe batch the bias, not the input, decides on which side of zero most units are.

Seen only where the model was run. Evidence: `bias.decided_fraction`, the share of units with |E z| > 3·sd(z) that have it
from their bias; null 0. Left out are layers whose bias a normalization removes, attention keys (softmax does not see
theirs) and outputs, whose biases carry the classes' priors or the targets' mean.
"""

from __future__ import annotations

import math

from regaudit.effects.base import Detector, Subject, on_batch
from regaudit.effects.bias import FREE_PARTS, LEAST_UNITS
from regaudit.effects.null import surety
from regaudit.records import Effect, Evidence, Site

DRIVEN_ABOVE = 0.5  # of the units (our choice; in healthy small nets at most a third, where no kernel has shrunk)
SURE = 0.8


def _see(subject: Subject) -> Effect | None:
    share, layer = subject.values.get("bias.decided_fraction"), subject.audit.layer
    if share is None or share < DRIVEN_ABOVE or subject.outputs < LEAST_UNITS or not subject.has_own_scale:
        return None
    if layer.is_output or layer.part in FREE_PARTS:
        return None
    part = subject.values.get("bias.share")
    makes = "" if part is None else f" The bias makes {part:.0%} of the pre-activation."
    return subject.effect(
        "bias-driven",
        SURE * surety(share, math.sqrt(share * (1 - share) / subject.outputs) + 1 / subject.outputs),
        f"{share:.0%} of the units stay on one side of zero for their bias, whatever the input: the layer is all but "
        f"linear.{makes}",
        target=Site.BIAS,
        evidence=(
            Evidence(
                measure="bias.decided_fraction",
                value=share,
                expected=0.0,
                text="share of units that their bias keeps three standard deviations from zero",
            ),
        ),
        against=(
            Evidence(
                measure="bias.decided_fraction",
                value=share,
                text="a kernel penalty that shrinks the weights and leaves the biases does this, and may do good",
            ),
        ),
    )


BIAS_DRIVEN = Detector(
    effect="bias-driven",
    target=Site.BIAS,
    summary="On the batch the bias decides what most units give.",
    see=on_batch(_see),
)
