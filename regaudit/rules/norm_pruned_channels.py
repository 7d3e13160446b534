"""Many scales of a normalization are zero, or next to it: its channels are switched off.

Why:
    A channel with gamma near 0 passes on its offset alone. An L1 penalty on gamma does this on purpose, to prune channels
    (Liu et al. 2017, network slimming); weight decay on gamma does it unasked.

How:
    The share of scales below a thousandth of their root mean square, in a normalization whose scales differ.

Fix:
    If it was meant, remove the channels: the model gets smaller and stays the same. If not, take gamma out of the penalty
    (weight decay is usually left off normalization scales).

Silent on:
    Scales that are all zero (norm-zero-scale), and normalizations of fewer than 8 channels.

Example:
    48 of 64 channels (75%) have a scale next to 0: they are switched off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity, Use
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARE = Threshold(
    "share", "share of scales next to 0", 0.1, "", "choice: slimming prunes half and more of the channels"
)
MIN_CHANNELS = Threshold(
    "min-channels", "channels to be counted", 8, "channels", "choice: a share of fewer says little"
)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in audit.layers:
        scale = each.layer.get(Use.SCALE)
        if scale is None or each.layer.role is not Role.NORM or scale.size < MIN_CHANNELS.value:
            continue
        share = each.value("scale.near_zero_fraction")
        if share is not None and each.value("scale.max_abs") and share >= SHARE.value:
            yield RULE.finding(
                f"{round(share * scale.size):,} of {scale.size:,} channels ({percent(share)}) have a scale next to 0: they are "
                "switched off.",
                layer=each.layer.name,
                metric="scale.near_zero_fraction",
                value=share,
                op=">=",
                threshold=SHARE.value,
            )


RULE = Rule(
    code="RGA303",
    name="norm-pruned-channels",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    thresholds=(SHARE, MIN_CHANNELS),
    roles=(Role.NORM,),
    check=_check,
)
