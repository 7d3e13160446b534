"""A table of a trial's trainings on stderr while they run: for people who wait, none where stderr is no terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from regaudit.reports import numbers

if TYPE_CHECKING:
    from types import TracebackType

    from rich.live import Live
    from rich.table import Table

    from regaudit.trials.recipe import Run
    from regaudit.trials.runs import Progress

MOST_ROWS = 14  # of penalties, the best of the longest trainings first


class LiveTable:
    """Callable with a trial's progress; shows the validation losses of every penalty so far."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted and sys.stderr is not None and sys.stderr.isatty()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Return the table itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the table off the screen."""
        self._stop()

    def __call__(self, progress: Progress) -> None:
        """Show what is done and what runs."""
        if not self._is_wanted:
            return
        if self._live is None:
            self._live = _new()
        self._live.update(table(progress), refresh=True)

    def _stop(self) -> None:
        if self._live:
            self._live.stop()


def table(progress: Progress) -> Table:
    """Return the trainings so far as a table: a row for each penalty, a column for each length of training."""
    from rich.table import Table
    from rich.text import Text

    columns = sorted({(run.job.steps, run.job.start) for run in progress.runs})
    running = f", {progress.running} running" if progress.running else ""
    made = Table(
        title=f"trial: {progress.cost:.1f} of {progress.budget:g} trainings{running}", title_justify="left", box=None
    )
    made.add_column("penalty")
    for steps, start in columns:
        made.add_column(f"{start} {steps:,}", justify="right")
    for name, losses in _rows(progress.runs, columns)[:MOST_ROWS]:
        made.add_row(Text(name), *(Text(numbers.short(each)) if each is not None else Text("") for each in losses))
    return made


def _rows(runs: tuple[Run, ...], columns: list[tuple[int, str]]) -> list[tuple[str, list[float | None]]]:
    """Return name and mean validation loss in each column, those that came furthest first, best first."""
    found: dict[str, dict[tuple[int, str], list[float]]] = {}
    for run in runs:
        name = (
            f"{run.job.arm.site} {run.job.arm.norm.upper()} {run.job.arm.strength:.3g}"
            if run.job.arm.norm
            else "no penalty"
        )
        cells = found.setdefault(name, {})
        if run.losses:
            cells.setdefault((run.job.steps, run.job.start), []).append(run.loss)
    means = {
        name: [sum(cells[column]) / len(cells[column]) if column in cells else None for column in columns]
        for name, cells in found.items()
    }
    return sorted(means.items(), key=lambda row: [(each is None, each or 0.0) for each in reversed(row[1])])


def _new() -> Live:
    from rich.console import Console
    from rich.live import Live

    live = Live(console=Console(stderr=True), transient=True, auto_refresh=False)
    live.start()
    return live
