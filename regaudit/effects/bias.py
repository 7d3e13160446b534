"""bias-near-origin and bias-dominant: the bias against the layer's own pre-activation scale, |b_j| / ‖w_j‖.

For inputs of unit variance ‖w_j‖ is the standard deviation of Wx at unit j. Null of the first: PyTorch's initial bias,
uniform within ±1/√n with weights of norm √(1/3), gives a median of (√3/2)/√n. Biases that carry no information are left
out: before a normalization and at attention keys their gradient is zero; at the output they hold the classes' priors.
"""

from __future__ import annotations

import math

from regaudit.effects.base import Detector, Subject, each_layer
from regaudit.effects.null import looks_random, surety
from regaudit.records import Effect, Evidence, Site, Use

NEAR_ORIGIN_SHARE = 0.2  # of PyTorch's initial median (our choice: five times closer)
DOMINANT_SHARE = 0.2  # of the units with |b_j| > 3‖w_j‖ (our choice; one unit of five gives a constant)
# A bias initialised at zero (Keras, most transformers) that hardly moved looks the same.
SURE_OF_NEAR_ORIGIN = 0.4
SURE_OF_DOMINANT = 0.7  # inputs of large scale would make the share harmless
LEAST_UNITS = 8

# Softmax does not see the bias of the keys; that of the time steps of a state-space layer holds their scale.
FREE_PARTS = frozenset({"key", "time step"})


def _speaks(subject: Subject) -> bool:
    layer = subject.audit.layer
    bias = layer.get(Use.BIAS)
    return (
        subject.has_own_scale
        and bias is not None
        and bias.size >= LEAST_UNITS
        and not layer.is_output
        and layer.part not in FREE_PARTS
    )


def _near_origin(subject: Subject) -> Effect | None:
    median = subject.values.get("bias.to_kernel_median")
    if not _speaks(subject) or median is None or subject.values.get("bias.zero_fraction", 0.0) == 1.0:
        return None
    expected = math.sqrt(0.75 / max(subject.fan_in, 1))
    # A kernel that grew makes the ratio small without anything pulling the bias.
    pulled = median * max(1.0, subject.values.get("kernel.growth", 1.0))
    if pulled >= NEAR_ORIGIN_SHARE * expected or looks_random(subject):
        return None
    return subject.effect(
        "bias-near-origin",
        SURE_OF_NEAR_ORIGIN * surety(expected - median, expected / math.sqrt(subject.outputs)),
        f"The median bias is {median:.2g} of the pre-activation's scale: the layer passes close to the origin.",
        target=Site.BIAS,
        evidence=(
            Evidence(
                measure="bias.to_kernel_median",
                value=median,
                expected=expected,
                text="median |b| / ‖w‖; expected of PyTorch's initial bias",
            ),
        ),
        against=(
            Evidence(
                measure="bias.to_kernel_median",
                value=median,
                text="a bias that starts at zero and was never needed looks the same",
            ),
        ),
    )


def _dominant(subject: Subject) -> Effect | None:
    share = subject.values.get("bias.dominant_fraction")
    if not _speaks(subject) or share is None or subject.values.get("kernel.zero_fraction") == 1.0:
        return None
    if share - subject.values.get("kernel.dead_out_fraction", 0.0) <= DOMINANT_SHARE:
        return None  # any bias outweighs a unit without weights
    largest = subject.values.get("bias.to_kernel_max", 3.0)
    return subject.effect(
        "bias-dominant",
        SURE_OF_DOMINANT * surety(share, math.sqrt(share * (1 - share) / subject.outputs) + 1 / subject.outputs),
        f"{share:.0%} of the units have a bias above three times their weights' scale (largest {largest:.3g}): on inputs of "
        "unit variance they are always on or always off.",
        target=Site.BIAS,
        evidence=(
            Evidence(
                measure="bias.dominant_fraction", value=share, expected=0.0, text="share of units with |b| > 3‖w‖"
            ),
        ),
        against=(
            Evidence(
                measure="bias.dominant_fraction", value=share, text="inputs of large scale make such biases small"
            ),
        ),
    )


NEAR_ORIGIN = Detector(
    effect="bias-near-origin",
    target=Site.BIAS,
    summary="The bias is much smaller than the pre-activation's scale.",
    see=each_layer(_near_origin),
)
DOMINANT = Detector(
    effect="bias-dominant",
    target=Site.BIAS,
    summary="The bias decides what many units give, whatever the input.",
    see=each_layer(_dominant),
)
