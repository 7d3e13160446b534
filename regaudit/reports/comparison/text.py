"""A comparison as text for a screen."""

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
from regaudit.reports.escape import SENTENCE_LIMIT, printable
from regaudit.reports.folding import fold_names
from regaudit.reports.page import Column, Page, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.compare import Breach, Ruling, Track
    from regaudit.records import Finding
    from regaudit.reports.base import View

MOST_MOVED = 5
MOST_PLACES = 10  # of a ratchet, and of any list of names
LABEL_WIDTH = len("no longer")


def render(judged: Judged, view: View) -> str:
    """Return what moved: the verdict of the limits first, then the layers and the model."""
    page = Page(view)
    comparison = judged.comparison
    runs = [printable(each, SENTENCE_LIMIT) for each in comparison.runs]
    page.paragraph(styled((f"{runs[0]} → {runs[-1]}", "strong")), indent=0)
    if len(runs) > 2:
        page.paragraph(f"by way of {numbers.listed(runs[1:-1], 5)}", indent=0)
    for ruling in judged.rulings:
        _ruling(page, ruling)
    _names(page, judged)
    _findings(page, "new", comparison.appeared)
    _findings(page, "no longer", comparison.resolved)
    if not view.quiet:
        _moved(page, most_moved(comparison, MOST_MOVED))
        _layers(page, judged)
        _tracks(page, "The whole model", comparison.model)
    if view.verbose:
        _tracks(page, "Every measure", comparison.tracks)
    return page.render()


def _ruling(page: Page, ruling: Ruling) -> None:
    word, style = (
        ("FAILED", "error") if ruling.breaches else ("INCOMPLETE", "warn") if ruling.missing else ("PASSED", "good")
    )
    page.blank()
    text = f"{ruling.ratchet.text}: {numbers.plural(len(ruling.breaches), 'value')} of {ruling.compared:,} beyond it"
    page.paragraph(text, label=styled((word, style)), indent=0, label_width=len("INCOMPLETE"))
    for each in ruling.breaches[:MOST_PLACES]:
        page.paragraph(breach(each))
    if ruling.breaches[MOST_PLACES:]:
        page.paragraph(f"and {len(ruling.breaches) - MOST_PLACES:,} more")
    if ruling.missing:
        page.paragraph(f"not measured in every run: {_listed(ruling.missing)}")


def breach(each: Breach) -> str:
    """Return a breach in a line."""
    change = "" if each.change is None else f" ({each.change:+.1%})"
    where = printable(each.layer) or "model"
    return f"{where}: {numbers.precise(each.old)} → {numbers.precise(each.new)}{change} in {printable(each.run, SENTENCE_LIMIT)}"


def _names(page: Page, judged: Judged) -> None:
    comparison = judged.comparison
    taken = sorted({each for each in comparison.prefixes if each})
    facts = (
        ("added", comparison.added),
        ("removed", comparison.removed),
        ("reshaped", comparison.reshaped),
        ("prefix", tuple(f"{each} is taken off, so that names match" for each in taken)),
    )
    if any(names for _, names in facts):
        page.blank()
    for label, names in facts:
        if names:
            page.paragraph(_listed(names), label=label, indent=0, label_width=LABEL_WIDTH)


def _listed(names: Sequence[str]) -> str:
    return numbers.listed([printable(each) for each in fold_names(names)], MOST_PLACES)


def _findings(page: Page, label: str, findings: Sequence[Finding]) -> None:
    for each in findings[:MOST_PLACES]:
        where = printable(each.layer or each.tensor)
        said = (
            f"{each.severity} {each.name}{f' in {where}' if where else ''}: {printable(each.message, SENTENCE_LIMIT)}"
        )
        page.paragraph(said, label=label, indent=0, label_width=LABEL_WIDTH)
    if findings[MOST_PLACES:]:
        page.paragraph(f"and {len(findings) - MOST_PLACES:,} more", indent=0)


def _moved(page: Page, tracks: Sequence[Track]) -> None:
    page.heading("What moved most")
    if not tracks:
        page.paragraph("nothing")
        return
    _table(page, tracks)


def _tracks(page: Page, title: str, tracks: Sequence[Track]) -> None:
    if tracks:
        page.heading(title)
        _table(page, tracks)


def _table(page: Page, tracks: Sequence[Track]) -> None:
    is_long = len(tracks[0].values) > 2
    columns = [
        Column(title="layer", is_number=False),
        Column(title="measure", is_number=False),
        Column(title="first"),
        Column(title="last"),
        Column(title="change"),
        *([Column(title="a run"), Column(title="course", is_number=False)] if is_long else []),
    ]
    page.table(
        columns,
        [
            [
                styled(printable(place(each))),
                styled(printable(each.measure)),
                styled(_number(each.first)),
                styled(_number(each.last)),
                styled(moved(each)),
                *([styled(_number(each.slope)), styled(sparkline(each.values))] if is_long else []),
            ]
            for each in tracks
        ],
    )


def _layers(page: Page, judged: Judged) -> None:
    found = rows(judged.comparison)
    measures = shown_measures(found)
    if not measures:
        return
    page.heading("Layers", "from first to last; repeated blocks as one, by their median")
    columns = [Column(title="layer", is_number=False), *(Column(title=LEADING[each]) for each in measures)]
    body = []
    for row, tracks in found:
        name = f"{row.block}{row.name}" + (f" ×{len(row.layers)}" if len(row.layers) > 1 else "")
        cells = [styled(_cell(tracks.get(each), has_course=each == measures[0])) for each in measures]
        body.append([styled(printable(name)), *cells])
    page.table(columns, body)


def _cell(track: Track | None, *, has_course: bool) -> str:
    course = sparkline(track.values) if track and has_course else ""
    return f"{moved(track)} {course}".strip() if track else ""


def _number(value: float | None) -> str:
    return "–" if value is None else numbers.short(value)
