"""All weights of a kernel have one and the same value.

Why:
    Every unit computes the same thing and gets the same gradient, so training can never tell them apart. The kernel
    is a placeholder, or was initialised with a constant.

How:
    max w - min w = 0 while max|w| > 0, in kernels of at least 64 weights.

Fix:
    Initialise the kernel at random (Glorot, Kaiming) and train again; or find the step that filled the tensor.

Silent on:
    Scales of normalizations (gamma = 1), depthwise kernels (fixed averaging filters are constant), kernels of fewer
    than 64 weights.

Example:
    All 4,096 weights of the kernel are 0.05: every unit computes the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import MAPS, kernel_of, kernels, number

if TYPE_CHECKING:
    from collections.abc import Iterator

RANGE = Threshold("range", "largest minus smallest weight", 0, "in the unit of the weights", "definition")
MIN_SIZE = Threshold(
    "min-weights", "weights in the kernel", 64, "weights", "choice: a smaller one may be a fixed averaging filter"
)
ROLES = (*(role for role in MAPS if role is not Role.DEPTHWISE), Role.EMBEDDING)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in kernels(audit, ROLES):
        largest, size = each.value("kernel.max_abs"), kernel_of(each).size
        if largest and size >= MIN_SIZE.value and each.value("kernel.value_range") == RANGE.value:
            yield RULE.finding(
                f"All {size:,} weights of the kernel are {number(largest)} in magnitude and equal: "
                "every unit computes the same.",
                layer=each.layer.name,
                metric="kernel.value_range",
                value=0.0,
                op="==",
                threshold=RANGE.value,
            )


RULE = Rule(
    code="RGA103",
    name="kernel-constant",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    thresholds=(RANGE, MIN_SIZE),
    roles=ROLES,
    supersedes=("kernel-duplicate-units", "kernel-rank-collapse", "kernel-duplicate"),
    check=_check,
)
