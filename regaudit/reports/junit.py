"""The rules as JUnit XML: a suite for each input, a test for each rule, so that every CI server shows what was checked.

GitLab counts tests of one name once, so the findings of a rule are one failure with all its places. Notes pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from regaudit.records import Severity
from regaudit.reports.anchor import place
from regaudit.reports.base import Report, Reporter
from regaudit.reports.escape import SENTENCE_LIMIT, printable

if TYPE_CHECKING:
    from regaudit.records import Finding
    from regaudit.rules.base import Rule

MAX_PLACES = 100  # of one rule; the JSON report has them all


def render(report: Report) -> bytes:
    """Return the run as JUnit XML: failures for warnings and errors, an error for what could not be read."""
    root = ET.Element("testsuites", name="regaudit")
    for part in report.parts or (report,):
        root.append(_suite(part))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode("utf-8", "backslashreplace")


REPORTER = Reporter(name="junit", suffixes=(".xml",), render=render)


def _suite(report: Report) -> ET.Element:
    from regaudit.rules import every_rule

    name = printable(report.name) or "regaudit"
    suite = ET.Element("testsuite", name=name, time=f"{report.audit.duration_s:.3f}")
    problem = _unread(report)
    if problem is not None:
        suite.append(problem)
    else:
        suite.append(_coverage(report, name))
        for rule in every_rule():
            suite.append(_case(rule, [f for f in report.audit.findings if f.rule == rule.code], name))
    for key, tag in (
        ("tests", "testcase"),
        ("failures", "testcase/failure"),
        ("errors", "testcase/error"),
        ("skipped", "testcase/skipped"),
    ):
        suite.set(key, str(len(suite.findall(tag))))
    return suite


def _unread(report: Report) -> ET.Element | None:
    if not report.problems:
        return None
    case = ET.Element("testcase", name="read the model", classname=f"regaudit.{printable(report.name)}")
    for each in report.problems:
        error = ET.SubElement(case, "error", message=printable(each.problem, SENTENCE_LIMIT), type="unread")
        error.text = printable(f"{each.path}: {each.problem}. {each.fix}", SENTENCE_LIMIT)
    return case


def _coverage(report: Report, name: str) -> ET.Element:
    case = ET.Element("testcase", name="measure every weight", classname=f"regaudit.{name}")
    blocking = [each for each in report.audit.coverage.skipped if each.blocking]
    if blocking:
        message = f"{len(blocking)} of {report.audit.coverage.tensors} tensors could not be measured"
        error = ET.SubElement(case, "error", message=message, type="incomplete")
        error.text = "\n".join(
            f"{printable(each.tensor)}: {printable(each.reason, SENTENCE_LIMIT)}" for each in blocking[:MAX_PLACES]
        )
    return case


def _case(rule: Rule, findings: list[Finding], name: str) -> ET.Element:
    case = ET.Element("testcase", name=f"{rule.code} {rule.name}", classname=f"regaudit.{name}")
    live = [each for each in findings if each.status == "new"]
    failing = [each for each in live if each.severity is not Severity.INFO]
    if failing:
        text = printable(failing[0].message, SENTENCE_LIMIT)
        failure = ET.SubElement(case, "failure", message=text, type=str(failing[0].severity))
        failure.text = _lines(failing)
    elif live:
        ET.SubElement(case, "system-out").text = _lines(live)
    elif findings:
        ET.SubElement(case, "skipped", message=f"{len(findings)} in the baseline or waived")
    return case


def _lines(findings: list[Finding]) -> str:
    lines = [
        f"{each.severity}: {place(each) or 'the file'}: {printable(each.message, SENTENCE_LIMIT)}" for each in findings
    ]
    rest = len(lines) - MAX_PLACES
    return "\n".join([*lines[:MAX_PLACES], *([f"and {rest} more"] if rest > 0 else [])])
