"""The report for a person: what matters in the first ten lines, the evidence below, the scope in the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.reports.base import Reporter

if TYPE_CHECKING:
    from regaudit.reports.base import Report
    from regaudit.reports.page import Page


def render(report: Report) -> str:
    """Return the report as text for a screen."""
    from regaudit.reports.overview import is_clean, overview
    from regaudit.reports.page import Page

    page = Page(report.view)
    if not report.parts:
        _one(page, report)
        return page.render()
    for part in report.parts:
        if not (report.view.quiet and is_clean(part)):
            _one(page, part, of_several=True)
            page.blank()
    overview(page, report)
    return page.render()


REPORTER = Reporter(name="text", suffixes=(".txt",), render=render, is_for_people=True)


def _one(page: Page, report: Report, *, of_several: bool = False) -> None:
    from regaudit.reports import explaining, layer_table, probe_section, sections, trial_section

    sections.title(page, report)
    if report.problems and of_several:
        return
    sections.summarise(page, report)
    sections.topics(page, report)
    sections.known(page, report)
    if not report.view.quiet and not report.problems:
        sections.declared(page, report)
        explaining.explanations(page, report)
        probe_section.probe(page, report)
        trial_section.trial(page, report)
        sections.recommendation(page, report)
        layer_table.layer_table(page, report)
        if report.view.verbose:
            layer_table.details(page, report)
        layer_table.tensor_list(page, report)
        sections.coverage(page, report)
    page.blank()
    sections.scope(page, report)
