"""The biases of a layer are so large that its inputs hardly matter.

Why:
    A unit with |b| > 3·‖w‖ keeps its sign for 99.7% of inputs of variance 1: behind a ReLU it is always on or always
    off. A layer full of such units is nearly constant.

How:
    A unit is dominated if |b_j| / ‖w_j‖ > 3. A finding if at least 30% of the units are, and the biases are large
    themselves: rms(b) ≥ 3 · the norm that a row has at initialisation, σ₀·√(in·taps). Thresholds are higher for
    recurrent gates (20 times; the forget gate starts at 1 on purpose) and for outputs of 16 units or more (8 times;
    they carry the logarithms of class frequencies).

Fix:
    Add an L2 penalty on the bias or lower the learning rate; standardise the inputs of the layer (biases make up for
    inputs that are far from zero). If a conversion made the file, check that the bias belongs to this layer.

Silent on:
    Biases before a normalization (it removes them), key biases of attention (softmax does not see them), time steps
    of state-space layers (they start at -7 to -2), outputs of
    fewer than 16 units, kernels that have shrunk below their biases, which is an effect of a kernel penalty.

Example:
    256 of 256 units (100%) have a bias above 3 times the norm of their weights; the median is 20 times.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.effects.bias import FREE_PARTS
from regaudit.records import Audit, Confidence, Finding, LayerAudit, Role, Severity, Use
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import MAPS, fan_in, kernels, number, percent, units

if TYPE_CHECKING:
    from collections.abc import Iterator

DOMINATED = Threshold(
    "dominated-units", "units with |b| above 3·‖w‖", 0.3, "of the units",
    "calibrated: 22% in Silero VAD's conv3; more only in small nets whose kernels have shrunk",
)  # fmt: skip
SCALE = Threshold(
    "bias-scale", "rms(b) over the norm of a row at initialisation", 3.0, "times",
    "calibrated: at most 1.1 in 300 small nets, many with kernels that have shrunk below their biases",
)  # fmt: skip
RECURRENT_SCALE = Threshold(
    "recurrent-bias-scale", "the same, in a recurrent gate", 20.0, "times",
    "a forget bias of 1 (Jozefowicz et al. 2015, Keras' default) on one input and 128 units has 8",
)  # fmt: skip
OUTPUT_SCALE = Threshold(
    "output-bias-scale", "the same, in an output of 16 units or more", 8.0, "times",
    "log-frequencies of 50,000 classes have a standard deviation of about 3, 5 times torch's initial row norm of 0.58",
)  # fmt: skip
MIN_OUTPUTS = Threshold(
    "min-outputs", "units of an output", 16, "units", "fewer outputs are means of targets or a few class priors"
)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in kernels(audit):
        share = each.value("bias.dominant_fraction")
        if not share or share < DOMINATED.value or _is_free(each):
            continue
        scale = _scale(each)
        if scale is not None and scale >= _limit(each).value:
            median = each.value("bias.to_kernel_median")
            tail = "" if median is None else f"; the median is {number(median)} times"
            yield RULE.finding(
                f"{round(share * units(each)):,} of {units(each):,} units ({percent(share)}) have a bias above 3 times "
                f"the norm of their weights{tail}.",
                layer=each.layer.name,
                metric="bias.dominant_fraction",
                value=share,
                op=">=",
                threshold=DOMINATED.value,
            )


def _is_free(each: LayerAudit) -> bool:
    """Return whether nothing hangs on the bias, or it is expected to be large."""
    layer = each.layer
    is_small_output = layer.is_output and units(each) < MIN_OUTPUTS.value
    return bool(layer.followed_by) or layer.part in FREE_PARTS or is_small_output or layer.get(Use.BIAS) is None


def _scale(each: LayerAudit) -> float | None:
    rms, initial = each.value("bias.rms"), each.value("kernel.initial_rms")
    if rms is None or not initial:
        return None
    return rms / (initial * math.sqrt(fan_in(each)))


def _limit(each: LayerAudit) -> Threshold:
    if each.layer.role is Role.RECURRENT:
        return RECURRENT_SCALE
    return OUTPUT_SCALE if each.layer.is_output else SCALE


RULE = Rule(
    code="RGA203",
    name="bias-dominance",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.MEDIUM,
    thresholds=(DOMINATED, SCALE, RECURRENT_SCALE, OUTPUT_SCALE, MIN_OUTPUTS),
    roles=MAPS,
    check=_check,
)
