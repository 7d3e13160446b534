"""A handful of weights carries much of a kernel that is ordinary otherwise.

Why:
    One weight that is tens of times larger than any chance maximum decides its unit alone: a flipped bit, a
    damaged file or a unit that ran away. It also ruins low-precision formats, whose range it stretches.

How:
    k = Σw⁴/max⁴ is how many weights of the largest size would explain the fourth moment, and k·max²/Σw² their share of
    the energy. Without them the bulk has the scale b = 1.2533·(Σ|w| - k·max)/(n - k). A finding if the share
    is at least 25%, max ≥ 25·b·√(2 ln n) (the largest of n normal weights is about b·√(2 ln n)), and the bulk is
    ordinary: rows as Gaussian as rms/mean|w| ≤ 1.6, and a median row as large as b within 0.7 to 1.5. Where the rows
    have heavier tails, the factor is 1,000 in place of 25.

Fix:
    Compare the weights with an earlier checkpoint. If training made them, clip gradients or set a max-norm constraint
    on the units; if the file is damaged, fetch it again.

Silent on:
    Heavy tails, where large weights come in all sizes (trained convolutions, outlier channels of transformers),
    kernels that a penalty made sparse, kernels of fewer than 256 weights.

Example:
    The largest weight is 170 times what chance allows, and 91% of the kernel's energy is in about 1 weight.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, LayerAudit, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import MAPS, fan_in, kernel_of, kernels, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARE = Threshold(
    "energy", "share of the energy in the largest weights", 0.25, "of Σw²",
    "calibrated: 5% in MiniLM's outlier channels; above it only with heavy tails (Silero VAD's conv4: 72%)",
)  # fmt: skip
ABOVE_BULK = Threshold(
    "over-bulk", "largest weight over the largest of a Gaussian bulk", 25.0, "times",
    "calibrated: with 25% of the energy and an ordinary bulk, healthy models stay below 5",
)  # fmt: skip
ABOVE_HEAVY_BULK = Threshold(
    "over-heavy-bulk", "the same, where rows have heavy tails", 1000.0, "times", "calibrated: 190 in Silero VAD's conv4, whose tail is its own"
)  # fmt: skip
ROW_SHAPE = Threshold(
    "row-shape", "rms over mean |w| within rows", 1.6, "",
    "calibrated: 1.25 is Gaussian, 1.41 Laplace; Silero VAD's heavy-tailed conv3 and conv4 have 1.72 and 2.03",
)  # fmt: skip
ROW_LOW = Threshold(
    "row-low", "median row over the bulk, at least", 0.7, "times",
    "calibrated: small nets that L1 made sparse have below 0.66; a single outlier leaves 0.95 to 1.1",
)  # fmt: skip
ROW_HIGH = Threshold(
    "row-high", "median row over the bulk, at most", 1.5, "times", "calibrated: as above; sparse outputs have 6 to 9"
)
MIN_SIZE = Threshold(
    "min-weights", "weights in the kernel", 256, "weights", "in a smaller kernel a few weights are the kernel"
)
ROLES = (*MAPS, Role.EMBEDDING)
_GAUSS = math.sqrt(math.pi / 2)  # rms over mean |w| of a Gaussian


def _check(audit: Audit) -> Iterator[Finding]:
    for each in kernels(audit, ROLES):
        if kernel_of(each).size < MIN_SIZE.value:
            continue
        count, share = _largest(each)
        if share < SHARE.value:
            continue
        bulk = _bulk(each, count)
        above = (each.value("kernel.max_abs") or 0.0) / (bulk * math.sqrt(2 * math.log(kernel_of(each).size)))
        row = (each.value("kernel.out_norm_median") or 0.0) / math.sqrt(fan_in(each)) / bulk
        limit = ABOVE_BULK if _row_shape(each) <= ROW_SHAPE.value else ABOVE_HEAVY_BULK
        if above >= limit.value and ROW_LOW.value <= row <= ROW_HIGH.value:
            yield RULE.finding(
                f"The largest weight is {number(above)} times what chance allows, and {percent(share)} of the kernel's "
                f"energy is in about {max(1, round(count))} weight{'s' if count >= 1.5 else ''}.",
                layer=each.layer.name,
                metric="kernel.max_to_rms_ratio",
                value=above,
                op=">=",
                threshold=limit.value,
            )


def _row_shape(each: LayerAudit) -> float:
    value = each.value("kernel.rms_to_mean_abs")
    return math.inf if value is None else value


def _largest(each: LayerAudit) -> tuple[float, float]:
    """Return how many weights of the largest size explain the fourth moment, and their share of Σw²."""
    ratio, kurtosis = each.value("kernel.max_to_rms"), each.value("kernel.excess_kurtosis")
    if not ratio or kurtosis is None:
        return 0.0, 0.0
    size = kernel_of(each).size
    count = max(1.0, (kurtosis + 3) * size / ratio**4)
    return count, min(1.0, count * ratio**2 / size)


def _bulk(each: LayerAudit, count: float) -> float:
    """Return the standard deviation of the Gaussian that the other weights' mean |w| implies."""
    size = kernel_of(each).size
    total = (each.value("kernel.mean_abs") or 0.0) * size
    rest = total - count * (each.value("kernel.max_abs") or 0.0)
    # Rounding of a sum that one huge weight fills may leave nothing, or less.
    return _GAUSS * max(rest, total * 1e-12) / (size - count)


RULE = Rule(
    code="RGA202",
    name="kernel-outlier-weights",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    thresholds=(SHARE, ABOVE_BULK, ABOVE_HEAVY_BULK, ROW_SHAPE, ROW_LOW, ROW_HIGH, MIN_SIZE),
    roles=ROLES,
    supersedes=("kernel-runaway-scale", "kernel-rank-collapse", "kernel-dead-units", "kernel-ignored-inputs"),
    check=_check,
)
