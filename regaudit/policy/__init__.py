"""Audits and a policy in; findings that count, and a verdict with its exit code, out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.policy.settle import settle
from regaudit.policy.verdict import FAILED, INCOMPLETE, PASSED, verdict

if TYPE_CHECKING:
    from regaudit.config import Policy
    from regaudit.records import Audit, Verdict

__all__ = ["FAILED", "INCOMPLETE", "PASSED", "judge", "settle", "verdict"]


def judge(audit: Audit, policy: Policy) -> Verdict:
    """Judge an audit by the whole of a policy.

    Args:
        audit: The finished audit.
        policy: Which findings count, and from which severity on they fail it.

    Returns:
        As `verdict`, which see; `settle` returns the findings by which it is judged.

    Raises:
        ConfigError: A waiver expires, and the policy does not say which day it is.
    """
    return verdict(settle([audit], policy)[0], policy)
