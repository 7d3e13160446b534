"""The biases of a layer go straight into a batch normalization, which takes them out again.

Why:
    A batch normalization subtracts each channel's mean, and a bias is part of that mean: f(b + c) = f(b). The biases
    are stored and trained for nothing; weight decay pulls them to 0, and a penalty on them does nothing.

How:
    A layer with a bias whose output goes straight into a normalization that keeps running means.

Fix:
    Nothing is broken. Make the layer without a bias (bias=False); for inference fold the normalization into the kernel.

Silent on:
    Layer and group normalization, which take out a mean over channels only; layers whose output is added to something
    else first.

Example:
    bn1 takes the 64 biases out again: they change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity, Use
from regaudit.rules.base import Cost, Rule
from regaudit.rules.kernels import MAPS

if TYPE_CHECKING:
    from collections.abc import Iterator


def _check(audit: Audit) -> Iterator[Finding]:
    centring = {each.layer.name for each in audit.layers if each.layer.role is Role.NORM and each.layer.get(Use.MEAN)}
    for each in audit.layers:
        bias = each.layer.get(Use.BIAS)
        if bias is not None and each.layer.role in MAPS and each.layer.followed_by in centring:
            yield RULE.finding(
                f"{each.layer.followed_by} takes the {bias.size:,} biases out again: they change nothing.",
                layer=each.layer.name,
            )


RULE = Rule(
    code="RGA205",
    name="bias-before-norm",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    roles=MAPS,
    cost=Cost.FILE,
    check=_check,
)
