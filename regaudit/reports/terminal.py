"""The report for a person: what matters in the first ten lines, the evidence below, the scope in the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.reports.base import Reporter

if TYPE_CHECKING:
    from regaudit.reports.base import Report


def render(report: Report) -> str:
    """Return the report as text for a screen."""
    from regaudit.reports import layer_table, sections
    from regaudit.reports.page import Page

    page = Page(report.view)
    sections.title(page, report)
    sections.summarise(page, report)
    sections.topics(page, report)
    if not report.view.quiet and not report.problems:
        sections.declared(page, report)
        sections.recommendation(page, report)
        layer_table.layer_table(page, report)
        if report.view.verbose:
            layer_table.details(page, report)
        layer_table.tensor_list(page, report)
        sections.coverage(page, report)
    page.blank()
    sections.scope(page, report)
    return page.render()


REPORTER = Reporter(name="text", suffixes=(".txt",), render=render, is_for_people=True)
