"""An adapter whose update is exactly zero changes nothing.

Why:
    LoRA starts with B = 0. If the product is still zero, this part of the adapter was not trained, and loading it
    leaves the base model as it is.

How:
    max|scale·B·A| = 0. One finding for the whole file.

Fix:
    If training was meant to change these modules, check that they receive gradients (target_modules, frozen
    parameters, a learning rate of 0). A fresh adapter is normal.

Silent on:
    Adapters with any weight in their product.

Example:
    12 of 12 adapters are zero and change nothing: the adapter is untrained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity
from regaudit.rules.base import Rule, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = Threshold("largest", "largest weight of the product", 0.0, "in the unit of the weights", "definition")
_SHOWN = 3  # names that a message lists


def _check(audit: Audit) -> Iterator[Finding]:
    adapters = [each for each in audit.layers if each.layer.role is Role.ADAPTER]
    zero = [each.layer.name for each in adapters if each.value("kernel.max_abs") == LARGEST.value]
    if not zero:
        return
    if len(zero) == len(adapters):
        which = "the adapter is untrained"
    else:
        which = ", ".join(zero[:_SHOWN]) + (f" and {len(zero) - _SHOWN:,} more" if len(zero) > _SHOWN else "")
    yield RULE.finding(
        f"{len(zero):,} of {len(adapters):,} adapters are zero and change nothing: {which}.",
        layer=zero[0] if len(adapters) == 1 else "",
        metric="kernel.max_abs",
        value=0.0,
        op="==",
        threshold=LARGEST.value,
    )


RULE = Rule(
    code="RGA601",
    name="adapter-no-effect",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    publish=Severity.WARN,
    thresholds=(LARGEST,),
    roles=(Role.ADAPTER,),
    check=_check,
)
