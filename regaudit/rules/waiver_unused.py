"""A waiver in the configuration covers no finding.

Why:
    It would hide the same defect when it comes back, and nobody would notice. Most often a pattern is misspelt, or the
    defect was repaired and the waiver stayed.

How:
    A waiver whose rule and patterns match no finding on any input of the run. It is not judged in a run where an input
    could not be read. One whose inputs are not in the run is a note.

Fix:
    Delete the waiver, or correct its rule or its patterns.

Silent on:
    Waivers that have expired and cover something: waiver-expired speaks of them.

Example:
    The waiver of RGA104 for lm_head.* (pyproject.toml:12) covers no finding: the defect is gone, or a pattern is misspelt.
"""

from __future__ import annotations

from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule, found_by_policy

RULE = Rule(
    code="RGA902",
    name="waiver-unused",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    cost=Cost.FILE,
    check=found_by_policy,
)
