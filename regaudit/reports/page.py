"""Lines of styled text for a screen: paragraphs that wrap with a hanging indent, tables whose numbers never wrap."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from regaudit.reports.escape import shortened, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from regaudit.reports.base import View

PROSE_WIDTH = 120  # columns; longer lines are hard to read
MIN_WIDTH = 72  # columns; a narrower screen wraps by itself
WRAPPED_WIDTH = 22  # columns of a table's last cell, where it is words: they wrap
MIN_NAME_WIDTH = 14  # columns of a table's first cell
GAP = 2

STYLES = {
    "error": "bold red",
    "warn": "bold yellow",
    "note": "cyan",
    "seen": "blue",
    "good": "bold green",
    "heading": "bold",
    "strong": "bold",
    "faint": "dim",
    "": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table; numbers are set to the right."""

    title: str
    is_number: bool = True


class Page:
    """A growing list of lines; `render` turns it into text."""

    def __init__(self, view: View) -> None:
        """Begin an empty page for a screen."""
        self.width = max(view.width, MIN_WIDTH)
        self._view = view
        self._lines: list[Text] = []
        self._console = self._new_console(io.StringIO())

    def heading(self, title: str, aside: str = "") -> None:
        """Start a section: an empty line, a title, a faint remark."""
        self.blank()
        self._lines.append(styled((title, "heading"), (f"  {aside}" if aside else "", "faint")))

    def blank(self) -> None:
        """Leave a line empty."""
        self._lines.append(Text())

    def paragraph(self, text: str | Text, *, label: str | Text = "", indent: int = 2, label_width: int = 0) -> None:
        """Write text that wraps beside its label; `label_width` keeps the column of a label that is left empty."""
        label = label if isinstance(label, Text) else styled(label)
        body = text if isinstance(text, Text) else styled(text)
        label_width = max(label_width, label.cell_len)
        hang = indent + (label_width + GAP if label_width else 0)
        first = Text(" " * indent) + label
        first.pad_right(hang - first.cell_len)
        for line in self._wrapped(body, max(min(self.width, PROSE_WIDTH) - hang, MIN_NAME_WIDTH)):
            self._append(first + line)
            first = Text(" " * hang)

    def verbatim(self, text: str, *, indent: int = 2, style: str = "") -> None:
        """Write a line that must not be wrapped: code to copy."""
        self._append(styled((" " * indent + text, style)))

    def has_room(self, columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> bool:
        """Return whether a table fits; its last column may wrap."""
        widths = _natural_widths(columns, rows)
        last = widths[-1] if columns[-1].is_number else min(widths[-1], WRAPPED_WIDTH)
        return sum(widths[:-1]) + last + GAP * len(columns) <= self.width

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> None:
        """Write a table: words in the last column wrap, then the first is shortened; a row of one cell runs across."""
        widths = _natural_widths(columns, rows)
        if not columns[-1].is_number:
            widths[-1] = min(widths[-1], max(self.width - sum(widths[:-1]) - GAP * len(columns), WRAPPED_WIDTH))
        widths[0] = min(widths[0], max(self.width - sum(widths[1:]) - GAP * len(columns), MIN_NAME_WIDTH))
        self._row(columns, [styled((each.title, "faint")) for each in columns], widths)
        for row in rows:
            if len(row) == 1:
                self._append(Text(" " * GAP) + row[0])
            else:
                self._row(columns, row, widths)

    def render(self) -> str:
        """Return the page as text, with ANSI colours where the screen wants them."""
        if not self._view.color:
            return "".join(f"{line.plain}\n" for line in self._lines)
        out = io.StringIO()
        console = self._new_console(out)
        for line in self._lines:
            console.print(line, soft_wrap=True)
        return out.getvalue()

    def _wrapped(self, text: Text, width: int) -> Iterable[Text]:
        # most lines fit, and wrapping is what takes the time where there are 100,000 of them
        return [text] if text.cell_len <= width else text.wrap(self._console, width)

    def _append(self, line: Text) -> None:
        line.rstrip()
        self._lines.append(line)

    def _row(self, columns: Sequence[Column], cells: Sequence[Text], widths: Sequence[int]) -> None:
        *firsts, last = cells
        start = Text()
        for column, cell, width in zip(columns, firsts, widths, strict=False):
            start += Text(" " * GAP) + _fitted(cell, width, is_number=column.is_number)
        start += Text(" " * GAP)
        if columns[-1].is_number:
            self._append(start + _fitted(last, widths[-1], is_number=True))
            return
        for line in self._wrapped(last, widths[-1]):
            self._append(start + line)
            start = Text(" " * start.cell_len)

    def _new_console(self, out: io.StringIO) -> Console:
        color = self._view.color
        return Console(
            file=out,
            width=self.width,
            force_terminal=color,
            color_system="standard" if color else None,
            no_color=not color,
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
            _environ={},
        )


def styled(*parts: tuple[str, str] | str) -> Text:
    """Return text made of (words, style) parts; nothing in the words is read as markup or reaches the terminal raw."""
    text = Text()
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        text.append(visible(words), STYLES[style])
    return text


def _natural_widths(columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> list[int]:
    """Return how wide each column would like to be; a row of one cell does not count."""
    full = [row for row in rows if len(row) == len(columns)]
    return [max([cell_len(c.title), *(row[i].cell_len for row in full)]) for i, c in enumerate(columns)]


def _fitted(cell: Text, width: int, *, is_number: bool) -> Text:
    if cell.cell_len > width:
        style = cell.spans[0].style if cell.spans else cell.style
        cell = Text(shortened(cell.plain, width), style)
    padding = Text(" " * max(width - cell.cell_len, 0))
    return padding + cell if is_number else cell + padding
