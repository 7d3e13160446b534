"""Reports byte for byte: `pytest --update-golden`, then review the diff as code."""

from dataclasses import replace

import pytest

import regaudit
from regaudit import rules
from regaudit.reports import REPORTERS, View

VIEWS = {
    "80": View(width=80),
    "120": View(width=120),
    "verbose": View(width=100, verbose=True),
    "color": View(color=True),
}


@pytest.fixture(autouse=True)
def frozen(monkeypatch):
    """Keep the golden files apart from the version and from the wording and number of rules."""
    monkeypatch.setattr(regaudit, "__version__", "0.0.0")
    monkeypatch.setattr(rules, "RULES", ())


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("case", ["healthy", "failed"])
def test_text(reports, golden, case, view):
    content = REPORTERS[0].render(replace(reports[case], view=VIEWS[view]))
    golden(f"{case}.{view}.txt", content.encode())


@pytest.mark.parametrize("case", ["healthy", "failed", "incomplete", "unread", "hostile"])
@pytest.mark.parametrize("reporter", REPORTERS, ids=lambda each: each.name)
def test_every_format(reports, golden, case, reporter):
    content = reporter.render(reports[case])
    golden(f"{case}{reporter.suffixes[0]}", content if isinstance(content, bytes) else content.encode())
