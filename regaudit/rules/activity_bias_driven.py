"""On the probe batch the bias, not the input, decides what most units of a layer give.

Why:
    A unit that its bias keeps on one side of zero is linear or off, so the layer is all but linear: it does the work of
    a smaller one. Mostly a kernel penalty has shrunk the weights and left the biases.

How:
    Units with |b + w·Ex| > 3·sd(w·x) that would not have it without b, over all units whose z varies, on at least 100
    rows. A finding from 50% of the units on.

Fix:
    If the model fits too loosely, lower the kernel penalty. If it fits well, leave it: the penalty has found that the task
    needs less than the layer offers.

Silent on:
    Layers before a normalization (it removes the bias), keys of attention, outputs, layers of fewer than 8 units.

Example:
    87% of the units stay on one side of zero for their bias; it makes 94% of the pre-activation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.effects.bias import FREE_PARTS
from regaudit.records import Audit, Axis, Confidence, Finding, LayerAudit, Severity, Use
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.batch import hidden
from regaudit.rules.kernels import MAPS, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIVEN = Threshold(
    "driven-units", "units that their bias decides", 0.5, "of the units",
    "calibrated: below 0.1 in small trained nets, but for kernels that a penalty has shrunk (0.84 to 0.94)",
)  # fmt: skip
MIN_UNITS = Threshold("min-units", "units of the layer", 8, "units", "choice: of fewer units a share says little")


def _check(audit: Audit) -> Iterator[Finding]:
    for each in hidden(audit):
        share, made = each.value("bias.decided_fraction"), each.value("bias.share")
        if share is None or share < DRIVEN.value or _is_free(each):
            continue
        tail = "" if made is None else f"; it makes {percent(made)} of the pre-activation"
        yield RULE.finding(
            f"{percent(share)} of the units stay on one side of zero for their bias{tail}.",
            layer=each.layer.name,
            metric="bias.decided_fraction",
            value=share,
            op=">=",
            threshold=DRIVEN.value,
        )


def _is_free(each: LayerAudit) -> bool:
    """Return whether nothing hangs on the bias, or the layer is too small."""
    kernel = each.layer.get(Use.KERNEL)
    is_small = kernel is None or kernel.extent(Axis.OUT) < MIN_UNITS.value
    return is_small or bool(each.layer.followed_by) or each.layer.part in FREE_PARTS


RULE = Rule(
    code="RGA705",
    name="activity-bias-driven",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    thresholds=(DRIVEN, MIN_UNITS),
    roles=MAPS,
    cost=Cost.PROBE,
    check=_check,
)
