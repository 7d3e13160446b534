"""A kernel is many times larger than the others of its model.

Why:
    Its outputs drown what the other layers add, saturate activations and overflow half precision. Where a
    normalization follows, the outputs stay the same but the kernel hardly learns any more: the effective learning
    rate falls with the square of the norm. Divergence, a wrong unit in a conversion, or no decay at all do this.

How:
    gain = rms(W)·√(in·taps), the standard deviation of a unit's output for independent inputs of variance 1
    (Kaiming's initialisation has 1.41, torch's default 0.58). A finding if gain ≥ 20 and gain ≥ 20 · the median
    gain of the model's other kernels.

Fix:
    If a conversion made the file, compare this tensor with the original. If training did, add or raise the kernel's
    L2 penalty, clip gradients, or lower the learning rate, and train on from a checkpoint before it grew.

Silent on:
    Embeddings and positional tables (their scale is a choice), adapters, models of one kernel, models that are large
    all over, and ordinary kernels beside ones that a penalty has shrunk to nothing.

Example:
    The gain is 100, 100 times the median of the other 3 kernels (1.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import MAPS, gain, kernels, median_of_others, number

if TYPE_CHECKING:
    from collections.abc import Iterator

GAIN = Threshold(
    "gain", 20.0, "standard deviations of the input",
    "calibrated: the largest gain on healthy models is 9.5 (the last layer of Silero VAD)",
)  # fmt: skip
RELATIVE = Threshold(
    "gain over the median gain of the other kernels", 20.0, "times",
    "calibrated: the largest ratio on healthy models is 9.1 (the output of a small net whose hidden layer shrank)",
)  # fmt: skip


def _check(audit: Audit) -> Iterator[Finding]:
    gains = [(each, value) for each in kernels(audit) if (value := gain(each))]
    ordered = sorted(value for _, value in gains)
    for each, value in gains:
        others = median_of_others(ordered, value)
        if others and value >= GAIN.value and value >= RELATIVE.value * others:
            yield RULE.finding(
                f"The gain is {number(value)}, {number(value / others)} times the median of the other "
                f"{len(gains) - 1:,} kernel{'s' if len(gains) > 2 else ''} ({number(others)}).",
                layer=each.layer.name,
                metric="kernel.rms",
                value=value / others,
                op=">=",
                threshold=RELATIVE.value,
            )


RULE = Rule(
    code="RGA201",
    name="kernel-runaway-scale",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.MEDIUM,
    thresholds=(GAIN, RELATIVE),
    roles=MAPS,
    check=_check,
)
