"""The end of a text report on several inputs: a line for each, and what came of them all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from regaudit.records import Severity
from regaudit.reports import numbers
from regaudit.reports.escape import SENTENCE_LIMIT, printable
from regaudit.reports.page import Column, styled
from regaudit.reports.sections import in_brief, verdict
from regaudit.reports.summary import NOUNS, severities

if TYPE_CHECKING:
    from rich.text import Text

    from regaudit.reports.base import Report
    from regaudit.reports.page import Page

_COLUMNS = (
    Column(title="input", is_number=False),
    Column(title="verdict", is_number=False),
    *(Column(title=f"{noun}s") for noun in NOUNS.values()),
    Column(title="recommended", is_number=False),
)
_UNREADABLE = "UNREADABLE"


def is_clean(report: Report) -> bool:
    """Return whether nothing about an input needs attention."""
    found = severities(report.audit)
    return not (report.exit_code or found[Severity.ERROR] or found[Severity.WARN])


def overview(page: Page, report: Report) -> None:
    """Write the table of all inputs and the line that sums them up."""
    page.heading("Summary", numbers.plural(len(report.parts), "input"))
    page.table(_COLUMNS, [_row(part) for part in report.parts])
    words = Counter(_word(part)[0].lower() for part in report.parts)
    found = severities(report.audit)
    counts = ", ".join(numbers.plural(found[each], noun) for each, noun in NOUNS.items())
    page.blank()
    page.paragraph(
        f"{numbers.plural(len(report.parts), 'input')}: "
        f"{', '.join(f'{count:,} {word}' for word, count in words.items())}; {counts}",
        indent=0,
    )


def _row(part: Report) -> list[Text]:
    found = severities(part.audit)
    last = printable(part.problems[0].problem, SENTENCE_LIMIT) if part.problems else ""
    if part.audit.recommendation:
        last = in_brief(part.audit.recommendation)
    counts = [""] * len(NOUNS) if part.problems else [f"{found[each]:,}" for each in NOUNS]
    return [styled(printable(part.name, SENTENCE_LIMIT)), styled(_word(part)), *map(styled, counts), styled(last)]


def _word(part: Report) -> tuple[str, str]:
    """Return the word that sums an input up, and its style."""
    if part.problems:
        return _UNREADABLE, "error"
    word, style, _ = verdict(part)
    return word, style
