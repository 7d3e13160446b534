"""The end of the page: what was not measured, the tensors as the file has them, and what every measure means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.reports import numbers
from regaudit.reports.page_html.markup import Markup, name, tag
from regaudit.reports.page_html.scope import anchor, known, names, sentences, table
from regaudit.reports.summary import skipped, unmeasured

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from regaudit.records import TensorStatistics
    from regaudit.reports.page_html.scope import Scope


def coverage(scope: Scope) -> Markup:
    """Return what was not measured, and why."""
    coverage = scope.report.audit.coverage
    missing = [
        (tag("span", "not measured" if blocking else "no weights", class_=f"kind {'warn' if blocking else 'note'}"),
         " ", names(each), f": {reason}")
        for reason, blocking, each in skipped(coverage)
    ]  # fmt: skip
    reasons = [
        f"{numbers.plural(measures, 'measure')} of {numbers.plural(layers, 'layer')}: {reason}"
        for reason, measures, layers in unmeasured(scope.report.audit)
    ]
    closed = (
        tag("details", tag("summary", "Measures that were not taken, and why"), sentences(reasons)) if reasons else None
    )
    said = f"{coverage.measured:,} of {numbers.plural(coverage.tensors, 'tensor')} measured"
    return scope.section("coverage", "Coverage", sentences(missing), closed, aside=said)


def tensors(scope: Scope, most: int) -> Markup:
    """Return the tensors as the file has them, where they were asked for."""
    listed = scope.report.audit.tensors
    if not listed:
        return Markup()
    head = ("tensor", "shape", "type", "role", "sum", "norm", "min", "max", "zeros")
    shown = table(head, [_tensor(each) for each in listed[:most]], "Tensors as in the file")
    rest = len(listed) - most
    left = tag("p", f"and {rest:,} more, in the JSON report", class_="faint") if rest > 0 else None
    return scope.section(
        "tensors", "Tensors", tag("details", tag("summary", numbers.plural(len(listed), "tensor")), shown, left)
    )


def measures_of(scope: Scope) -> Iterator[str]:
    """Yield what is measured, skipped or cited of a model."""
    audit = scope.report.audit
    for layer in scope.layers:
        yield from (each.measure for each in layer.measurements)
        yield from (each.measure for each in layer.skips)
    for effect in audit.effects:
        yield from (each.measure for each in (*effect.evidence, *effect.against))
    yield from (each.measure for each in audit.model)
    if audit.recommendation:
        yield from (each.measure for each in audit.recommendation.rationale)


def glossary(used: Collection[str]) -> Markup:
    """Return what each measure of the page is: formula, meaning, trap, source."""
    entries = [_entry(each) for each in sorted(used) if each in known()]
    if not entries:
        return Markup()
    about = tag("summary", f"{numbers.plural(len(entries), 'measure')} explained: formula, reading, traps, sources")
    whole = tag("details", about, tag("dl", *entries))
    return tag(
        "section", tag("h2", "Measures", id="measures"), whole, class_="part glossary", aria_labelledby="measures"
    )


def _entry(key: str) -> Markup:
    each = known()[key]
    unit = f" in {each.unit}" if each.unit else ""
    return tag(
        "div",
        tag("dt", tag("code", key)),
        tag(
            "dd",
            tag("p", each.tells, class_="tells"),
            tag("p", tag("code", each.formula), f"{unit}, {each.range}", class_="formula"),
            tag("p", tag("strong", "Trap: "), each.trap, class_="trap") if each.trap else None,
            tag("p", f"Source: {each.source}", class_="source"),
        ),
        id=anchor(key),
    )


def _tensor(statistics: TensorStatistics) -> tuple[str, ...]:
    tensor = statistics.tensor
    low, high = statistics.minimum, statistics.maximum
    return (
        name(tensor.name), numbers.shape(tensor.shape), name(tensor.dtype), str(statistics.role),
        numbers.short(statistics.sum), numbers.short(statistics.fro_norm),
        "" if low is None else numbers.short(low), "" if high is None else numbers.short(high),
        f"{statistics.zeros:,}",
    )  # fmt: skip
