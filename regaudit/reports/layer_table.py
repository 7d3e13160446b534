"""The evidence, layer by layer: one table for all, every measurement with -v, every tensor with --tensors."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from rich.text import Text

from regaudit.records import Role, Severity, Use
from regaudit.reports import numbers
from regaudit.reports.escape import SENTENCE_LIMIT, printable
from regaudit.reports.folding import Row, fold, shape_of
from regaudit.reports.page import Column, Page, styled
from regaudit.reports.summary import UNDECIDED, in_words, named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.records import Audit, Effect, LayerAudit, Measurement, TensorStatistics
    from regaudit.reports.base import Report

MOST_ROWS = 48  # two screens; -v shows all

NAME, EFFECTS = Column(title="layer", is_number=False), Column(title="effects", is_number=False)
ROLE = Column(title="role", is_number=False)
MEASURES = {
    "shape": Column(title="shape"),
    "kernel.growth": Column(title="growth"),
    "kernel.stable_rank_ratio": Column(title="rank"),
    "kernel.zero_fraction": Column(title="zeros"),
    "bias.to_kernel_median": Column(title="bias"),
}
LEGEND = (
    ("growth", "rms over that of the initialisation the shape implies; 1 = unchanged"),
    ("rank", "stable rank over that of same-shape noise; near 0 = few directions"),
    ("zeros", "share of weights that are exactly 0"),
    ("bias", "median |bias| over its unit's kernel norm; above 1 it dominates"),
)
ROLES = {Role.CONV_TRANSPOSE: "conv-T", Role.EMBEDDING: "embed", Role.POSITIONAL: "position"}


def layer_table(page: Page, report: Report) -> None:
    """Write the table of layers with a kernel, repeated blocks folded, and a line for the others."""
    audit, verbose = report.audit, report.view.verbose
    kernels = [each for each in audit.layers if each.layer.get(Use.KERNEL)]
    others = [each for each in audit.layers if not each.layer.get(Use.KERNEL)]
    if not audit.layers:
        return
    page.heading("Layers", f"{numbers.plural(len(kernels), 'kernel')}")
    if kernels:
        rows = fold(kernels, _apart(audit, verbose=verbose))
        most = len(rows) if verbose else MOST_ROWS
        _table(page, rows[:most], audit.effects)
        if rows[most:]:
            page.paragraph(f"and {len(rows) - most:,} more rows (shown with -v)")
    for row in _by_role(others):
        page.paragraph(row)
    if kernels:
        _legend(page)


def details(page: Page, report: Report) -> None:
    """Write every measurement of the model and of every layer, with what was not measured and why."""
    audit = report.audit
    page.heading("Measurements")
    page.paragraph(_values(audit.model), label="model", label_width=8)
    effects = defaultdict(list)
    for effect in audit.effects:
        effects[effect.layer].append(effect)
    for each in audit.layers:
        page.blank()
        _layer(page, each, effects[each.layer.name])


def tensor_list(page: Page, report: Report) -> None:
    """Write every tensor as the file has it; two lines each, so that no name is ever cut."""
    if not report.audit.tensors:
        return
    page.heading("Tensors", "as in the file; sums over finite elements")
    for each in report.audit.tensors:
        tensor = each.tensor
        facts = [numbers.shape(tensor.shape), printable(tensor.dtype), str(each.role)]
        facts += [f"layer {printable(each.layer)}"] if each.layer else []
        page.paragraph(styled((printable(tensor.name) or "''", "strong"), f"  {' · '.join(facts)}"))
        page.paragraph(_statistics(each), indent=4)


def _apart(audit: Audit, *, verbose: bool) -> frozenset[str]:
    """Return which layers get a row of their own: those that a finding speaks of; with -v all."""
    if verbose:
        return frozenset(each.layer.name for each in audit.layers)
    return frozenset(each.layer for each in audit.findings if each.severity is not Severity.INFO)


def _table(page: Page, rows: Sequence[Row], effects: Sequence[Effect]) -> None:
    """Write the table in the first layout that fits: whole, without the role, with the effects below their rows."""
    seen = _words(effects)
    lines = [_cells(row, seen) for row in _with_headers(rows)]
    below = [each for line in lines for each in _effects_below(line)]
    whole = [NAME, ROLE, *MEASURES.values(), EFFECTS]
    narrow = whole[:-1]
    layouts = [(whole, lines), _without_role(whole, lines), (narrow, below), _without_role(narrow, below)]
    page.table(*next((each for each in layouts if page.has_room(*each)), layouts[-1]))


def _without_role(columns: list[Column], rows: list[list[Text]]) -> tuple[list[Column], list[list[Text]]]:
    role = columns.index(ROLE)
    return [*columns[:role], *columns[role + 1 :]], [[*row[:role], *row[role + 1 :]] for row in rows]


def _with_headers(rows: Sequence[Row]) -> list[Row | str]:
    """Return the rows with a header before each block of several; a block of one keeps its name in front."""
    lines: list[Row | str] = []
    for block, group in groupby(rows, key=lambda row: (row.block, row.blocks)):
        members = list(group)
        if block[0] and len(members) > 1:
            lines.append(f"{printable(block[0])}  ×{block[1]}")
            lines += members
        else:
            lines += [replace(row, block="", blocks=1, name=row.block + row.name) for row in members]
    return lines


def _cells(line: Row | str, seen: dict[str, tuple[str, ...]]) -> list[Text]:
    if isinstance(line, str):
        return [styled(line)]
    copies = f"  ×{len(line.layers)}" if len(line.layers) != line.blocks else ""
    indent = "  " if line.block else ""
    role = line.layers[0].layer.role
    first = shape_of(line.layers[0])
    values = [
        numbers.shape(first),
        numbers.spread(line.values("kernel.growth")),
        numbers.spread(line.values("kernel.stable_rank_ratio")),
        numbers.shares(line.values("kernel.zero_fraction")),
        numbers.spread(line.values("bias.to_kernel_median")),
    ]
    name = printable(line.name.lstrip("./") if line.block else line.name)
    return [
        styled(indent + name + copies),
        styled(ROLES.get(role, str(role))),
        *(styled(each or "-") for each in values),
        styled((_effect_words(line.layers, seen), "seen")),
    ]


def _words(effects: Sequence[Effect]) -> dict[str, tuple[str, ...]]:
    """Return the effects that are seen on each layer, as words."""
    found: dict[str, dict[str, None]] = {}
    for each in effects:
        if each.effect != UNDECIDED:
            found.setdefault(each.layer, {})[printable(named(each))] = None
    return {layer: tuple(words) for layer, words in found.items()}


def _effect_words(layers: Sequence[LayerAudit], seen: dict[str, tuple[str, ...]]) -> str:
    """Return the effects of a row: `shrunk, sparse 2/6`."""
    counts = Counter(word for each in layers for word in seen.get(each.layer.name, ()))
    return ", ".join(word if n == len(layers) else f"{word} {n}/{len(layers)}" for word, n in counts.items())


def _effects_below(line: list[Text]) -> list[list[Text]]:
    """Return a row with its effects on a line of their own."""
    *cells, effects = line
    if not cells:
        return [line]
    return [cells, [Text("    ") + effects]] if effects else [cells]


def _by_role(layers: Sequence[LayerAudit]) -> list[str]:
    """Return a line for each role without kernels: how many there are, and the range of their scales."""
    lines = []
    for role in dict.fromkeys(each.layer.role for each in layers):
        group = Row(name=str(role), layers=tuple(each for each in layers if each.layer.role is role))
        scale = numbers.spread(group.values("scale.mean"))
        about = f", mean scale {scale}" if scale else ""
        lines.append(f"and {numbers.plural(len(group.layers), 'layer')} of role {role}{about}")
    return lines


def _legend(page: Page) -> None:
    page.blank()
    for title, meaning in LEGEND:
        page.paragraph(styled((meaning, "faint")), label=styled((title, "faint")), label_width=len("growth"))


def _layer(page: Page, audit: LayerAudit, effects: Sequence[Effect]) -> None:
    layer = audit.layer
    what = [str(layer.role), layer.op, numbers.shape(shape_of(audit)), f"{numbers.count(layer.size)} parameters"]
    about = " · ".join(printable(each) for each in what if each)
    page.paragraph(styled((printable(layer.name), "strong"), f"  {about}"))
    for parameter in layer.parameters:
        names = " + ".join(printable(each) for each in parameter.tensors)
        page.paragraph(f"{names} ({printable(parameter.dtype)})", label=str(parameter.use), indent=4, label_width=8)
    why = "; ".join(printable(each, SENTENCE_LIMIT) for each in layer.evidence)
    if why:
        page.paragraph(f"{why} (confidence {layer.confidence})", label="because", indent=4, label_width=8)
    facts = {"followed": layer.followed_by, "tied to": ", ".join(layer.tied_to), "applies": layer.activation}
    for label, fact in facts.items():
        if fact:
            page.paragraph(printable(fact, SENTENCE_LIMIT), label=label, indent=4, label_width=8)
    _families(page, audit)
    for effect in effects:
        _effect(page, effect)
    for skip in audit.skips:
        text = f"{skip.measure}: {printable(skip.reason, SENTENCE_LIMIT)}"
        page.paragraph(text, label="skipped", indent=4, label_width=8)


def _families(page: Page, audit: LayerAudit) -> None:
    """Write the measurements of a layer, those of each target together."""
    families: dict[str, list[Measurement]] = {}
    for each in audit.measurements:
        families.setdefault(each.measure.partition(".")[0], []).append(each)
    for family, measurements in families.items():
        page.paragraph(_values(measurements), label=family, indent=4, label_width=8)


def _values(measurements: Sequence[Measurement]) -> str:
    """Return measurements in a line: `rms 0.05 · dead_out_count 3 (units 3, 17, 40)`."""
    return " · ".join(
        f"{each.measure.partition('.')[2]} {numbers.precise(each.value)}"
        + (f" ± {numbers.short(each.se)}" if each.se is not None else "")
        + (f" ({printable(each.detail)})" if each.detail else "")
        for each in measurements
    )


def _effect(page: Page, effect: Effect) -> None:
    text = f"{effect.effect} ({effect.target}, confidence {in_words(effect.confidence)}): {effect.text}"
    page.paragraph(printable(text, SENTENCE_LIMIT), label=styled(("seen", "seen")), indent=4, label_width=8)
    for label, group in (("for", effect.evidence), ("against", effect.against)):
        for each in group:
            expected = f", expected {numbers.precise(each.expected)}" if each.expected is not None else ""
            line = f"{each.measure} {numbers.precise(each.value)}{expected} {printable(each.text, SENTENCE_LIMIT)}"
            page.paragraph(line.rstrip(), label=label, indent=14, label_width=7)


def _statistics(statistics: TensorStatistics) -> str:
    values = [f"sum {numbers.precise(statistics.sum)}", f"norm {numbers.precise(statistics.fro_norm)}"]
    if statistics.minimum is not None and statistics.maximum is not None:
        values.append(f"min {numbers.precise(statistics.minimum)}")
        values.append(f"max {numbers.precise(statistics.maximum)}")
    values.append(f"zeros {statistics.zeros:,}")
    if statistics.nonfinite:
        values.append(f"not finite {statistics.nonfinite:,}")
    if statistics.tensor.shares:
        values.append(f"same storage as {printable(statistics.tensor.shares)}")
    return " · ".join(values)
