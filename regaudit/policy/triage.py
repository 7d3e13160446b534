"""Which findings count, and how much: rules that are off, levels, tensors where a rule does not apply."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.policy.matching import is_about, weight
from regaudit.records import Audit, Finding, Severity
from regaudit.rules.base import found_by_policy

if TYPE_CHECKING:
    from regaudit.config import Policy
    from regaudit.rules.base import Rule

_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def triage(audit: Audit, policy: Policy) -> Audit:
    """Return the audit with the findings that count under the policy, worst first."""
    from regaudit.rules import every_rule

    rules = {rule.code: rule for rule in every_rule()}
    kept = [
        _levelled(each, rules.get(each.rule), policy)
        for each in audit.findings
        if is_on(each.rule, each.name, policy, rules.get(each.rule)) and not _is_excepted(each, audit, policy)
    ]
    return replace(audit, findings=tuple(sorted(kept, key=lambda each: _RANK[each.severity])))


def is_on(code: str, name: str, policy: Policy, rule: Rule | None = None) -> bool:
    """Return whether a rule counts at all; of what selects and what ignores it, the closer word wins, and a tie ignores."""
    level = policy.levels.get(code)
    if level is not None:
        return level != "off"
    chosen = weight((*policy.select, *policy.extend_select), code, name)
    ignored = weight(policy.ignore, code, name)
    if chosen or ignored:
        return chosen > ignored
    is_of_policy = (
        rule is not None and rule.check is found_by_policy
    )  # a selection of rules does not hide what is wrong with it
    return is_of_policy or (not policy.select and (policy.preset == "all" or rule is None or not rule.is_optional))


def _levelled(finding: Finding, rule: Rule | None, policy: Policy) -> Finding:
    """Return a finding at the level that the user gives to its rule, or the preset.

    The user's level is that of all findings of the rule; the preset's only of those that the rule itself calls no milder.
    """
    chosen = policy.levels.get(finding.rule)
    if chosen is not None:
        return replace(finding, severity=Severity(chosen))
    published = rule.publish if rule and policy.preset == "publish" else None
    is_milder = rule is not None and _RANK[finding.severity] > _RANK[rule.severity]
    return replace(finding, severity=published) if published and not is_milder else finding


def _is_excepted(finding: Finding, audit: Audit, policy: Policy) -> bool:
    return any(
        weight(words, finding.rule, finding.name) and is_about([glob], finding, audit)
        for glob, words in policy.per_tensor.items()
    )
