"""What a reporter gets and what it is: a finished audit in, text or bytes out; nothing is judged here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regaudit.records import Audit, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.reports.anchor import Anchor

INCOMPLETE_EXIT = 3  # an input could not be read; `policy` adds: a part that the gate needs could not be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How much to show, and for which screen; it never changes what is said.

    Args:
        width: Columns of the screen.
        color: Whether the text may carry ANSI colours.
        verbose: Show every layer with every measurement.
        quiet: Show only the verdict and what needs attention.
    """

    width: int = 100
    color: bool = False
    verbose: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An input that could not be read: where, why, and what to do about it."""

    path: str
    problem: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a reporter may show. `verdict` is absent where no gate was asked for.

    `parts` are the reports on each of several inputs, in their order; then the audit is that of `several.gather`.
    `anchor` is the line of text that stands for the model in a code review; absent where there is none.
    `written_by` is the version of the regaudit that audited, also where another shows the report again; "" for this one.
    """

    audit: Audit
    verdict: Verdict | None = None
    problems: tuple[Problem, ...] = ()
    view: View = field(default_factory=View)
    parts: tuple[Report, ...] = ()
    anchor: Anchor | None = None
    written_by: str = ""

    @property
    def name(self) -> str:
        """The path of the input, as the user gave it."""
        named = self.audit.inputs or self.problems
        return named[0].path if named else ""

    @property
    def version(self) -> str:
        """The version of the regaudit that audited."""
        from regaudit import __version__

        return self.written_by or __version__

    @property
    def status(self) -> Status:
        """Complete where every input was read and every weight in it measured."""
        return Status.INCOMPLETE if self.problems else self.audit.coverage.status

    @property
    def exit_code(self) -> int:
        """The exit code of the run, the same in every format: an unread input wins over a failed gate.

        A report that does not gate is worth reading with a part missing: it says so, and exits 0.
        """
        if self.problems:
            return INCOMPLETE_EXIT
        return self.verdict.exit_code if self.verdict else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """An output format.

    Args:
        name: The word for `--format`.
        suffixes: File suffixes that mean it, with their dots.
        render: The report in this format: bytes, or text that the command line encodes for its screen.
        is_for_people: It is read on a screen, where errors have been said already on stderr.
    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[Report], str | bytes]
    is_for_people: bool = False
