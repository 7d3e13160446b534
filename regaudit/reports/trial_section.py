"""What the penalties led to when they were trained with: the verdict, its limits, and the losses of every penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Site
from regaudit.reports import numbers
from regaudit.reports.escape import SENTENCE_LIMIT, printable
from regaudit.reports.page import Column, Page, styled

if TYPE_CHECKING:
    from rich.text import Text

    from regaudit.records import Compared, Outcome, Trial
    from regaudit.reports.base import Report

LABEL_WIDTH = len("verdict")
MOST_ROWS = 12  # -v shows all
COLUMNS = (
    Column(title="penalty", is_number=False),
    Column(title="from", is_number=False),
    Column(title="steps"),
    Column(title="times"),
    Column(title="val loss"),
    Column(title="gain over none"),
    Column(title="train loss"),
)
STARTS = {"retrain": "new values", "resume": "these weights"}


def trial(page: Page, report: Report) -> None:
    """Write a trial, where there was one."""
    found = report.audit.trial
    if found is None:
        return
    cost = f"{found.cost:.1f} of {found.budget:g} trainings"
    page.heading("Trial", f"{printable(found.recipe, SENTENCE_LIMIT)}; {cost}")
    _lines(page, "verdict", found.verdict)
    if found.test:
        _lines(page, "test", (_tested(found.test),))
    _lines(page, "limits", found.warnings)
    if found.log:
        _lines(page, "log", (found.log,))
    _table(page, found, most=len(found.outcomes) if report.view.verbose else MOST_ROWS)


def _lines(page: Page, label: str, sentences: tuple[str, ...]) -> None:
    for i, each in enumerate(sentences):
        page.paragraph(printable(each, SENTENCE_LIMIT), label="" if i else label, label_width=LABEL_WIDTH)


def _tested(test: Compared) -> str:
    return (
        f"On {test.rows:,} test rows, looked at once: {numbers.short(test.winner)} against {numbers.short(test.base)} of the"
        f" model as it is, a gain of {numbers.short(test.gain)} ± {numbers.short(test.gain_se)}."
    )


def _table(page: Page, found: Trial, *, most: int) -> None:
    page.blank()
    page.table(list(COLUMNS), [_cells(each) for each in found.outcomes[:most]])
    if found.outcomes[most:]:
        page.paragraph(f"and {len(found.outcomes) - most} more rows (shown with -v)")


def _cells(outcome: Outcome) -> list[Text]:
    norm = outcome.norm.upper() if outcome.norm else ""
    name = "none" if outcome.site is Site.NONE else f"{outcome.site} {norm} {numbers.strength(outcome.strength)}"
    loss = "diverged" if outcome.loss is None else _with_error(outcome.loss, outcome.loss_se)
    gain = "" if outcome.gain is None else _with_error(outcome.gain, outcome.gain_se)
    train = "" if outcome.train_loss is None else numbers.short(outcome.train_loss)
    cells = (
        name,
        STARTS.get(outcome.estimand, outcome.estimand),
        f"{outcome.steps:,}",
        str(outcome.trainings),
        loss,
        gain,
        train,
    )
    return [styled(each) for each in cells]


def _with_error(value: float, error: float | None) -> str:
    return numbers.short(value) if error is None else f"{numbers.short(value)} ± {numbers.short(error)}"
