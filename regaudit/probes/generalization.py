"""How well the model does on training and on validation data, beside a model that ignores its inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Estimate, Measure, Value, plural, require
from regaudit.probes.jackknife import mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.records import Array

QUANTILE: Final = 0.1  # of margins, as in Dziugaite et al. 2020
NORMAL_95: Final = 1.959964  # standard errors on each side of a 95% interval
NO_VAL: Final = "no validation data"
NO_CLASSES: Final = "the labels are no classes"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """One file of labelled examples, run through the model.

    Args:
        losses: Shape (examples,).
        null_losses: Of the best constant output on the training labels.
        margins: f_y - max of the others, of every label; () where the labels are no classes.
        correct: Share of correct labels of each example; () where the labels are no classes.
    """

    losses: Array
    null_losses: Array
    margins: Array
    correct: Array

    @property
    def detail(self) -> str:
        """How many examples there are."""
        return plural(len(self.losses), "example")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """What the model makes of training and validation data."""

    train: Rows
    val: Rows | None


def gap(fit: Fit) -> Value:
    """Return the validation loss minus the training loss."""
    val = _val(fit)
    train_mean, val_mean = mean(fit.train.losses), mean(val.losses)
    value = val_mean.value - train_mean.value
    detail = f"{len(fit.train.losses):,} training and {len(val.losses):,} validation examples"
    if train_mean.se is None or val_mean.se is None:
        return Estimate(value=value, detail=detail)
    se = math.hypot(train_mean.se, val_mean.se)
    return Estimate(value=value, detail=detail, se=se, low=value - NORMAL_95 * se, high=value + NORMAL_95 * se)


def _val(fit: Fit) -> Rows:
    require(fit.val is not None, NO_VAL)
    assert fit.val is not None
    return fit.val


def _train(fit: Fit) -> Rows:
    return fit.train


def _loss(rows: Rows) -> Value:
    return mean(rows.losses, rows.detail)


def _null_loss(rows: Rows) -> Value:
    return mean(rows.null_losses, rows.detail)


def _accuracy(rows: Rows) -> Value:
    require(len(rows.correct) > 0, NO_CLASSES)
    return mean(rows.correct, rows.detail)


def _margin_mean(rows: Rows) -> Value:
    require(len(rows.margins) > 0, NO_CLASSES)
    return mean(rows.margins, plural(len(rows.margins), "label"))


def _margin_quantile(rows: Rows) -> Value:
    require(len(rows.margins) > 0, NO_CLASSES)
    return float(np.quantile(rows.margins, QUANTILE)), plural(len(rows.margins), "label")


def _on(side: Callable[[Fit], Rows], function: Callable[[Rows], Value]) -> Callable[[Fit], Value]:
    return lambda fit: function(side(fit))


def _measures(name: str, word: str, side: Callable[[Fit], Rows]) -> tuple[Measure[Fit], ...]:
    """Return the measures of one file."""
    return (
        Measure(
            name=f"model.{name}_loss",
            formula=f"mean loss over the {word} examples, no penalty",
            unit="L",
            range="any",
            tells=f"What the model achieves on {word} data.",
            function=_on(side, _loss),
        ),
        Measure(
            name=f"model.{name}_null_loss",
            formula=f"mean loss over the {word} examples of a constant output: the training labels' mean, log-odds or log class frequencies (a class without any has half an example)",
            unit="L",
            range="any",
            tells="What a model that ignores its inputs achieves: one that is no better has learned nothing, or was penalised to death.",
            function=_on(side, _null_loss),
        ),
        Measure(
            name=f"model.{name}_accuracy",
            formula=f"share of correct labels over the {word} examples",
            range="[0, 1]",
            tells=f"How often the largest logit is the right one on {word} data.",
            function=_on(side, _accuracy),
        ),
        Measure(
            name=f"model.{name}_margin_mean",
            formula=f"mean of f_y - max over k ≠ y of f_k over the {word} labels; (2y - 1)·f for a single logit",
            unit="f",
            range="any",
            tells="How far the right logit leads.",
            trap="Grows with the scale of the last kernel without any label changing.",
            function=_on(side, _margin_mean),
        ),
        Measure(
            name=f"model.{name}_margin_p10",
            formula=f"10% quantile of f_y - max over k ≠ y of f_k over the {word} labels; (2y - 1)·f for a single logit",
            unit="f",
            range="any",
            source="Dziugaite et al. 2020",
            tells="How far the right logit leads for the hardest tenth; below 0 it does not.",
            trap="Grows with the scale of the last kernel without any label changing.",
            function=_on(side, _margin_quantile),
        ),
    )


MEASURES: Final[tuple[Measure[Fit], ...]] = (
    *_measures("train", "training", _train),
    *_measures("val", "validation", _val),
    Measure(
        name="model.generalization_gap",
        formula="val_loss - train_loss, interval ± 1.96 standard errors",
        unit="L",
        range="any",
        tells="Overfitting, the only direct evidence of it: without a gap there is nothing for a penalty to close.",
        trap="Augmentation and dropout are off here; validation data that leaked into training hide it.",
        function=gap,
    ),
)
