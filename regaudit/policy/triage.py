"""Which findings count, and how much: rules that are off, levels, tensors where a rule does not apply."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.policy.matching import is_about, weight
from regaudit.records import Audit, Finding, Severity

if TYPE_CHECKING:
    from regaudit.config import Policy
    from regaudit.rules.base import Rule

_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def triage(audit: Audit, policy: Policy) -> Audit:
    """Return the audit with the findings that count under the policy, worst first."""
    from regaudit.rules import RULES

    rules = {rule.code: rule for rule in RULES}
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
    return not policy.select and (policy.preset == "all" or rule is None or not rule.is_optional)


def level(rule: Rule, policy: Policy) -> Severity:
    """Return how bad the findings of a rule are under the policy, where they say nothing milder themselves."""
    chosen = policy.levels.get(rule.code)
    if chosen and chosen != "off":
        return Severity(chosen)
    return rule.publish if policy.preset == "publish" and rule.publish else rule.severity


def _levelled(finding: Finding, rule: Rule | None, policy: Policy) -> Finding:
    """Return a finding at the level of its rule; one that is milder than its rule for a reason stays milder."""
    if rule is None:
        return finding
    wanted = level(rule, policy)
    if wanted is rule.severity and rule.code not in policy.levels:
        return finding
    is_milder = _RANK[finding.severity] > _RANK[rule.severity]
    severity = max(finding.severity, wanted, key=_RANK.__getitem__) if is_milder else wanted
    return replace(finding, severity=severity)


def _is_excepted(finding: Finding, audit: Audit, policy: Policy) -> bool:
    return any(
        weight(words, finding.rule, finding.name) and is_about([glob], finding, audit)
        for glob, words in policy.per_tensor.items()
    )
