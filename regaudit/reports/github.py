"""The worst findings as GitHub workflow commands, which show them on the pull request.

Source: GitHub, "Workflow commands for GitHub Actions". Ten annotations of a step are shown, so the last one counts the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Severity
from regaudit.reports.anchor import anchor_of, place, relative
from regaudit.reports.base import Report, Reporter
from regaudit.reports.escape import SENTENCE_LIMIT, printable

if TYPE_CHECKING:
    from regaudit.records import Finding

MAX_ANNOTATIONS = 10  # that GitHub renders of one step and level
_COMMANDS = {Severity.ERROR: "error", Severity.WARN: "warning", Severity.INFO: "notice"}


def render(report: Report) -> bytes:
    """Return one workflow command a line: unread inputs, then live findings, worst first; empty where there are none."""
    lines = [_problem(each.path, each.problem, each.fix) for each in report.problems]
    lines += [
        _annotation(part, each)
        for severity in Severity
        for part in report.parts or (report,)
        for each in part.audit.findings
        if each.severity is severity and each.status == "new"
    ]
    rest = len(lines) - MAX_ANNOTATIONS
    if rest > 0:
        lines = lines[: MAX_ANNOTATIONS - 1]
        lines.append(f"::notice title=regaudit::{rest + 1} more findings are in the report")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


REPORTER = Reporter(name="github", suffixes=(), render=render)


def _problem(path: str, problem: str, fix: str) -> str:
    text = f"{path} could not be read: {problem}" + (f". {fix}" if fix else "")
    return f"::error title=regaudit::{_message(text)}"


def _annotation(report: Report, finding: Finding) -> str:
    anchor = anchor_of(report)
    where = f"file={_value(relative(anchor.path))}" + (f",line={anchor.line}" if anchor.line else "")
    title = _value(f"{finding.rule} {finding.name}")
    text = f"{place(finding)}: {finding.message}" if place(finding) else finding.message
    return f"::{_COMMANDS[finding.severity]} {where},title={title}::{_message(text)}"


def _message(text: str) -> str:
    return printable(text, SENTENCE_LIMIT).replace("%", "%25")


def _value(text: str) -> str:
    """Return a property's value: a comma or a colon would begin the next one."""
    return _message(text).replace(":", "%3A").replace(",", "%2C")
