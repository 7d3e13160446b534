"""What the model did on data, what penalties are predicted to do, and what training with them did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Site
from regaudit.reports import numbers
from regaudit.reports.page_html.markup import Markup, html, tag
from regaudit.reports.page_html.scope import MOST_ITEMS, measure, sentences, table, value
from regaudit.reports.probe_section import LINES, is_visible
from regaudit.reports.sections import penalty

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from regaudit.records import Compared, Measurement, Norm, Outcome, ProbeRun
    from regaudit.reports.page_html.scope import Scope

MOST_OUTCOMES = 300  # of a table of penalties


def probe(scope: Scope) -> Markup:
    """Return what ran, and what was measured of the whole model."""
    audit, run = scope.report.audit, scope.report.audit.probe
    if run is None:
        return Markup()
    skips = [f"{each.measure}: {each.reason}" for each in audit.model_skips if "." not in each.measure]
    return scope.section(
        "probe",
        "The model on data",
        tag("p", _data(run)),
        *(_tiles(label, audit.model) for label in LINES),
        sentences([*run.notes, *(f"Not run: {each}" for each in skips)], "notes"),
        aside=f"{run.model} ({run.runner}) on {run.device}",
    )


def model(scope: Scope) -> Markup:
    """Return every measure of the whole model."""
    taken = scope.report.audit.model
    if not taken:
        return Markup()
    rows = [(measure(each.measure), _number(each), each.detail) for each in taken]
    shown = table(("measure", "value", "detail"), rows, "Measures of the whole model")
    closed = tag("details", tag("summary", f"{numbers.plural(len(taken), 'measure')} of the whole model"), shown)
    return scope.section("model", "Whole model", closed)


def predicted(scope: Scope) -> Markup:
    """Return the predicted validation loss under each penalty."""
    responses = scope.report.audit.responses
    if not responses:
        return Markup()
    rows = [
        (
            _penalty(each.site, each.norm), _strengths(each.strength, each.strength_l2), numbers.short(each.loss),
            _estimate(each.gain, each.gain_se), _share(each.zero_fraction), f"{each.estimand}, {each.method}".rstrip(", "),
        )
        for each in responses[:MOST_OUTCOMES]
    ]  # fmt: skip
    head = ("penalty", "strength λ", "validation loss", "gain", "near-zero weights", "how")
    about = (
        "Estimates, from short trainings by regaudit itself. A gain is positive where the penalty lowers the validation loss;"
        " bars are one standard error of the gain."
    )
    return scope.section(
        "predicted",
        "What each penalty would do",
        tag("p", about, class_="hint"),
        _curves("predicted"),
        _rows(head, rows),
    )


def trial(scope: Scope) -> Markup:
    """Return what training with each penalty led to."""
    trial = scope.report.audit.trial
    if trial is None:
        return Markup()
    head = ("penalty", "strength λ", "validation loss", "gain", "trainings", "how")
    compared = {"validation": trial.validation, "test": trial.test}
    lines = [_compared(where, each) for where, each in compared.items() if each]
    return scope.section(
        "trial",
        "What training with each penalty did",
        sentences([*trial.verdict, *lines], "why"),
        sentences([f"Limit: {each}" for each in trial.warnings], "notes"),
        _curves("trained"),
        _rows(head, [_outcome(each) for each in trial.outcomes[:MOST_OUTCOMES]]),
        tag(
            "p",
            f"{trial.recipe}; cost {numbers.short(trial.cost)} of {numbers.short(trial.budget)} trainings",
            class_="faint",
        ),
        aside=f"to {trial.estimand}",
    )


def _data(run: ProbeRun) -> str:
    said = f"{run.data}, {numbers.plural(run.examples, 'example')}"
    said += f"; validation {run.val}, {numbers.plural(run.val_examples, 'example')}" if run.val else ""
    return said + (f"; loss {run.loss}" if run.loss else "")


def _tiles(label: str, taken: Iterable[Measurement]) -> Markup:
    """Return a tile for each number of one line of the text report."""
    found = {each.measure: each for each in taken}
    tiles = [
        tag(
            "div",
            tag("dt", measure(words, name)),
            tag("dd", tag("strong", value(name, found[name].value)), _error(found[name])),
            data_m=name,
        )
        for name, words in LINES[label].items()
        if name in found
    ]
    return html((tag("p", label, class_="kicker"), tag("dl", *tiles, class_="tiles"))) if tiles else Markup()


def _error(measurement: Measurement) -> Markup:
    key, se, low, high = measurement.measure, measurement.se, measurement.low, measurement.high
    if is_visible(measurement):
        return tag("small", f" ± {value(key, se or 0.0)}")
    if low is not None and high is not None:
        return tag("small", f" {value(key, low)} to {value(key, high)}")
    return Markup()


def _number(measurement: Measurement) -> Markup:
    return tag("span", numbers.precise(measurement.value), _error(measurement), data_m=measurement.measure)


def _curves(data: str) -> Markup:
    """Return the place of a chart of losses against strengths, which scripts draw."""
    select = tag("label", "Trainings ", tag("select", class_="group"))
    canvas = tag("div", tag("canvas", role="img", aria_label="Validation loss against strength"), class_="canvas")
    return tag("figure", tag("figcaption", select), canvas, class_="curves scripted", data_curves=data, hidden=True)


def _rows(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Markup:
    closed = len(rows) > MOST_ITEMS // 4
    shown = table(head, rows, "Penalties")
    return tag("details", tag("summary", f"As a table ({len(rows)} rows)"), shown, open=not closed)


def _outcome(outcome: Outcome) -> tuple[str, ...]:
    loss = "diverged" if outcome.loss is None else _estimate(outcome.loss, outcome.loss_se)
    gain = "" if outcome.gain is None else _estimate(outcome.gain, outcome.gain_se)
    how = f"{outcome.estimand}, {outcome.steps:,} steps"
    return (
        _penalty(outcome.site, outcome.norm),
        numbers.strength(outcome.strength),
        loss,
        gain,
        f"{outcome.trainings:,}",
        how,
    )


def _compared(where: str, compared: Compared) -> str:
    gain = _estimate(compared.gain, compared.gain_se)
    return (
        f"On {compared.rows:,} {where} rows the model as it is has loss {numbers.short(compared.base)}, the winner"
        f" {numbers.short(compared.winner)}: gain {gain}."
    )


def _penalty(site: Site, norm: Norm | None) -> str:
    return "no penalty" if site is Site.NONE else penalty(site, norm)


def _strengths(strength: float, strength_l2: float | None) -> str:
    both = (strength,) if strength_l2 is None else (strength, strength_l2)
    return " and ".join(numbers.strength(each) for each in both)


def _estimate(value: float, se: float | None) -> str:
    return numbers.short(value) + (f" ± {numbers.short(se)}" if se else "")


def _share(fraction: float | None) -> str:
    return "" if fraction is None else numbers.percent(fraction)
