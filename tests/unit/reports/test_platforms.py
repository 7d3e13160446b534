"""What CI platforms read: valid by their schemas, whole, safe with hostile names, and the same verdict in each."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft4Validator

from regaudit.records import Confidence, Finding, Severity
from regaudit.reports import Report, github, gitlab, jsonl, junit, markdown, sarif
from regaudit.reports.anchor import Anchor, uri

CASES = ["healthy", "passed", "failed", "incomplete", "unread", "hostile", "empty", "probed"]
SARIF_SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0-rtm.5.json").read_text())


def with_findings(report, count, **fields):
    made = tuple(
        Finding(
            rule="RGA104", name="kernel-dead-units", severity=Severity.WARN, confidence=Confidence.HIGH,
            message=f"{i} units are dead.", layer=f"block.{i}", fingerprint=f"rga1:{i:032x}", **fields,
        )
        for i in range(count)
    )  # fmt: skip
    return replace(report, audit=replace(report.audit, findings=made))


# --- SARIF ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_sarif_is_valid_by_the_published_schema(reports, case):
    Draft4Validator(SARIF_SCHEMA).validate(json.loads(sarif.render(reports[case])))


@pytest.mark.parametrize("case", CASES)
def test_every_sarif_result_has_what_platforms_refuse_to_miss(reports, case):
    run = json.loads(sarif.render(reports[case]))["runs"][0]
    assert isinstance(run["results"], list)
    for result in run["results"]:
        location = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert location["uri"]
        assert not location["uri"].startswith("./")
        assert result["message"]["text"].strip()
        assert result["partialFingerprints"]["primaryLocationLineHash"]
    for rule in run["tool"]["driver"]["rules"]:
        assert rule["shortDescription"]["text"]
        assert 0 < len(rule["fullDescription"]["text"]) <= sarif.DESCRIPTION_LIMIT
        assert rule["help"]["text"]


def test_a_result_stands_at_the_anchor_and_the_model_is_related(reports):
    anchored = replace(reports["failed"], anchor=Anchor(path="regaudit.toml", line=7))
    result = sarif.document(anchored)["runs"][0]["results"][0]
    where = result["locations"][0]["physicalLocation"]
    assert where["artifactLocation"]["uri"] == "regaudit.toml"
    assert where["region"]["startLine"] == 7
    assert result["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "model.safetensors"


def test_without_an_anchor_a_binary_has_no_line(reports):
    """GitHub hashes every file that a line points into, at 1.7 MB a second."""
    result = sarif.document(reports["failed"])["runs"][0]["results"][0]
    assert "region" not in result["locations"][0]["physicalLocation"]


def test_an_incomplete_run_does_not_read_as_a_clean_one(reports):
    for case in ("incomplete", "unread"):
        invocation = sarif.document(reports[case])["runs"][0]["invocations"][0]
        assert invocation["executionSuccessful"] is False
        assert invocation["toolExecutionNotifications"]


@pytest.mark.parametrize(("status", "key"), [("baseline", "baselineState"), ("waived", "suppressions")])
def test_sarif_keeps_what_is_known(reports, status, key):
    result = sarif.document(with_findings(reports["healthy"], 1, status=status))["runs"][0]["results"][0]
    assert key in result


def test_too_many_results_are_cut_and_counted(reports):
    run = sarif.document(with_findings(reports["healthy"], sarif.MAX_RESULTS + 3))["runs"][0]
    assert len(run["results"]) == sarif.MAX_RESULTS
    assert "3 findings are left out" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("./a b.pt", "a%20b.pt"),
        ("runs\\x.pt", "runs/x.pt"),
        ("é.pt", "%C3%A9.pt"),
        ("\udcff", "%ED%B3%BF"),
        ("", "model"),
    ],
)
def test_paths_become_relative_references(path, expected):
    assert uri(path) == expected


# --- JUnit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_junit_parses_and_counts_right(reports, case):
    root = ET.fromstring(junit.render(reports[case]))
    for suite in root:
        names = [each.get("name") for each in suite]
        assert len(names) == len(set(names)) == int(suite.get("tests"))
        assert len(suite.findall("testcase/failure")) == int(suite.get("failures"))
        assert len(suite.findall("testcase/error")) == int(suite.get("errors"))


def test_a_rule_that_fires_is_one_failure_with_all_its_places(reports):
    root = ET.fromstring(junit.render(with_findings(reports["healthy"], 3)))
    failures = root.findall(".//failure")
    assert len(failures) == 1
    assert failures[0].text.count("\n") == 2


def test_known_findings_are_skipped_tests(reports):
    root = ET.fromstring(junit.render(with_findings(reports["healthy"], 1, status="waived")))
    assert root.get("failures") == "0"
    assert root.get("skipped") == "1"


# --- Markdown ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_markdown_fits_a_comment(reports, case):
    assert len(markdown.render(reports[case]).decode()) < 65_536


def test_a_long_report_is_cut_at_a_line_and_says_so(reports):
    long = with_findings(reports["healthy"], 90)
    parts = tuple(replace(long, audit=replace(long.audit, inputs=long.audit.inputs)) for _ in range(60))
    text = markdown.render(Report(audit=long.audit, parts=parts)).decode()
    assert len(text) <= markdown.MAX_CHARACTERS
    assert "more lines are left out" in text
    assert text.count("<details>") == text.count("</details>")


def test_nothing_hostile_is_markup(reports):
    text = markdown.render(reports["hostile"]).decode()
    outside = text.split("```")[::2]
    assert all("<script" not in each for each in outside)
    assert "\x1b" not in text


@pytest.mark.parametrize("active", list("|<>&`*_[]@#~"))
def test_active_characters_become_references(active):
    assert markdown.escaped(f"a{active}b") == f"a&#{ord(active)};b"


# --- Annotations, code quality, JSON lines ----------------------------------------------------------


def test_annotations_are_errors_first_and_ten_at_most(reports):
    lines = github.render(with_findings(reports["failed"], 30)).decode().splitlines()
    assert len(lines) == github.MAX_ANNOTATIONS
    assert "21 more findings" in lines[-1]
    first = github.render(reports["failed"]).decode().splitlines()
    assert [each.split()[0].strip(":") for each in first] == ["error", "warning", "notice"]


@pytest.mark.parametrize("case", CASES)
def test_every_line_is_one_command(reports, case):
    for line in github.render(reports[case]).decode().splitlines():
        assert line.startswith(("::error ", "::warning ", "::notice "))
        assert "\r" not in line


def test_what_would_end_a_command_is_escaped(reports):
    finding = replace(reports["failed"].audit.findings[0], name="a,b:c", message="50%\n::error::x")
    report = replace(reports["failed"], audit=replace(reports["failed"].audit, findings=(finding,)))
    (line,) = github.render(report).decode().splitlines()
    assert "a%2Cb%3Ac" in line
    assert "50%25" in line


@pytest.mark.parametrize("case", CASES)
def test_code_quality_has_what_gitlab_needs(reports, case):
    entries = json.loads(gitlab.render(reports[case]))
    fingerprints = [each["fingerprint"] for each in entries]
    assert len(fingerprints) == len(set(fingerprints))
    for each in entries:
        assert set(each) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert each["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert each["location"]["lines"]["begin"] >= 1
        assert not each["location"]["path"].startswith("./")


@pytest.mark.parametrize("known", ["baseline", "waived"])
def test_platforms_that_cannot_suppress_leave_out_what_is_known(reports, known):
    report = with_findings(reports["healthy"], 2, status=known)
    assert json.loads(gitlab.render(report)) == []
    assert github.render(report) == b""


@pytest.mark.parametrize("case", CASES)
def test_json_lines_are_strict_objects_that_end_with_the_exit_code(reports, case):
    lines = [json.loads(each) for each in jsonl.render(reports[case]).decode("ascii").splitlines()]
    assert all(each["kind"] for each in lines)
    assert lines[-1] == {"kind": "end", "exit_code": reports[case].exit_code, "status": str(reports[case].status)}
    assert sum(each["kind"] == "layer" for each in lines) == len(reports[case].audit.layers)
