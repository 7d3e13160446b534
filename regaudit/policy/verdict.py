"""Whether the gate passes: a settled audit in, a verdict with its exit code out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from regaudit.policy.matching import NEW
from regaudit.records import Audit, Finding, Severity, Status, TensorSkip, Verdict

if TYPE_CHECKING:
    from regaudit.config import Policy

PASSED, FAILED, INCOMPLETE = 0, 1, 3  # exit codes; 2 is wrong usage, 4 a bug
_RANK = {severity: rank for rank, severity in enumerate(Severity)}
_WORDS = {Severity.ERROR: ("error", "errors"), Severity.WARN: ("warning", "warnings"), Severity.INFO: ("note", "notes")}


def verdict(audit: Audit, policy: Policy) -> Verdict:
    """Judge an audit whose findings are settled.

    Args:
        audit: As `settle` returns it.
        policy: Findings of which severity fail it.

    Returns:
        `passed` if no live finding is as severe as `policy.fail_on` and, unless the policy is `never`, everything that
        should have been measured was. `exit_code` 0 passed, 1 failed, 3 incomplete, which wins over 1 and over 0.
    """
    failing = [each for each in audit.findings if _fails(each, policy.fail_on)]
    blocking = [skip for skip in audit.coverage.skipped if skip.blocking]
    is_incomplete = audit.coverage.status is Status.INCOMPLETE
    reasons = _incomplete(blocking, audit.coverage.tensors) if is_incomplete else []
    reasons += [f"{each.severity.capitalize()} {each.name}{_place(each)}: {each.message}" for each in failing]
    return Verdict(
        passed=not failing and (not is_incomplete or policy.fail_on == "never"),
        fail_on=policy.fail_on,
        reasons=tuple(reasons) or (_nothing(audit, policy.fail_on),),
        exit_code=INCOMPLETE if is_incomplete else FAILED if failing else PASSED,
    )


def _fails(finding: Finding, fail_on: str) -> bool:
    return fail_on != "never" and finding.status == NEW and _RANK[finding.severity] <= _RANK[Severity(fail_on)]


def _incomplete(blocking: list[TensorSkip], tensors: int) -> list[str]:
    first = blocking[0]
    rest = f" and {len(blocking) - 1:,} more" if len(blocking) > 1 else ""
    return [
        f"Incomplete: {len(blocking):,} of {tensors:,} tensors could not be measured: {first.tensor}{rest} ({first.reason})."
    ]


def _place(finding: Finding) -> str:
    place = finding.layer or finding.tensor
    return f" in {place}" if place else ""


def _nothing(audit: Audit, fail_on: str) -> str:
    counts = Counter(each.severity for each in audit.findings if each.status == NEW)
    listed = ", ".join(f"{counts[s]:,} {_WORDS[s][counts[s] != 1]}" for s in Severity)
    if fail_on == "never":
        return f"The policy lets everything pass: {listed}."
    return f"No finding is {'an error' if fail_on == Severity.ERROR else 'a warning or worse'}: {listed}."
