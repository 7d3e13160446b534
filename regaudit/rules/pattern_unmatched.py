"""A pattern in the configuration stands for no tensor and no layer.

Why:
    An exception for a misspelt name does nothing, and its author believes that it does.

How:
    A pattern of `per-tensor` that matches no layer, no tensor and no place of a finding on any input of the run. `*`
    stops at a dot, `**` does not.

Fix:
    Correct the pattern, or delete it. `regaudit inspect --tensors -f json` lists every name.

Silent on:
    Patterns of waivers, which are judged by what they cover (waiver-unused).

Example:
    The pattern 'embed.*' of per-tensor stands for no layer and no tensor of what was read.
"""

from __future__ import annotations

from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule, found_by_policy

RULE = Rule(
    code="RGA904",
    name="pattern-unmatched",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    cost=Cost.FILE,
    check=found_by_policy,
)
