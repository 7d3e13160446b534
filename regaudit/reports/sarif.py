"""The findings as SARIF 2.1.0, for GitHub code scanning and every viewer of static analysis.

A model is no text, so each result is anchored on a text file that brought it in; the model itself is a related location and
the tensor a logical one. Platforms refuse a whole file for one result without a location or an empty string.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0, 2020; GitHub, "SARIF support for code scanning".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from regaudit.records import Severity
from regaudit.reports.anchor import Anchor, anchor_of, place, uri
from regaudit.reports.base import Report, Reporter
from regaudit.reports.escape import SENTENCE_LIMIT, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import Finding
    from regaudit.rules.base import Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MAX_RESULTS = 5_000  # GitHub shows no more ("SARIF results exceed one or more limits")
DESCRIPTION_LIMIT = 1_024  # characters of fullDescription that GitHub shows
_LEVELS = {Severity.ERROR: "error", Severity.WARN: "warning", Severity.INFO: "note"}
_PROBLEMS = {Severity.ERROR: "error", Severity.WARN: "warning", Severity.INFO: "recommendation"}

Object = dict[str, Any]
Extensions = dict[tuple[str, str], "list[Rule]"]


def render(report: Report) -> bytes:
    """Return the findings of one run as a SARIF log: ASCII, sorted keys, always whole."""
    text = json.dumps(document(report), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=True)
    return text.encode("ascii") + b"\n"


def document(report: Report) -> Object:
    """Return the log as plain dictionaries and lists."""
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report)]}


REPORTER = Reporter(name="sarif", suffixes=(".sarif", ".sarif.json"), render=render)


def _run(report: Report) -> Object:
    found = [(part, each) for part in report.parts or (report,) for each in part.audit.findings]
    shown = found[:MAX_RESULTS]
    used = {each.rule for _, each in shown}
    rules, extensions = _rules(used)
    driver = {"name": "regaudit", "semanticVersion": report.version, "rules": [_rule(each) for each in rules]}
    references = {rule.code: {"ruleIndex": index} for index, rule in enumerate(rules)}
    references |= _references(extensions)
    return {
        "tool": {"driver": driver, **_extensions(extensions)},
        "columnKind": "utf16CodeUnits",
        "automationDetails": {"id": "regaudit/"},
        "artifacts": list(_artifacts(report)),
        "invocations": [_invocation(report, left_out=len(found) - len(shown))],
        "results": [_result(part, each) | references.get(each.rule, {}) for part, each in shown],
    }


def _rules(used: set[str]) -> tuple[list[Rule], Extensions]:
    """Return the rules that fired: regaudit's own, and those of plugins by the package that has them, with its version."""
    from regaudit.rules import PLUGINS, RULES

    extensions: Extensions = {}
    for plugin, rule in PLUGINS.pairs():
        if rule.code in used:
            extensions.setdefault((plugin.distribution, plugin.version), []).append(rule)
    return [rule for rule in RULES if rule.code in used], extensions


def _extensions(found: Extensions) -> Object:
    tools = [
        {"name": name, "version": version, "rules": [_rule(each) for each in rules]}
        for (name, version), rules in found.items()
    ]
    return {"extensions": tools} if tools else {}


def _references(found: Extensions) -> dict[str, Object]:
    """Return how a result names the rule of a plugin; `ruleIndex` would count in the driver's."""
    return {
        rule.code: {"rule": {"id": rule.code, "index": index, "toolComponent": {"name": name, "index": number}}}
        for number, ((name, _), rules) in enumerate(found.items())
        for index, rule in enumerate(rules)
    }


def _rule(rule: Rule) -> Object:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": (rule.why or rule.summary)[:DESCRIPTION_LIMIT]},
        "help": {"text": rule.fix or rule.summary, "markdown": f"{rule.why}\n\n**How to fix it.** {rule.fix}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {
            "tags": ["regularization", "model"],
            "precision": str(rule.confidence),
            "problem.severity": _PROBLEMS[rule.severity],
        },
    }


def _artifacts(report: Report) -> Iterator[Object]:
    for each in report.audit.inputs:
        yield {"location": {"uri": uri(each.path)}, "length": each.bytes, "roles": ["analysisTarget"]}


def _invocation(report: Report, *, left_out: int) -> Object:
    notes = [(f"{each.path}: {each.problem}", "error") for each in report.problems]
    skipped = [each for each in report.audit.coverage.skipped if each.blocking]
    if skipped:
        notes.append((f"{len(skipped)} tensors could not be measured: {skipped[0].reason}", "error"))
    if left_out:
        notes.append((f"{left_out} findings are left out: a file may show {MAX_RESULTS}", "warning"))
    return {
        "executionSuccessful": report.status == "complete",
        "exitCode": report.exit_code,
        "toolExecutionNotifications": [
            {"level": level, "message": {"text": printable(text, SENTENCE_LIMIT)}} for text, level in notes
        ],
    }


def _result(report: Report, finding: Finding) -> Object:
    result: Object = {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": _message(finding)},
        "locations": [_location(report, finding)],
        "partialFingerprints": {
            "primaryLocationLineHash": f"{finding.fingerprint}:1",
            "regaudit/v1": finding.fingerprint,
        },
        "properties": _properties(finding),
    }
    if report.name and uri(report.name) != uri(anchor_of(report).path):
        result["relatedLocations"] = [{"id": 1, "physicalLocation": _physical(Anchor(path=report.name, line=0))}]
    if finding.status == "baseline":
        result["baselineState"] = "unchanged"
    if finding.status == "waived":
        why = printable(finding.note, SENTENCE_LIMIT) or "waived"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": why}]
    return result


def _message(finding: Finding) -> str:
    where = place(finding)
    text = printable(finding.message, SENTENCE_LIMIT) or finding.name
    return f"{where}: {text}" if where and where not in text else text


def _location(report: Report, finding: Finding) -> Object:
    location: Object = {"physicalLocation": _physical(anchor_of(report))}
    if place(finding):
        kind = "module" if finding.layer else "variable"
        location["logicalLocations"] = [{"fullyQualifiedName": place(finding), "kind": kind}]
    return location


def _physical(anchor: Anchor) -> Object:
    location: Object = {"artifactLocation": {"uri": uri(anchor.path)}}
    if anchor.line:
        # GitHub hashes every file that a result points to with a line, so a model itself gets none
        location["region"] = {"startLine": anchor.line, "startColumn": 1, "endLine": anchor.line, "endColumn": 2}
    return location


def _properties(finding: Finding) -> Object:
    properties: Object = {"confidence": str(finding.confidence), "status": finding.status}
    if finding.metric and finding.value is not None:
        properties |= {
            "metric": finding.metric,
            "value": finding.value,
            "op": finding.op,
            "threshold": finding.threshold,
        }
    return properties
