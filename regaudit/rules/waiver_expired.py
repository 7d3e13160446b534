"""A waiver in the configuration has expired, and what it covered counts again.

Why:
    Whoever wrote it gave the finding a time to be looked at again. That time has come.

How:
    The day of the run (UTC) is after the waiver's `expires`; it holds through the whole of that day.

Fix:
    Repair what it covered, or accept it for longer with a new date and a reason that still holds.

Silent on:
    Waivers that cover nothing: waiver-unused speaks of them.

Example:
    The waiver of RGA104 for lm_head.* (pyproject.toml:12) expired after 2027-03-01; 1 finding counts again (tied).
"""

from __future__ import annotations

from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule, found_by_policy

RULE = Rule(
    code="RGA903",
    name="waiver-expired",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    cost=Cost.FILE,
    check=found_by_policy,
)
