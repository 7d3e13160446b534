"""The theory, computed for a layer: its weights against what the data pull at, and what penalties would do to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.records import Use
from regaudit.reports import numbers
from regaudit.reports.escape import SENTENCE_LIMIT, printable
from regaudit.reports.explanation_fields import SHARES, thresholds
from regaudit.reports.page import GAP, Column, Page, styled

if TYPE_CHECKING:
    from rich.text import Text

    from regaudit.records import Audit, Explanation, Prediction, Pulls
    from regaudit.reports.base import Report

LABEL_WIDTH: Final = len("missing")
LETTERS: Final = {Use.KERNEL: "w", Use.BIAS: "b"}
MODELS: Final = {
    "joint": "the quadratic of the data loss in all weights of this layer, the other layers as they are",
    "single": "the quadratic of the data loss in one weight at a time, for the layer is large",
}
OUTCOMES: Final = (
    Column(title="penalty", is_number=False),
    Column(title="λ"),
    Column(title="‖W‖"),
    Column(title="‖b‖"),
    Column(title="rms y"),
    Column(title="zeros"),
    Column(title="inputs dropped"),
)
NO_LABELS: Final = ("weights", "optimizer", "probe")  # levels of evidence without
WITH_LABELS: Final = "--model FILE.py:build --probe train.npz --loss mse"  # the labels are y in the file


def explanations(page: Page, report: Report) -> None:
    """Write what was asked to be explained."""
    for each in report.audit.explanations:
        page.heading(f"Explained: {printable(each.layer)}", _aside(each))
        if each.pulls:
            _quantiles(page, each)
        for pulls in each.pulls:
            _held(page, report.audit, each.layer, pulls)
        page.blank()
        page.table(list(OUTCOMES), _rows(each))
        if each.reason:
            page.paragraph(printable(each.reason, SENTENCE_LIMIT), label="missing", label_width=LABEL_WIDTH)
            for line in _command(report.audit, each):
                page.verbatim(line, indent=2 + LABEL_WIDTH + GAP)


def _aside(explanation: Explanation) -> str:
    return f"predicted by {MODELS[explanation.model]}" if explanation.model in MODELS else ""


def _quantiles(page: Page, explanation: Explanation) -> None:
    percents = explanation.pulls[0].percents
    columns = [Column(title="quantile", is_number=False), *(Column(title=f"{each}%") for each in percents)]
    rows = [
        [styled(title), *(styled(numbers.short(each)) for each in values)]
        for pulls in explanation.pulls
        for title, values in _named(pulls)
        if values
    ]
    page.table(columns, rows)


def _named(pulls: Pulls) -> tuple[tuple[str, tuple[float, ...]], ...]:
    letter = LETTERS[pulls.use]
    pull = f"u = -∂L/∂{letter}"
    return (
        (f"|{letter}|", pulls.weights),
        (f"|u|, {pull}", pulls.pulls),
        (f"u·sign({letter})", pulls.outward),
    )


def _held(page: Page, audit: Audit, layer: str, pulls: Pulls) -> None:
    """Write the strengths at which L1 zeroes weights, and at which L2 holds them."""
    measured, said = audit.layer(layer), []
    found = thresholds(audit, layer, pulls.use)
    if found:
        named = ", ".join(f"{q}% from {numbers.short(t)}" for q, t in zip(SHARES, found, strict=False))
        said.append(f"L1 zeroes {named}, one at a time.")
    equilibrium = measured.value(f"{pulls.use}.l2_equilibrium_strength")
    alignment = measured.value(f"{pulls.use}.gradient_alignment")
    if equilibrium is not None:
        cosine = "" if alignment is None else f", with a cosine of {numbers.short(alignment)}"
        said.append(_equilibrium(equilibrium, LETTERS[pulls.use], cosine))
    if said:
        page.paragraph(" ".join(said), label=str(pulls.use), label_width=LABEL_WIDTH)


def _equilibrium(strength: float, letter: str, cosine: str) -> str:
    if strength <= 0:
        return f"No L2 holds it: the data want it smaller{cosine}."
    return f"L2 holds it at {letter} = u/(2λ) with λ = {numbers.short(strength)}{cosine}."


def _rows(explanation: Explanation) -> list[list[Text]]:
    rows = [["as it is", "", *_sizes(explanation.present)]]
    last = ""
    for each in explanation.predictions:
        name = f"{each.site} {each.norm.upper()}" if each.norm else "no penalty"
        strength = numbers.strength(each.strength) if each.norm else ""
        rows.append([name if name != last else "", strength, *_sizes(each)])
        last = name
    return [[styled(cell) for cell in row] for row in rows]


def _sizes(found: Prediction) -> list[str]:
    values = (found.kernel_norm, found.bias_norm, found.activity_rms)
    zeros = "" if found.zero_fraction is None else numbers.percent(found.zero_fraction)
    return [*("" if each is None else numbers.short(each) for each in values), zeros, f"{len(found.dropped_inputs):,}"]


def _command(audit: Audit, explanation: Explanation) -> list[str]:
    """Return the command that gets the evidence that is missing; nothing where labels were given."""
    if not explanation.pulls or audit.evidence not in NO_LABELS or not audit.inputs:
        return []
    path, layer = printable(audit.inputs[0].path, SENTENCE_LIMIT), printable(explanation.layer)
    return [f"regaudit inspect {path} --explain {layer} {WITH_LABELS}"]
