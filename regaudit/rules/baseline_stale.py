"""Entries of the baseline match no finding any more.

Why:
    The defects are gone, and their entries wait to hide the next ones of the same kind in the same place.

How:
    Fingerprints in the baseline that no finding of the run has, whatever the policy makes of it. Entries on inputs that
    are not part of the run are not judged. With `--fail-on-stale` it is an error.

Fix:
    Write the baseline anew: `regaudit check MODEL --baseline FILE --write-baseline FILE`.

Silent on:
    Findings that were waived when the baseline was written; they are no part of it.

Example:
    1 of 3 entries of baseline.json match no finding: RGA104 in fc1.
"""

from __future__ import annotations

from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule, Threshold, found_by_policy

STALE = Threshold("stale", "entries that match nothing", 0, "entries", "definition")


RULE = Rule(
    code="RGA905",
    name="baseline-stale",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    thresholds=(STALE,),
    cost=Cost.FILE,
    check=found_by_policy,
)
