"""The findings as GitLab Code Quality, which merge requests show.

Source: GitLab, "Code Quality report format". GitLab hides `check_name`, so the description begins with the rule; findings of
one fingerprint collapse, so each model has its own.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from regaudit.records import Severity
from regaudit.reports.anchor import anchor_of, place, relative
from regaudit.reports.base import Report, Reporter
from regaudit.reports.escape import SENTENCE_LIMIT, printable

if TYPE_CHECKING:
    from regaudit.records import Finding

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARN: "major", Severity.INFO: "info"}


def render(report: Report) -> bytes:
    """Return a JSON array with an entry for each unread input and each live finding; `[]` where there are none."""
    entries = [
        _entry(report.name, each.path, 1, "incomplete", f"{each.problem}", "blocker") for each in report.problems
    ]
    for part in report.parts or (report,):
        entries += [_finding(part, each) for each in part.audit.findings if each.status == "new"]
    return json.dumps(entries, indent=1, sort_keys=True, ensure_ascii=True).encode("ascii") + b"\n"


REPORTER = Reporter(name="gitlab", suffixes=(".codequality.json",), render=render)


def _finding(report: Report, finding: Finding) -> dict[str, Any]:
    anchor = anchor_of(report)
    where = place(finding)
    text = f"{finding.rule} {finding.name}: {f'{where}: ' if where else ''}{finding.message}"
    key = f"{report.name}\0{finding.fingerprint}"
    return _entry(key, anchor.path, anchor.line or 1, finding.name, text, _SEVERITIES[finding.severity])


def _entry(key: str, path: str, line: int, check: str, text: str, severity: str) -> dict[str, Any]:
    return {
        "check_name": check,
        "description": printable(text, SENTENCE_LIMIT),
        "fingerprint": hashlib.sha256(f"{key}\0{check}".encode("utf-8", "surrogatepass")).hexdigest(),
        "severity": severity,
        "location": {"path": printable(relative(path), SENTENCE_LIMIT), "lines": {"begin": line}},
    }
