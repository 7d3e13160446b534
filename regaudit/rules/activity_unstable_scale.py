"""Activations explode or vanish from layer to layer.

Why:
    A factor in every layer is a power over depth. Large activations overflow in half precision and make the loss jump;
    small ones leave the output to the biases and the first layers without a gradient.

How:
    The least-squares slope of ln √E z² over the hidden layers in order, times their number less one. A finding if the
    factor exp(slope·(L - 1)) is 10,000 or more, or 1/10,000 or less, and the rank correlation with depth is 0.9 or more
    in size, so that every layer has its part in it.

Fix:
    Initialise with the gain of the activation (He for ReLU), put a normalization between the layers, or scale the
    residual branches. An L2 penalty on the kernels holds them where they grow.

Silent on:
    Fewer than 4 hidden layers, and scales that go up and down. Branches are read as if in a row.

Example:
    Activations grow by a factor of 41,000 over 12 hidden layers, layer by layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.batch import is_drawn
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

GROWTH = Threshold(
    "growth", "growth over all hidden layers", 1e4, "times",
    "choice: half precision spans 65,504 above 1, so the model has used up most of it",
)  # fmt: skip
STEADY = Threshold("steady", "rank correlation with depth", 0.9, "", "choice: nearly every layer adds to it")


def _check(audit: Audit) -> Iterator[Finding]:
    model = {each.measure: each for each in audit.model}
    growth, steady = model.get("model.activity_growth"), model.get("model.activity_depth_correlation")
    if growth is None or steady is None or abs(steady.value) < STEADY.value:
        return
    grows = growth.value >= GROWTH.value
    if grows or growth.value <= 1 / GROWTH.value:
        factor = growth.value if grows else 1 / max(growth.value, 1e-300)
        yield RULE.finding(
            f"Activations {'grow' if grows else 'shrink'} by a factor of {number(factor)} {growth.detail}, layer by layer.",
            metric="model.activity_growth",
            value=growth.value,
            op=">=" if grows else "<=",
            threshold=GROWTH.value if grows else 1 / GROWTH.value,
            severity=Severity.INFO if is_drawn(audit) else Severity.WARN,
        )


RULE = Rule(
    code="RGA704",
    name="activity-unstable-scale",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.MEDIUM,
    thresholds=(GROWTH, STEADY),
    cost=Cost.PROBE,
    check=_check,
)
