"""The weights show another penalty than the one that the file declares.

Why:
    A declaration says what was asked for. A schedule, a frozen layer, a wrong parameter group or a fine-tuning that followed
    can make something else of it, and whoever trains on relies on the declaration.

How:
    The penalty that the ladder of evidence finds (dosimeters, balances, the optimizer's state, stationarity) disagrees with
    the declared one, with a confidence of at least 0.8.

Fix:
    Look at the optimizer's parameter groups and at the schedule. If the model was fine-tuned, declare what the last training
    used.

Silent on:
    Evidence that cannot tell, and files that declare nothing.

Example:
    The file declares another penalty than the weights show (no penalty on kernels, confidence 0.95).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Agreement, Audit, Confidence, Finding, Severity, Site
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import Detected

SURE = Threshold(
    "confidence", "confidence of what is detected", 0.8, "",
    "choice: of detections that are this sure at least 8 in 10 were right in a test on small networks",
)  # fmt: skip


def _check(audit: Audit) -> Iterator[Finding]:
    found = audit.detected
    if found is None or found.agreement is not Agreement.DISAGREE or found.confidence < SURE.value:
        return
    yield RULE.finding(
        f"The file declares another penalty than the weights show ({_words(found)}, confidence {found.confidence:.2f}).",
        metric="detected.confidence",
        value=found.confidence,
        op=">=",
        threshold=SURE.value,
    )


def _words(found: Detected) -> str:
    if found.site is Site.NONE or found.norm is None:
        return "no penalty on kernels"
    strength = "" if found.strength is None else f" {number(found.strength)}"
    return f"{found.site} {found.norm.upper()}{strength}"


RULE = Rule(
    code="RGA403",
    name="declared-penalty-contradicted",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    thresholds=(SURE,),
    check=_check,
)
