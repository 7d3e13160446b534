"""A comparison as GitHub-flavoured Markdown, for a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.reports import numbers
from regaudit.reports.comparison.judged import (
    LEADING,
    Judged,
    most_moved,
    moved,
    place,
    rows,
    shown_measures,
    sparkline,
)
from regaudit.reports.comparison.text import breach
from regaudit.reports.markdown import MAX_CHARACTERS, escaped

if TYPE_CHECKING:
    from regaudit.reports.base import View

MOST_BREACHES = 50
MOST_MOVED = 10


def render(judged: Judged, view: View) -> str:
    """Return what moved as Markdown, at most `MAX_CHARACTERS` long."""
    comparison = judged.comparison
    lines = ["<!-- regaudit compare -->", "## regaudit compare", ""]
    lines += [f"{escaped(comparison.runs[0])} → {escaped(comparison.runs[-1])}", ""]
    for ruling in judged.rulings:
        sign = "❌" if ruling.breaches else "⚠️" if ruling.missing else "✅"
        lines += [
            f"{sign} **{escaped(ruling.ratchet.text)}**: {len(ruling.breaches):,} of {ruling.compared:,} beyond it",
            "",
        ]
        lines += [f"- {escaped(breach(each))}" for each in ruling.breaches[:MOST_BREACHES]]
        lines += [f"- not measured in every run: {escaped(each)}" for each in ruling.missing[:MOST_BREACHES]]
        lines.append("")
    for label, names in (
        ("added", comparison.added),
        ("removed", comparison.removed),
        ("reshaped", comparison.reshaped),
    ):
        if names:
            lines += [f"{len(names):,} layers {label}: {', '.join(map(escaped, names[:10]))}", ""]
    for label, findings in (("New", comparison.appeared), ("No longer found", comparison.resolved)):
        lines += [
            f"- {label}: {each.severity} {escaped(each.name)} {escaped(each.layer or each.tensor)}: {escaped(each.message)}"
            for each in findings[:MOST_BREACHES]
        ]
    lines += ["", *_moved(judged), *([] if view.quiet else _layers(judged))]
    return _bounded(lines)


def _moved(judged: Judged) -> list[str]:
    lines = ["| layer | measure | first | last | change | |", "|---|---|---:|---:|---:|---|"]
    for each in (*most_moved(judged.comparison, MOST_MOVED), *judged.comparison.model):
        ends = ["–" if value is None else numbers.short(value) for value in (each.first, each.last)]
        cells = (escaped(place(each)), escaped(each.measure), *ends, moved(each), sparkline(each.values))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _layers(judged: Judged) -> list[str]:
    found = rows(judged.comparison)
    measures = shown_measures(found)
    lines = ["<details>", "<summary>Layers</summary>", ""]
    lines += [f"| layer | {' | '.join(LEADING[each] for each in measures)} |", f"|---|{'---:|' * len(measures)}"]
    for row, tracks in found:
        cells = [f"{moved(t)} {sparkline(t.values)}".strip() if (t := tracks.get(each)) else "" for each in measures]
        lines.append(f"| {' | '.join([escaped(row.block + row.name), *cells])} |")
    return [*lines, "", "</details>", ""]


def _bounded(lines: list[str]) -> str:
    text = "\n".join(lines) + "\n"
    if len(text) <= MAX_CHARACTERS:
        return text
    kept = text[:MAX_CHARACTERS].rpartition("\n")[0]
    end = "\n\n</details>" if kept.count("<details>") > kept.count("</details>") else ""
    return f"{kept}{end}\n\n*The rest is left out; -f json has everything.*\n"
