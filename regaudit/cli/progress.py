"""A progress bar on stderr, for people who wait: none before the first second, none where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from regaudit.reports.escape import printable

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress

PATIENCE_S = 1.0  # a bar that flashes by is noise


class ProgressBar:
    """Callable as `progress(done, total, layer)`; appears when the work turns out to take long."""

    def __init__(self, *, is_wanted: bool, label: str = "") -> None:
        """Start the clock; the label stands before the layer."""
        self._label = label
        self._is_wanted = is_wanted and sys.stderr is not None and sys.stderr.isatty()
        self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        """Return the bar itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar off the screen."""
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int, layer: str) -> None:
        """Show how far the work is."""
        if not self._is_wanted or (self._bar is None and time.monotonic() - self._started < PATIENCE_S):
            return
        bar = self._bar = self._bar or _new_bar()
        if not bar.task_ids:
            bar.add_task("", layer="")
        bar.update(bar.task_ids[0], completed=done, total=total, layer=self._label + printable(layer, 40))


def _new_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("measuring"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[layer]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    bar.start()
    return bar
