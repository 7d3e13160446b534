"""Half-precision or 8-bit values at the end of their format's range.

Why:
    float16 ends at 65,504. A weight above half of that overflows with the first input above 2, and a weight at the
    end was most likely larger before it was clipped. In 8-bit formats values at the end are clipped ones.

How:
    float16: max|w| ≥ 0.5 · 65,504 in a kernel or bias. 8-bit floats without a scale: at least one weight equal to the
    largest finite value of the format (448 for E4M3, 57,344 for E5M2).

Fix:
    Find out why the values are so large (divergence, a missing division by a scale) before anything else. To store
    large weights, use bfloat16 or float32, or 8-bit formats with a scale.

Silent on:
    float32 and bfloat16, whose range is beyond reach, and 8-bit weights with a stored scale: there the largest is at
    the end by construction.

Example:
    The largest weight is 63,264 in float16, which ends at 65,504.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, LayerAudit, Parameter, Severity, Use
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOAT16_END = 65504.0  # IEEE 754 binary16: (2 - 2^-10)·2^15
HALF = Threshold(
    "half-range", "largest value over the end of float16", 0.5, "", "choice: any input above 2 overflows; healthy models reach 0.001"
)  # fmt: skip
CLIPPED = Threshold("clipped", "8-bit weights at the end of the range", 1, "weights", "definition")
_EIGHT_BITS = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})


def _check(audit: Audit) -> Iterator[Finding]:
    for each in audit.layers:
        for use in (Use.KERNEL, Use.BIAS):
            parameter = each.layer.get(use)
            if parameter is not None and parameter.dtype == "F16":
                yield from _float16(each, use)
        kernel = each.layer.get(Use.KERNEL)
        if kernel is not None and kernel.dtype in _EIGHT_BITS:
            yield from _eight_bits(each, kernel)


def _float16(each: LayerAudit, use: Use) -> Iterator[Finding]:
    largest = each.value(f"{use}.max_abs")
    if largest is not None and largest >= HALF.value * FLOAT16_END:
        yield RULE.finding(
            f"The largest {'weight' if use is Use.KERNEL else 'bias'} is {number(largest)} in float16, which ends at "
            f"{number(FLOAT16_END)}.",
            layer=each.layer.name,
            metric=f"{use}.max_abs",
            value=largest,
            op=">=",
            threshold=HALF.value * FLOAT16_END,
        )


def _eight_bits(each: LayerAudit, kernel: Parameter) -> Iterator[Finding]:
    count = each.value("kernel.saturated_count")
    # A second tensor is the scale: its quotient has the largest weight at the end on purpose.
    if count and count >= CLIPPED.value and len(kernel.tensors) == 1:
        yield RULE.finding(
            f"{int(count):,} of {kernel.size:,} weights are at the end of the range of {kernel.dtype}: they were clipped.",
            layer=each.layer.name,
            metric="kernel.saturated_count",
            value=count,
            op=">=",
            threshold=CLIPPED.value,
            severity=Severity.WARN,
        )


RULE = Rule(
    code="RGA501",
    name="precision-half-range",
    page=__doc__,
    severity=Severity.ERROR,
    confidence=Confidence.HIGH,
    thresholds=(HALF, CLIPPED),
    supersedes=("kernel-runaway-scale", "kernel-outlier-weights", "bias-dominance"),
    check=_check,
)
