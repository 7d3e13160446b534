"""A channel that a batch normalization takes in hardly ever varies.

Why:
    Its running variance lies far below the epsilon that is added to it: the channel passes on its offset and nothing of the
    input. It is dead weight; and where epsilon is lost in a conversion, it is multiplied by a million.

How:
    The smallest running variance is at most 1e-10, a hundred-thousandth of the usual epsilon, in a normalization whose variances are
    not all zero.

Fix:
    Look at the unit before it (dead or ignored). Remove the channel, or add its constant output to the next bias.

Silent on:
    Channels that vary a little, and normalizations without running statistics.

Example:
    The smallest running variance is 0: a channel never varies, and passes on its offset alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = Threshold(
    "largest", "smallest running variance", 1e-10, "in squared units of the activity",
    "choice: a hundred-thousandth of epsilon, 1e-5 in PyTorch and 1e-3 in Keras",
)  # fmt: skip


def _check(audit: Audit) -> Iterator[Finding]:
    for each in audit.layers:
        smallest, largest = each.value("variance.min"), each.value("variance.max")
        if smallest is None or not largest or not 0 <= smallest <= LARGEST.value:
            continue
        yield RULE.finding(
            f"The smallest running variance is {number(smallest)}: a channel never varies, and passes on its offset alone.",
            layer=each.layer.name,
            metric="variance.min",
            value=smallest,
            op="<=",
            threshold=LARGEST.value,
        )


RULE = Rule(
    code="RGA304",
    name="norm-constant-channel",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    thresholds=(LARGEST,),
    roles=(Role.NORM,),
    check=_check,
)
