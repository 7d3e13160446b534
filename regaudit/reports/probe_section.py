"""What the model did on data: what ran, the losses, the sensitivity, and how active the layers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.reports import numbers
from regaudit.reports.escape import SENTENCE_LIMIT, printable
from regaudit.reports.folding import Row, fold
from regaudit.reports.page import Column, Page, styled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.text import Text

    from regaudit.records import Audit, Measurement, ProbeRun
    from regaudit.reports.base import Report

LABEL_WIDTH = len("sensitivity")
MOST_ROWS = 24  # one screen; -v shows all
MOST_DETAIL = 100  # characters of a detail that names inputs; -v shows all, and every other detail
LEAST_ERROR = 5e-4  # of the value; a smaller standard error is rounding, and none that 3 digits show

# What is said of the model, line by line; a measure that was not taken leaves its words out.
LINES = {
    "loss": {
        "model.train_loss": "training",
        "model.val_loss": "validation",
        "model.generalization_gap": "gap",
        "model.train_null_loss": "constant output",
    },
    "accuracy": {
        "model.train_accuracy": "training",
        "model.val_accuracy": "validation",
    },
    "sensitivity": {
        "model.jacobian_fro_norm": "Jacobian norm",
        "model.local_lipschitz": "local Lipschitz",
        "model.lipschitz_bound": "upper bound",
        "model.noise_slope": "noise slope",
    },
    "inputs": {
        "input.ignored_fraction": "ignored",
        "input.sensitivity_share_90": "carry 90% of the sensitivity",
        "input.constant_fraction": "constant",
    },
}
SHARES = ("_fraction", "_share_90")  # endings of measures that are shares
LEFT_OUT_AT_0 = ("input.constant_fraction",)
ACCURACIES = ("_accuracy",)
NAMING = ("input.ignored_fraction", "input.constant_fraction")  # their detail names inputs

COLUMNS: dict[str, tuple[Column, Callable[[Sequence[float]], str]]] = {
    "activity.rms": (Column(title="rms"), numbers.spread),
    "activity.zero_fraction": (Column(title="zeros"), numbers.shares),
    "activity.dead_fraction": (Column(title="dead"), numbers.shares),
    "activity.saturated_fraction": (Column(title="saturated"), numbers.shares),
    "bias.share": (Column(title="bias"), numbers.shares),
}
LEGEND = {
    "activity.rms": ("rms", "of the layer's outputs, after its activation"),
    "activity.zero_fraction": ("zeros", "share of outputs that are exactly 0"),
    "activity.dead_fraction": ("dead", "units that give the same whatever the input; behind a ReLU, that are always 0"),
    "activity.saturated_fraction": ("saturated", "share of outputs at an end of a sigmoid's or tanh's range"),
    "bias.share": ("bias", "share of the pre-activation that the bias makes"),
}


def probe(page: Page, report: Report) -> None:
    """Write what the model did on data, where it was run."""
    audit, run = report.audit, report.audit.probe
    if run is None:
        return
    page.heading("Probe", f"{printable(run.model)} ({printable(run.runner)}) on {printable(run.device)}")
    _line(page, "data", _data(run))
    for label, measures in LINES.items():
        name = f"{printable(run.loss)}: " if label == "loss" else ""
        said = _said(audit, measures, verbose=report.view.verbose)
        if said:
            _line(page, label, name + said)
    for skip in audit.model_skips:
        if "." not in skip.measure:  # a whole probe
            _line(page, "not run", f"{skip.measure}: {printable(skip.reason, SENTENCE_LIMIT)}")
    for i, note in enumerate(run.notes):
        _line(page, "" if i else "note", printable(note, SENTENCE_LIMIT))
    _table(page, audit, verbose=report.view.verbose)


def _line(page: Page, label: str, text: str) -> None:
    page.paragraph(text, label=label, label_width=LABEL_WIDTH)


def _data(run: ProbeRun) -> str:
    said = f"{printable(run.data, SENTENCE_LIMIT)}, {numbers.plural(run.examples, 'example')}"
    if run.val:
        said += f"; validation {printable(run.val, SENTENCE_LIMIT)}, {numbers.plural(run.val_examples, 'example')}"
    return said


def _said(audit: Audit, measures: dict[str, str], *, verbose: bool) -> str:
    """Return the measures that were taken: `training 0.06 ± 0.01 · validation 1.27 ± 0.3`."""
    found = {each.measure: each for each in audit.model}
    taken = [(found[name], words) for name, words in measures.items() if name in found and _is_news(found[name])]
    return " · ".join(_one(each, words, verbose=verbose) for each, words in taken)


def _one(measurement: Measurement, words: str, *, verbose: bool) -> str:
    is_shown = verbose or measurement.measure in NAMING
    detail = printable(measurement.detail, SENTENCE_LIMIT if verbose else MOST_DETAIL) if is_shown else ""
    aside = f" ({detail})" if detail else ""
    if measurement.measure.endswith(SHARES):
        return f"{numbers.percent(measurement.value)} {words}{aside}"
    if measurement.measure.endswith(ACCURACIES):
        return f"{words} {numbers.percent(measurement.value)}{aside}"
    error = f" ± {numbers.short(measurement.se or 0)}" if is_visible(measurement) else ""
    return f"{words} {numbers.short(measurement.value)}{error}{aside}"


def _is_news(measurement: Measurement) -> bool:
    return measurement.value != 0 or measurement.measure not in LEFT_OUT_AT_0


def is_visible(measurement: Measurement) -> bool:
    """Return whether there is a standard error, and it is more than rounding."""
    return measurement.se is not None and measurement.se > LEAST_ERROR * abs(measurement.value)


def _table(page: Page, audit: Audit, *, verbose: bool) -> None:
    """Write a row for each layer that was observed, repeated blocks folded; a column for what was taken of any."""
    seen = [each for each in audit.layers if each.value("activity.rms") is not None]
    if not seen:
        return
    apart = frozenset(each.layer.name for each in seen) if verbose else frozenset[str]()
    rows = fold(seen, apart)
    most = len(rows) if verbose else MOST_ROWS
    taken = [name for name in COLUMNS if any(row.values(name) for row in rows)]
    page.blank()
    columns = [Column(title="layer", is_number=False), *(COLUMNS[name][0] for name in taken)]
    page.table(columns, [_cells(row, taken) for row in rows[:most]])
    if rows[most:]:
        page.paragraph(f"and {len(rows) - most:,} more rows (shown with -v)")
    page.blank()
    for name in taken:
        title, meaning = LEGEND[name]
        page.paragraph(styled((meaning, "faint")), label=styled((title, "faint")), label_width=len("saturated"))


def _cells(row: Row, taken: Sequence[str]) -> list[Text]:
    copies = f"  ×{len(row.layers)}" if len(row.layers) != row.blocks else ""
    values = [COLUMNS[name][1](row.values(name)) or "-" for name in taken]
    return [styled(printable(row.block + row.name) + copies), *map(styled, values)]
