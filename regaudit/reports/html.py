"""The report as one HTML file for a person: it needs no network, no server and no extra package, and opens anywhere.

Text and tables stand without scripts; with them layers sort, filter and open, and charts appear (Chart.js, in the file). It
stays below `LIMIT`: of a larger model fewer layers are shown, and the page says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.records import Severity
from regaudit.reports import numbers
from regaudit.reports.base import Report, Reporter
from regaudit.reports.summary import severities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.reports.page_html.markup import Markup
    from regaudit.reports.page_html.scope import Scope

LIMIT: Final = 2_000_000  # bytes: what mails and CI artifacts show without complaint
MOST_LAYERS: Final = 1_000  # of all models together; a longer table is no easier to read
MOST_MODELS: Final = 24  # in full
TENSORS_A_LAYER: Final = 3  # that a list of tensors shows on average
LEAST: Final = 0.8  # how much of what fits by the size of the last try is tried next


def render(report: Report) -> bytes:
    """Return the page, with as many layers as fit."""
    most = MOST_LAYERS
    while True:
        page = _page(report, most).encode("utf-8", "backslashreplace")
        if len(page) <= LIMIT or most == 0:
            return page
        most = int(most * LEAST * LIMIT / len(page)) if most > 1 else 0


REPORTER = Reporter(name="html", suffixes=(".html", ".htm"), render=render)


def _page(report: Report, most: int) -> str:
    from regaudit.reports.page_html import assets
    from regaudit.reports.page_html.markup import tag

    title = _title(report)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{title} · regaudit"),
        assets.head(),
    )
    scopes = _scopes(report, most)
    body = tag("body", _bar(), tag("main", *_content(report, scopes, title), id="main"), _end(report))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _title(report: Report) -> str:
    from regaudit.reports.page_html.markup import name

    return (
        numbers.plural(len(report.parts), "model") if report.parts else name(report.name) if report.name else "No model"
    )


def _last(path: str) -> str:
    """Return the last part of a path, by which a person knows a model."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path


def _scopes(report: Report, most: int) -> tuple[Scope, ...]:
    """Return the models that are shown in full, worst first where they are many, in the order of the input."""
    from regaudit.reports.page_html.scope import Scope, chosen, urgent

    parts = report.parts or (report,)
    worst = sorted(range(len(parts)), key=lambda i: _order(parts[i]))[:MOST_MODELS]
    return tuple(
        Scope(
            report=parts[i], key=f"model{i}", level=3 if report.parts else 2,
            layers=chosen(parts[i].audit.layers, most // len(worst), urgent(parts[i])),
        )
        for i in sorted(worst)
    )  # fmt: skip


def _order(report: Report) -> tuple[int, int, int]:
    found = severities(report.audit)
    return -report.exit_code, -found[Severity.ERROR], -found[Severity.WARN]


def _bar() -> Markup:
    from regaudit.reports.page_html.markup import tag

    toggle = tag(
        "button", "Theme", type="button", class_="theme", hidden=True, aria_label="Switch between light and dark"
    )
    skip = tag("a", "Skip to the report", href="#main", class_="skip")
    return tag("header", skip, tag("span", "regaudit", class_="brand"), toggle, class_="bar")


def _content(report: Report, scopes: Sequence[Scope], title: str) -> tuple[Markup, ...]:
    from regaudit.reports.page_html.markup import tag
    from regaudit.reports.page_html.opening import badge, facts, opening
    from regaudit.reports.page_html.remainder import glossary, measures_of

    used = {measure for scope in scopes for measure in measures_of(scope)}
    if not report.parts:
        scope = scopes[0]
        last = _last(title)
        path = tag("p", title, class_="path") if last != title else None
        top = tag("div", tag("h1", last), path, facts(report), opening(scope), class_="hero")
        return (top, *_sections(scope), glossary(used))
    models = [
        tag(
            "details",
            tag("summary", tag("h2", _title(scope.report), id=scope.key), " ", badge(scope.report)),
            tag("div", facts(scope.report), opening(scope), class_="hero"),
            *_sections(scope),
            class_="model-part",
            open=len(scopes) == 1,
        )
        for scope in scopes
    ]
    return (tag("h1", title), _overview(report, scopes), *models, glossary(used))


def _overview(report: Report, scopes: Sequence[Scope]) -> Markup:
    """Return a row for each of several models."""
    from regaudit.reports.page_html.markup import html, tag
    from regaudit.reports.page_html.opening import badge
    from regaudit.reports.page_html.scope import table
    from regaudit.reports.sections import in_brief

    in_full = {id(scope.report): scope.key for scope in scopes}
    rows = []
    for part in report.parts:
        found = severities(part.audit)
        key, shown, advice = in_full.get(id(part)), _title(part), part.audit.recommendation
        link = tag("a", shown, href=f"#{key}") if key else html(shown)
        counts = (f"{found[each]:,}" for each in (Severity.ERROR, Severity.WARN))
        rows.append((link, badge(part), *counts, in_brief(advice) if advice else ""))
    left = len(report.parts) - len(scopes)
    about = f"{len(scopes):,} of {len(report.parts):,} models are shown in full, those that need attention first."
    shown = table(("model", "verdict", "errors", "warnings", "recommended"), rows, "All models")
    return tag("section", shown, tag("p", about, class_="hint") if left else None, class_="part", aria_label="Overview")


def _sections(scope: Scope) -> tuple[Markup, ...]:
    from regaudit.reports.page_html import advice, layers, remainder, running, topics
    from regaudit.reports.page_html.layer_data import model_data
    from regaudit.reports.page_html.markup import data

    if scope.report.problems:
        return ()
    return (
        advice.recommendation(scope),
        topics.topics(scope),
        topics.known(scope),
        running.trial(scope),
        running.predicted(scope),
        running.probe(scope),
        layers.layers(scope),
        topics.declared(scope),
        running.model(scope),
        remainder.tensors(scope, TENSORS_A_LAYER * len(scope.layers)),
        remainder.coverage(scope),
        data(model_data(scope), class_="data", data_model=scope.key),
    )


def _end(report: Report) -> Markup:
    from regaudit.reports.page_html.markup import tag
    from regaudit.rules import every_rule

    said = f"regaudit {report.version} · {numbers.plural(len(every_rule()), 'rule')} · seed {report.audit.seed} · exit code {report.exit_code}"
    return tag("footer", tag("p", said), tag("p", "This file is whole: it loads nothing and sends nothing."))
