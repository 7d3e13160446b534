"""The file declares a penalty of which the weights show nothing.

Why:
    A penalty that leaves no trace was not applied (lost in a conversion, overwritten, training without it), had no
    time to act, or is too weak to matter. Whoever trusts the declaration is misled.

How:
    The effect declared-not-visible: L2 of at least 1e-3 in Keras' unit (decoupled decay of at least 0.1) on kernels that
    no normalization follows and that have grown well beyond the initialisation they most likely had; L1 that left
    neither zeros nor near zeros; a bias penalty on biases that dominate.

Fix:
    Check that the penalty is part of the loss that was minimised (in Keras model.losses; a custom training loop must
    add it), and that the file belongs to that training run.

Silent on:
    Weaker penalties, kernels before a normalization, weights that fit both with and without the penalty.

Example:
    Declared kernel l2 0.01 on dense_1: it does not show, the weights grew to 3.2 times their initial scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Confidence, Severity
from regaudit.rules.base import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import Audit, Finding

NOT_VISIBLE = "declared-not-visible"  # an effect of effects/declared.py


def _check(audit: Audit) -> Iterator[Finding]:
    for each in audit.effects:
        if each.effect == NOT_VISIBLE:
            seen = each.evidence[-1] if each.evidence else None
            yield RULE.finding(
                each.text,
                layer=each.layer,
                metric=seen.measure if seen else "",
                value=seen.value if seen else None,
                op=">" if seen and seen.expected is not None else "",
                threshold=seen.expected if seen else None,
            )


RULE = Rule(
    code="RGA402",
    name="declared-penalty-invisible",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.LOW,
    check=_check,
)
