"""The findings of a whole run as a policy sees them: which count, which are known, what is wrong with the policy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.globs import matches
from regaudit.policy import baseline, waivers
from regaudit.policy.matching import all_names
from regaudit.policy.triage import triage
from regaudit.rules import pattern_unmatched
from regaudit.rules.fingerprints import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regaudit.config import Policy
    from regaudit.records import Audit, Finding


def settle(audits: Sequence[Audit], policy: Policy, *, is_whole: bool = True) -> tuple[Audit, ...]:
    """Return the audits of a run with the findings that count, at their levels, each with its status.

    Args:
        audits: All inputs of the run.
        policy: What counts.
        is_whole: Whether every input was read; only then can be said that a waiver or an entry of the baseline is unused.

    Returns:
        The audits in their order. What is wrong with the policy itself (unused waivers, stale entries of the baseline,
        patterns that stand for nothing) is among the findings of the first. To settle twice changes nothing more.

    Raises:
        ConfigError: A waiver expires, and the policy does not say which day it is.
    """
    settled = [triage(audit, policy) for audit in audits]
    if is_whole and settled:
        settled[0] = _with(settled[0], _complaints(settled, audits, policy), policy)
    settled = list(waivers.waive(settled, policy))
    return baseline.match(settled, policy.baseline) if policy.baseline else tuple(settled)


def _complaints(settled: Sequence[Audit], audits: Sequence[Audit], policy: Policy) -> tuple[Finding, ...]:
    # Entries of rules that are off now are not stale: their findings are still there.
    return (
        *_unmatched(audits, policy),
        *waivers.complaints(settled, policy),
        *baseline.complaints(audits, policy),
    )


def _with(audit: Audit, found: tuple[Finding, ...], policy: Policy) -> Audit:
    known = {each.fingerprint for each in found}
    kept = tuple(each for each in audit.findings if each.fingerprint not in known)
    return triage(replace(audit, findings=(*kept, *found)), policy) if found else audit


def _unmatched(audits: Sequence[Audit], policy: Policy) -> Iterator[Finding]:
    if not policy.per_tensor:
        return
    names = {name for audit in audits for name in all_names(audit)}
    for glob in policy.per_tensor:
        if not any(matches(glob, name) for name in names):
            text = f"The pattern {glob!r} of per-tensor stands for no layer and no tensor of what was read."
            yield replace(pattern_unmatched.RULE.finding(text), fingerprint=fingerprint("RGA904", glob))
