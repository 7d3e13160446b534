"""What stands out: findings and effects, each said once with its places; and what the file declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.reports import numbers, summary
from regaudit.reports.page_html.markup import Markup, html, tag
from regaudit.reports.page_html.scope import MOST_ITEMS, names, sentences, table
from regaudit.reports.sections import declaration, where_declared

if TYPE_CHECKING:
    from regaudit.records import Finding
    from regaudit.reports.page_html.scope import Scope
    from regaudit.reports.summary import Topic

WORDS = {"error": "error", "warn": "warning", "note": "note", "seen": "effect"}


def topics(scope: Scope) -> Markup:
    """Return findings, then effects, most important first."""
    found = summary.topics(scope.report.audit)
    if not found:
        return Markup()
    shown = found[:MOST_ITEMS]
    rest = tag("p", f"and {len(found) - len(shown):,} more") if len(found) > len(shown) else None
    aside = numbers.plural(len(found), "topic")
    return scope.section("topics", "What stands out", *(_topic(scope, each) for each in shown), rest, aside=aside)


def known(scope: Scope) -> Markup:
    """Return the findings that do not count, and why not."""
    groups = summary.known(scope.report.audit)
    if not groups:
        return Markup()
    items = [
        (
            tag("span", each[0].status, class_="kind note"),
            tag("strong", each[0].name),
            f" {each[0].rule} ",
            _places(each),
            each[0].note,
        )
        for each in groups
    ]
    return scope.section("known", "Known, and not counted", sentences(items))


def declared(scope: Scope) -> Markup:
    """Return what the file says was done to regularize the model."""
    groups = summary.declarations(scope.report.audit.declared)
    if not groups:
        return Markup()
    rows = [(declaration(each[0]), where_declared(each, most=6)) for each in groups[:MOST_ITEMS]]
    rest = tag("p", f"and {len(groups) - MOST_ITEMS:,} more") if len(groups) > MOST_ITEMS else None
    return scope.section("declared", "Declared in the file", table(("what", "where"), rows, "Declarations"), rest)


def _places(group: tuple[Finding, ...]) -> Markup:
    places = list(dict.fromkeys(each.layer or each.tensor for each in group if each.layer or each.tensor))
    return html(("in ", names(places), ". ")) if places else Markup()


def _topic(scope: Scope, topic: Topic) -> Markup:
    clearest = (tag("code", topic.clearest), ": ") if len(topic.places) > 1 else None
    return tag(
        "article",
        tag(
            "div",
            tag("span", WORDS[topic.kind], class_=f"kind {topic.kind}"),
            scope.sub(topic.title),
            tag("span", topic.code, class_="faint") if topic.code else None,
            tag("span", f"confidence {topic.confidence}", class_="faint aside"),
            class_="bar-title",
        ),
        tag("div", "in ", names(topic.places), class_="places") if topic.places else None,
        tag("p", clearest, topic.text),
        tag("p", tag("strong", "Fix: "), topic.fix, class_="fix") if topic.fix else None,
        class_=f"topic {topic.kind}",
    )
