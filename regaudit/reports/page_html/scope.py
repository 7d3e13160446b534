"""What every part of the page takes: the report on one model, and how much of it there is room for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from regaudit.records import Severity
from regaudit.reports import numbers
from regaudit.reports.page_html.markup import Markup, html, join, name, tag
from regaudit.reports.summary import LIVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from regaudit.measures.base import Measure
    from regaudit.records import LayerAudit
    from regaudit.reports.base import Report
    from regaudit.reports.page_html.markup import Content

MOST_ITEMS = 60  # of a list of sentences; a list this long is read by programs
SHARES = ("_fraction", "_share_90", "_accuracy", "bias.share")  # endings of measures that are shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One model of the page.

    Args:
        report: On this model alone.
        key: What its ids in the page begin with.
        level: Of its headings.
        layers: Those that the page has room for, in network order.
    """

    report: Report
    key: str
    level: int
    layers: tuple[LayerAudit, ...]

    def section(self, topic: str, title: str, *content: Content, aside: str = "") -> Markup:
        """Return a part of the page with its heading, which a link can lead to."""
        key = f"{self.key}-{topic}"
        small = tag("small", aside) if aside else None
        heading = tag(f"h{self.level}", title, (" ", small) if small else None, id=key)
        return tag("section", heading, *content, class_=f"part {topic}", aria_labelledby=key)

    def sub(self, title: str) -> Markup:
        """Return a heading below that of a section."""
        return tag(f"h{self.level + 1}", title)


@cache
def known() -> Mapping[str, Measure[Any]]:
    """Return every measure by name."""
    from regaudit.measures import every_family
    from regaudit.probes import FAMILIES as PROBED

    return {each.name: each for families in (every_family(), PROBED) for _, family in families for each in family}


def chosen(layers: Sequence[LayerAudit], most: int, urgent: frozenset[str]) -> tuple[LayerAudit, ...]:
    """Return at most about `most` layers in their order: those that findings speak of first, the others evenly spaced."""
    if len(layers) <= most:
        return tuple(layers)
    first = [i for i, each in enumerate(layers) if each.layer.name in urgent][:most]
    room = most - len(first)
    spaced = [round(i * (len(layers) - 1) / max(room - 1, 1)) for i in range(room)]
    return tuple(layers[i] for i in sorted({*first, *spaced}))


def urgent(report: Report) -> frozenset[str]:
    """Return the layers that an error or a warning speaks of."""
    return frozenset(
        each.layer for each in report.audit.findings if each.severity is not Severity.INFO and each.status == LIVE
    )


def measure(label: str, name: str = "") -> Markup:
    """Return words for a measure that lead to its explanation, where there is one."""
    name = name or label
    if name not in known():
        return tag("span", label)
    return tag("a", label, href=f"#{anchor(name)}", class_="m", data_m=name)


def anchor(name: str) -> str:
    """Return the id of the explanation of a measure."""
    return f"measure-{name}"


def value(name: str, number: float) -> str:
    """Return a number as people read it: shares in percent."""
    return numbers.percent(number) if name.endswith(SHARES) and 0 <= number <= 1 else numbers.short(number)


def sentences(texts: Iterable[Content], class_: str | None = None) -> Markup:
    """Return a list, its end left out where it is very long."""
    items = tuple(texts)
    if not items:
        return Markup()
    rest = len(items) - MOST_ITEMS
    left = (tag("li", f"and {rest:,} more; the JSON report has them all", class_="faint"),) if rest > 0 else ()
    return tag("ul", *(tag("li", each) for each in items[:MOST_ITEMS]), *left, class_=class_)


def names(places: Sequence[str], most: int = 3) -> Markup:
    """Return names of layers, repeated blocks folded, the rest behind a click."""
    from regaudit.reports.folding import fold_names

    folded = [name(each) for each in fold_names(places)]
    shown = join((tag("code", each) for each in folded[:most]), ", ")
    if len(folded) <= most:
        return shown
    rest = folded[most : most + 10 * MOST_ITEMS]
    more = join((tag("code", each) for each in rest), ", ")
    left = len(folded) - most - len(rest)
    end = f", and {left:,} more" if left else None
    return html(
        (shown, " ", tag("details", tag("summary", f"and {len(folded) - most:,} more"), more, end, class_="more"))
    )


def table(head: Sequence[Content], rows: Iterable[Sequence[Content]], caption: str = "") -> Markup:
    """Return a table whose first column names the rows; it scrolls by itself where the screen is narrow."""
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", each) for each in row[1:])) for row in rows]
    whole = tag(
        "table",
        tag("caption", caption) if caption else None,
        tag("thead", tag("tr", *(tag("th", each, scope="col") for each in head))),
        tag("tbody", *body),
    )
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption or "table")
