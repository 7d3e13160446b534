"""A kernel is many times larger than the others of its model.

Why:
    Its outputs drown what the other layers add, saturate activations and overflow half precision. Where a
    normalization follows, the outputs stay the same but the kernel hardly learns any more: the effective learning
    rate falls with the square of the norm. Divergence, a wrong unit in a conversion, or no decay at all do this.

How:
    gain = rms(W)·√(in·taps), the standard deviation of a unit's output for independent inputs of variance 1
    (Kaiming's initialisation has 1.41, torch's default 0.58). A finding if the gain is at least 20 and at least 20
    times the median of the model's other kernels, or if that holds of the growth, rms(W) over the rms of the
    initialisation that the layer most likely had.

Fix:
    If a conversion made the file, compare this tensor with the original. If training did, add or raise the kernel's
    L2 penalty, clip gradients, or lower the learning rate, and train on from a checkpoint before it grew.

Silent on:
    Embeddings and positional tables (their scale is a choice), adapters, models of one kernel, models that are large
    all over, the growth of depthwise kernels (unless the file declares how they began), and ordinary kernels beside ones that a penalty has shrunk to nothing.

Example:
    The gain is 100, 100 times the median of the other 3 kernels (1.0).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, LayerAudit, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import MAPS, gain, kernels, median_of_others, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE = Threshold(
    "gain", "gain, or growth", 20.0, "times",
    "calibrated: the largest gain on healthy models is 9.5, the largest growth 16 (the last layer of Silero VAD)",
)  # fmt: skip
RELATIVE = Threshold(
    "over-median", "the same over the median of the other kernels", 20.0, "times",
    "calibrated: with a gain or growth of 3 or more, healthy models stay below 10",
)  # fmt: skip
SCALES: tuple[tuple[str, Callable[[LayerAudit], float | None]], ...] = (
    ("gain", gain),
    ("growth", lambda each: None if _is_in_doubt(each) else each.value("kernel.growth")),
)


def _is_in_doubt(each: LayerAudit) -> bool:
    """Return whether the initialisation is a guess that may be far off, as for a depthwise kernel.

    Keras' Glorot counts all channels as fan_in, He's fan_out mode (EfficientNet) none: √channels apart.
    """
    return each.layer.role is Role.DEPTHWISE and each.layer.initial_std is None


def _check(audit: Audit) -> Iterator[Finding]:
    found: set[str] = set()
    for name, scale in SCALES:
        scales = [(each, value) for each in kernels(audit) if (value := scale(each))]
        ordered = sorted(value for _, value in scales)
        for each, value in scales:
            others = median_of_others(ordered, value)
            is_far = others > 0 and value >= max(LARGE.value, RELATIVE.value * others)
            if is_far and each.layer.name not in found:
                found.add(each.layer.name)
                yield _finding(each, name, value, others, len(scales) - 1)


def _finding(each: LayerAudit, name: str, value: float, others: float, count: int) -> Finding:
    ratio = min(value / others, sys.float_info.max)  # of weights near 1e308 and near 1e-308 it overflows
    return RULE.finding(
        f"The {name} is {number(value)}, {number(ratio)} times the median of the other {count:,} "
        f"kernel{'s' if count > 1 else ''} ({number(others)}).",
        layer=each.layer.name,
        metric="kernel.growth" if name == "growth" else "kernel.rms",
        value=ratio,
        op=">=",
        threshold=RELATIVE.value,
    )


RULE = Rule(
    code="RGA201",
    name="kernel-runaway-scale",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.MEDIUM,
    thresholds=(LARGE, RELATIVE),
    roles=MAPS,
    check=_check,
)
