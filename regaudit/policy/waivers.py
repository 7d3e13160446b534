"""Findings that somebody has accepted for a time, and waivers that cover nothing or no longer hold."""

from __future__ import annotations

from dataclasses import replace
from posixpath import join, normpath
from typing import TYPE_CHECKING

from regaudit.errors import ConfigError
from regaudit.globs import matches
from regaudit.policy.matching import NEW, WAIVED, is_about, weight
from regaudit.records import Audit, Finding, Severity
from regaudit.rules import waiver_expired, waiver_unused
from regaudit.rules.fingerprints import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from regaudit.config import Policy, Waiver
    from regaudit.rules.base import Rule


def waive(audits: Sequence[Audit], policy: Policy) -> tuple[Audit, ...]:
    """Return the audits with the status `waived` on findings under a waiver that holds.

    Raises:
        ConfigError: A waiver expires, and the policy does not say which day it is.
    """
    return tuple(
        replace(audit, findings=tuple(_settled(each, audit, policy) for each in audit.findings)) for audit in audits
    )


def complaints(audits: Sequence[Audit], policy: Policy) -> Iterator[Finding]:
    """Yield a finding for each waiver that covers nothing in the whole run, or that has expired and would be needed."""
    for waiver in policy.waivers:
        concerned = [audit for audit in audits if _concerns(waiver, audit)]
        covered = [each for audit in concerned for each in audit.findings if _names(waiver, each, audit)]
        if not concerned:
            text = f"{_title(waiver)} is for other inputs than those of this run: {', '.join(waiver.inputs)}."
            yield _finding(waiver_unused.RULE, waiver, text, severity=Severity.INFO)
        elif not covered:
            text = f"{_title(waiver)} covers no finding: the defect is gone, or a pattern is misspelt."
            yield _finding(waiver_unused.RULE, waiver, text)
        elif _is_over(waiver, policy.today):
            count = f"{len(covered):,} finding{'s' if len(covered) > 1 else ''} count{'s' * (len(covered) == 1)} again"
            text = f"{_title(waiver)} expired after {waiver.expires}; {count} ({_reason(waiver)})."
            yield _finding(waiver_expired.RULE, waiver, text)


def _settled(finding: Finding, audit: Audit, policy: Policy) -> Finding:
    """Return a finding as the first waiver that holds leaves it; one that nearly covers it is noted."""
    settled = finding
    for each in policy.waivers:
        if finding.status != NEW or not (_concerns(each, audit) and _names(each, finding, audit)):
            continue
        if _is_over(each, policy.today):
            settled = replace(settled, note=f"its waiver expired after {each.expires} ({each.where})")
        elif not _is_below(each, finding):
            settled = replace(settled, note=f"beyond the {each.max_value:g} that its waiver covers ({each.where})")
        else:
            until = f" until {each.expires}" if each.expires else ""
            return replace(finding, status=WAIVED, note=f"waived{until}: {_reason(each)} ({each.where})")
    return settled


def _concerns(waiver: Waiver, audit: Audit) -> bool:
    paths = {path for each in audit.inputs for path in (each.path, normpath(join(waiver.base, each.path)))}
    return not waiver.inputs or any(matches(glob, path, "/") for glob in waiver.inputs for path in paths)


def _names(waiver: Waiver, finding: Finding, audit: Audit) -> bool:
    if not weight([waiver.rule], finding.rule, finding.name):
        return False
    return not waiver.tensors or is_about(waiver.tensors, finding, audit)


def _is_over(waiver: Waiver, today: date | None) -> bool:
    if waiver.expires is None:
        return False
    if today is None:
        raise ConfigError(f"{_title(waiver)} expires on {waiver.expires}, and Policy.today is not set")
    return today > waiver.expires  # it holds through the whole of its last day


def _is_below(waiver: Waiver, finding: Finding) -> bool:
    """Return whether a finding is no worse than the waiver's ceiling; below is worse where the rule wants more."""
    if waiver.max_value is None:
        return True
    if finding.value is None:
        return False
    return finding.value >= waiver.max_value if finding.op.startswith("<") else finding.value <= waiver.max_value


def _title(waiver: Waiver) -> str:
    where = f" ({waiver.where})" if waiver.where else ""
    return f"The waiver of {waiver.rule} for {', '.join(waiver.tensors) or 'everything'}{where}"


def _reason(waiver: Waiver) -> str:
    return waiver.reason.strip().rstrip(".") or "no reason given"


def _finding(rule: Rule, waiver: Waiver, text: str, *, severity: Severity | None = None) -> Finding:
    identity = fingerprint(rule.code, waiver.rule, *waiver.tensors, *waiver.inputs)
    return replace(rule.finding(text, severity=severity), fingerprint=identity)
