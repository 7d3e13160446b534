"""How large the elements of a kernel are, and how evenly its units share that size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from regaudit.measures.base import Measure, Value
from regaudit.measures.detail import units
from regaudit.measures.ordered import gini, median

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.measures.subject import Subject
    from regaudit.records import Array

SCALE_TRAP: Final = "Says nothing of capacity where a normalization follows the kernel: its scale cancels."


def nonfinite_count(subject: Subject) -> Value:
    """Return the number of NaN and infinite elements, and the units that hold them."""
    summary = subject.summary
    return float(summary.nonfinite), units(sorted(summary.nonfinite_units)) if summary.oriented else ""


def l1_norm(subject: Subject) -> Value:
    """Return Σ|w|, in the unit of the weights."""
    return subject.summary.l1 * subject.summary.unit


def fro_norm(subject: Subject) -> Value:
    """Return ‖W‖_F = √Σw², in the unit of the weights."""
    return math.sqrt(subject.summary.squares) * subject.summary.unit


def rms(subject: Subject) -> Value:
    """Return √(Σw²/n), in the unit of the weights."""
    return subject.summary.rms * subject.summary.unit


def mean_abs(subject: Subject) -> Value:
    """Return Σ|w|/n, in the unit of the weights."""
    return subject.summary.l1 / subject.summary.size * subject.summary.unit


def max_abs(subject: Subject) -> Value:
    """Return max|w|, in the unit of the weights, and where it is."""
    summary = subject.summary
    out, into = summary.peak
    if not summary.oriented:
        where = ""
    elif summary.fan_in == 1:
        where = f"unit {out}"
    else:
        where = f"unit {out}, input {into}"
    return summary.max_abs * summary.unit, where


def value_range(subject: Subject) -> Value:
    """Return max w - min w, in the unit of the weights."""
    return (subject.summary.maximum - subject.summary.minimum) * subject.summary.unit


def _of_units(side: str, statistic: Callable[[Array], float]) -> Callable[[Subject], Value]:
    """Return a measure of the ascending norms of one side's units."""
    if side == "out":
        return lambda subject: statistic(subject.summary.sorted_out_norms) * subject.summary.unit
    return lambda subject: statistic(subject.summary.sorted_in_norms) * subject.summary.unit


def _gini_of(side: str) -> Callable[[Subject], Value]:
    if side == "out":
        return lambda subject: gini(subject.summary.sorted_out_norms)
    return lambda subject: gini(subject.summary.sorted_in_norms)


def _spread(side: str, symbol: str, over: str) -> tuple[Measure[Subject], ...]:
    """Return the four measures of how the norms of one side's units are spread."""
    return (
        Measure(
            name=f"kernel.{side}_norm_min",
            formula=f"min {symbol}, the 2-norm of {over}",
            unit="w",
            range="≥ 0",
            tells=f"The weakest {side}-unit; 0 means it is exactly zero.",
            function=_of_units(side, lambda x: float(x[0])),
        ),
        Measure(
            name=f"kernel.{side}_norm_median",
            formula=f"median {symbol}",
            unit="w",
            range="≥ 0",
            tells=f"The usual {side}-unit.",
            trap="For an even number of units the mean of the middle two.",
            function=_of_units(side, median),
        ),
        Measure(
            name=f"kernel.{side}_norm_max",
            formula=f"max {symbol}",
            unit="w",
            range="≥ 0",
            tells=f"The strongest {side}-unit; a max-norm constraint would show as an upper bound here.",
            function=_of_units(side, lambda x: float(x[-1])),
        ),
        Measure(
            name=f"kernel.{side}_norm_gini",
            formula=f"Σ(2i-n-1)x_i / (n·Σx), x = {symbol} ascending",
            range="[0, 1)",
            source="Gini 1912",
            tells=f"How unequally the {side}-units share the norm: 0 all equal, near 1 a few have everything.",
            trap="For an embedding the in-units are tokens: rare ones are smaller by nature." if side == "in" else "",
            function=_gini_of(side),
        ),
    )


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.nonfinite_count",
        formula="#{w: NaN or ±∞}",
        range="≥ 0",
        tells="Elements that make every output NaN or infinite. Anything above 0 skips all other measures.",
        function=nonfinite_count,
    ),
    Measure(
        name="kernel.l1_norm",
        formula="Σ|w|",
        unit="w",
        range="≥ 0",
        tells="What an L1 penalty with λ = 1 would add to the loss.",
        trap=SCALE_TRAP,
        function=l1_norm,
    ),
    Measure(
        name="kernel.fro_norm",
        formula="‖W‖_F = √Σw²",
        unit="w",
        range="≥ 0",
        tells="Size of the whole kernel; its square is what Keras' L2 penalty with λ = 1 would add to the loss.",
        trap=SCALE_TRAP,
        function=fro_norm,
    ),
    Measure(
        name="kernel.rms",
        formula="√(Σw²/n)",
        unit="w",
        range="≥ 0",
        tells="Size of one weight; comparable between kernels of different size.",
        trap=SCALE_TRAP,
        function=rms,
    ),
    Measure(
        name="kernel.mean_abs",
        formula="Σ|w|/n",
        unit="w",
        range="≥ 0",
        tells="Size of one weight, less moved by a few large ones than the rms.",
        function=mean_abs,
    ),
    Measure(
        name="kernel.max_abs",
        formula="max|w|",
        unit="w",
        range="≥ 0",
        tells="The largest weight; the detail says which.",
        trap="Grows with the number of weights: read max_to_rms_ratio.",
        function=max_abs,
    ),
    Measure(
        name="kernel.value_range",
        formula="max w - min w",
        unit="w",
        range="≥ 0",
        tells="0 means that the kernel is constant.",
        function=value_range,
    ),
    *_spread("out", "‖w_j‖", "row j of the (out, in·taps) matrix"),
    *_spread("in", "‖W_:i‖", "all weights of input i, over outputs and taps"),
)
