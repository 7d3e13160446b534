"""Findings from what the readers remarked about the file itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import Audit, Finding
    from regaudit.rules.base import Rule


def from_remarks(rule: Rule, kind: str, audit: Audit) -> Iterator[Finding]:
    """Yield a finding of the rule for every remark of one kind; the remark's text is the message."""
    for each in audit.remarks:
        if each.kind == kind:
            yield rule.finding(each.text, tensor=each.where)
