"""A saved report comes back as it was: rendered again it is the same bytes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import regaudit
from regaudit.config import Policy
from regaudit.errors import CorruptCheckpoint
from regaudit.policy import verdict
from regaudit.reports import REPORTERS, Report
from regaudit.reports.anchor import Anchor
from regaudit.reports.json import render
from regaudit.reports.reading import read
from regaudit.reports.several import gather

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
BUNDLED = sorted(each.parent.name for each in FIXTURES.glob("*/expected.json"))
CASES = ["healthy", "probed", "passed", "failed", "incomplete", "unread", "hostile", "empty"]


def audited(case):
    path = FIXTURES / case / json.loads((FIXTURES / case / "expected.json").read_text())["path"]
    return regaudit.audit(path, regaudit.Options(tensors=True))


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_report_comes_back(reports, case):
    raw = render(reports[case])
    assert render(read(raw, "run.json")) == raw


@pytest.mark.parametrize("case", BUNDLED)
def test_every_bundled_model_comes_back(case):
    audit = audited(case)
    raw = render(Report(audit=audit, verdict=verdict(audit, Policy()), anchor=Anchor(path="config.json")))
    assert render(read(raw, "run.json")) == raw


def test_a_report_from_before_responses_had_layers_is_still_read(reports):
    document = json.loads(render(reports["probed"]))
    for each in document["responses"]:
        for key in ("layer", "dropped_inputs", "strength_l2"):
            del each[key]
    del document["recommendation"]["strength_l2"]
    assert document["responses"]
    assert render(read(json.dumps(document).encode(), "run.json")) == render(reports["probed"])


def test_several_inputs_come_back(reports):
    raw = render(gather([reports["failed"], reports["unread"], reports["passed"]]))
    assert render(read(raw, "run.json")) == raw


@pytest.mark.parametrize("reporter", REPORTERS, ids=lambda each: each.name)
def test_every_format_says_the_same_of_it(reports, reporter):
    """The order of a layer's parameters and measures is the only thing that a document does not keep."""
    report = read(render(reports["failed"]), "run.json")
    again = read(render(report), "run.json")
    assert reporter.render(again) == reporter.render(report)


def test_it_has_no_weights(reports):
    layer = read(render(reports["healthy"]), "run.json").audit.layers[0].layer
    assert layer.size == reports["healthy"].audit.layers[0].layer.size
    with pytest.raises(ValueError, match="has no weights"):
        layer.parameters[0].load(0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("schema_version"), "it has no schema_version"),
        (lambda d: d.update(schema_version="2.0"), "a report of version 2.0; this regaudit reads version 1"),
        (lambda d: d.pop("run"), "run should be there, and is missing"),
        (lambda d: d.update(layers={}), "layers should be an array"),
        (lambda d: d["layers"][3].update(role="gate"), r"layers\[3\].role should be one of dense"),
        (
            lambda d: d["layers"][0]["measurements"].update(x=True),
            r"layers\[0\].measurements.x should be a finite number",
        ),
        (lambda d: d["layers"][0]["arrays"][0].update(shape=[1.5]), r"shape should be an array of whole numbers"),
        (lambda d: d["coverage"].update(tensors=-1), "coverage.tensors should be 0 or more"),
        (lambda d: d["findings"][0].update(message=7), r"findings\[0\].message should be a text"),
    ],
)
def test_what_is_no_report_is_told(reports, change, message):
    document = json.loads(render(reports["failed"]))
    change(document)
    with pytest.raises(CorruptCheckpoint, match=message):
        read(json.dumps(document).encode(), "run.json")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_other_files_are_no_report(raw):
    with pytest.raises(CorruptCheckpoint, match="no report of regaudit"):
        read(raw, "run.json")


def test_a_number_that_is_not_finite_is_refused(reports):
    raw = render(reports["healthy"]).replace(b'"duration_s": 1.25', b'"duration_s": NaN')
    with pytest.raises(CorruptCheckpoint, match=r"run\.duration_s should be a finite number"):
        read(raw, "run.json")


def test_fields_of_later_versions_are_left_alone_and_those_of_earlier_ones_may_be_missing(reports):
    document = json.loads(render(reports["failed"]))
    document["later"] = {"x": 1}
    del document["run"]["objective"], document["anchor"]
    for each in document["findings"]:
        del each["note"]
    found = read(json.dumps(document).encode(), "run.json")
    assert found.audit.findings == replace(reports["failed"].audit, findings=reports["failed"].audit.findings).findings
