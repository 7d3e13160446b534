"""`docs/measures.md`, rendered from the measures themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from regaudit.measures.base import Measure

_INTRODUCTION: Final = """\
# Measures

Every number in a report is one of these, or is computed from them by a rule that says so.

- The matrix of a kernel is (out, in·taps), whatever the order in the file; w_j is its row j, the weights of
  out-unit j; W_:i are all weights of input i. An embedding is a kernel with tokens as inputs and dimensions as
  outputs. n is the number of elements, m ≤ n are the sides of the matrix where a spectrum is meant.
- Sums are taken in double precision over all elements, in one or two passes, in bounded memory.
- A number is finite or absent: what could not be measured is listed with the reason. A kernel with a single NaN
  or infinity has only its `nonfinite_count`.
- Unit `w`, `b`, γ … is that of the weights, biases, scales …; no unit means a pure number.
"""


def describe() -> str:
    """Return the documentation of all measures as Markdown, one table a family."""
    from regaudit.measures import FAMILIES

    return _INTRODUCTION + tables(FAMILIES)


def tables(families: tuple[tuple[str, tuple[Measure[Any], ...]], ...]) -> str:
    """Return families of measures as Markdown, a heading and a table each."""
    return "".join(_table(title, measures) for title, measures in families)


def _table(title: str, measures: tuple[Measure[Any], ...]) -> str:
    head = f"\n## {title}\n\n| measure | formula | unit | range | source | what it tells; traps |\n|---|---|---|---|---|---|\n"
    return head + "".join(_row(measure) for measure in measures)


def _row(measure: Measure[Any]) -> str:
    says = measure.tells + (f" *{measure.trap}*" if measure.trap else "")
    if measure.not_for:
        says += f" Not taken for: {', '.join(sorted(measure.not_for))}."
    cells = (f"`{measure.name}`", measure.formula, measure.unit, measure.range, measure.source, says)
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |\n"


def _escaped(cell: str) -> str:
    """Return a cell with everything escaped that Markdown would read as a table cell, emphasis or HTML."""
    if cell.startswith("`"):
        return cell
    return cell.replace("|", "\\|").replace("_", "\\_").replace("<", "&lt;")
