"""Reports byte for byte: `pytest --update-golden`, then review the diff as code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import regaudit
from regaudit import rules
from regaudit.reports import REPORTERS, Report, View
from regaudit.reports.json import SCHEMA, render

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
VIEWS = {
    "80": View(width=80),
    "120": View(width=120),
    "verbose": View(width=100, verbose=True),
    "color": View(color=True),
}


@pytest.fixture
def frozen(monkeypatch):
    """Keep the golden files apart from the version and from the wording and number of rules."""
    monkeypatch.setattr(regaudit, "__version__", "0.0.0")
    monkeypatch.setattr(rules, "RULES", ())


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("case", ["healthy", "failed"])
def test_text(reports, golden, case, view):
    content = REPORTERS[0].render(replace(reports[case], view=VIEWS[view]))
    golden(f"{case}.{view}.txt", content.encode())


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("case", ["healthy", "probed", "failed", "incomplete", "unread", "hostile"])
@pytest.mark.parametrize("reporter", [each for each in REPORTERS if each.name != "html"], ids=lambda each: each.name)
def test_every_format(reports, golden, case, reporter):
    """All but HTML, of which `unit/reports/test_html.py` keeps what a person reads: a page carries a library."""
    content = reporter.render(reports[case])
    suffix = next(iter(reporter.suffixes), f".{reporter.name}.txt")
    golden(f"{case}{suffix}", content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("case", sorted(each.parent.name for each in FIXTURES.glob("*/expected.json")))
def test_bundled_model(golden, monkeypatch, case):
    """The text of each bundled model byte for byte; its JSON, where platforms differ in the last digits, by the schema."""
    monkeypatch.chdir(FIXTURES)
    expected = json.loads(Path(case, "expected.json").read_text())
    audit = replace(regaudit.audit(f"{case}/{expected['path']}", regaudit.Options(tensors=True)), duration_s=0.0)
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(render(Report(audit=audit))))
    golden(f"fixture-{case}.txt", REPORTERS[0].render(Report(audit=audit)).encode())
