"""The table of layers: one row each, that scripts sort, filter and open; and the chart of any measure against depth."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from regaudit.records import Severity
from regaudit.reports import numbers
from regaudit.reports.folding import shape_of
from regaudit.reports.page_html.markup import Markup, name, tag
from regaudit.reports.page_html.scope import measure, value
from regaudit.reports.summary import KINDS, LIVE, UNDECIDED, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from regaudit.records import Audit, LayerAudit
    from regaudit.reports.page_html.scope import Scope

# What a column shows, and its title; those that no layer has are left out.
COLUMNS: Final = {
    "kernel.rms": "rms",
    "kernel.growth": "growth",
    "kernel.stable_rank_ratio": "rank",
    "kernel.zero_fraction": "zeros",
    "bias.to_kernel_median": "bias",
    "activity.rms": "activity",
    "activity.dead_fraction": "dead",
    "activity.output_sensitivity": "sensitivity",
}
SCRIPTED: Final = "Sorting, charts and the details of a layer need JavaScript; the JSON report has every number."


def layers(scope: Scope) -> Markup:
    """Return the section with its filters, the table and the chart."""
    audit = scope.report.audit
    if not audit.layers:
        return Markup()
    left = len(audit.layers) - len(scope.layers)
    about = (
        f"{len(scope.layers):,} of {len(audit.layers):,} layers are shown here: those that errors and warnings speak of, and"
        " others evenly spaced in depth, so that this file stays small. The JSON report has them all."
    )
    return scope.section(
        "layers",
        "Layers",
        tag("p", about, class_="hint") if left else None,
        tag("noscript", tag("p", SCRIPTED, class_="hint")),
        _depth(scope),
        _filters(scope, marks(audit)),
        _table(scope, marks(audit)),
        aside=f"{len(audit.layers):,}",
    )


def marks(audit: Audit) -> Mapping[str, tuple[tuple[str, str], ...]]:
    """Return what was found of each layer: (kind, name) of findings, then of effects, each once."""
    found: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    live = [each for each in audit.findings if each.status == LIVE]
    for finding in sorted(live, key=lambda each: list(Severity).index(each.severity)):
        found[finding.layer][KINDS[finding.severity], finding.name] = None
    for effect in audit.effects:
        if effect.effect != UNDECIDED:
            found[effect.layer]["seen", named(effect)] = None
    return {layer: tuple(each) for layer, each in found.items()}


def _depth(scope: Scope) -> Markup:
    """Return the place of a chart that scripts draw: any measure against the place of the layer in the network."""
    select = tag("select", id=f"{scope.key}-depth-measure", class_="depth-measure")
    label = tag("label", "Measure ", select)
    canvas = tag("div", tag("canvas", role="img", aria_label="A measure against depth"), class_="canvas")
    caption = tag("figcaption", "From input to output. ", label, " ", tag("span", class_="faint explained"))
    return tag("figure", caption, canvas, class_="depth scripted", hidden=True)


def _filters(scope: Scope, found: Mapping[str, tuple[tuple[str, str], ...]]) -> Markup:
    shown = {each.layer.name for each in scope.layers}
    roles = dict.fromkeys(str(each.layer.role) for each in scope.layers)
    words = dict.fromkeys(word for layer, each in found.items() if layer in shown for _, word in each)
    return tag(
        "div",
        tag(
            "label",
            "Find ",
            tag("input", type="search", class_="find", placeholder="name of a layer", autocomplete="off"),
        ),
        tag("label", "Role ", _select("role", "all roles", roles)),
        tag("label", "Seen ", _select("mark", "anything", words)) if words else None,
        tag("output", class_="count", aria_live="polite"),
        class_="filters scripted",
        hidden=True,
    )


def _select(class_: str, every: str, choices: Iterable[str]) -> Markup:
    options = (tag("option", name(each), value=name(each)) for each in choices)
    return tag("select", tag("option", every, value=""), *options, class_=class_)


def _table(scope: Scope, found: Mapping[str, tuple[tuple[str, str], ...]]) -> Markup:
    is_seen = any(found.get(each.layer.name) for each in scope.layers)
    columns = [each for each in COLUMNS if any(layer.value(each) is not None for layer in scope.layers)]
    index = {id(each): i for i, each in enumerate(scope.report.audit.layers)}
    rows = (
        _row(i, index[id(each)], each, columns, found.get(each.layer.name, ()) if is_seen else None)
        for i, each in enumerate(scope.layers)
    )
    head = (
        _head("#", "Place in the network"),
        _head("layer"),
        _head("role"),
        _head("shape"),
        *(
            tag("th", measure(title, each), scope="col", data_m=each, class_="number")
            for each, title in COLUMNS.items()
            if each in columns
        ),
        _head("seen") if is_seen else None,
    )
    whole = tag(
        "table",
        tag("caption", "Layers in network order", class_="hidden"),
        tag("thead", tag("tr", *head)),
        tag("tbody", *rows),
        class_="layers",
    )
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label="Layers")


def _head(title: str, about: str = "") -> Markup:
    return tag("th", title, scope="col", title=about or None)


def _row(
    i: int, depth: int, audit: LayerAudit, columns: list[str], found: tuple[tuple[str, str], ...] | None
) -> Markup:
    layer, shape = audit.layer, shape_of(audit)
    shown = name(layer.name)
    size = layer.size
    badges = (tag("span", name(word), class_=f"kind {kind}") for kind, word in found or ())
    return tag(
        "tr",
        tag("td", f"{depth + 1:,}", data_v=depth, class_="number faint"),
        tag("th", tag("button", shown, type="button", class_="open"), scope="row"),
        tag("td", str(layer.role)),
        tag("td", numbers.shape(shape), data_v=size, class_="number"),
        *(_cell(each, audit.value(each)) for each in columns),
        tag("td", *badges, data_v=len(found)) if found is not None else None,
        data_i=i,
        data_role=str(layer.role),
        data_marks="|".join(name(word) for _, word in found or ()),
    )


def _cell(name: str, number: float | None) -> Markup:
    if number is None:
        return tag("td", "–", class_="number faint")
    return tag("td", value(name, number), data_v=f"{number:.6g}", class_="number")
