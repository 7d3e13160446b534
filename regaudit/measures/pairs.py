"""Balance of layers that share units: what scaling one up and the other down leaves unchanged, a penalty makes equal.

A ReLU unit computes the same with its incoming weights times c and its outgoing ones over c. The loss does not care, so
at the minimum of loss and L2 penalty ‖w_in‖ = ‖w_out‖ for every unit, with L1 Σ|w_in| = Σ|w_out|. The same holds for
the rows of a query and a key projection, and for a value and an output one, by any optimizer that got there.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Measure, Value, require
from regaudit.measures.blocks import Blocks
from regaudit.measures.exposure import LARGEST
from regaudit.records import LayerAudit, Parameter, Role, Use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.measures.model import Model
    from regaudit.records import Array, Layer

LEAST_UNITS: Final = 8  # fewer may agree by chance
ALIVE: Final = 1e-3  # of the median norm: units below are dead, and have no balance
_HEADS: Final = (("query", "key"),)  # both produce the same units; rows are compared with rows


def unit_balance(model: Model) -> Value:
    """Return the worst pair's median over units of |ln(‖w_in‖²/‖w_out‖²)|."""
    return _worst(model, 2)


def unit_balance_l1(model: Model) -> Value:
    """Return the worst pair's median over units of |ln(Σ|w_in|/Σ|w_out|)|."""
    return _worst(model, 1)


def unit_balance_to_chance(model: Model) -> Value:
    """Return the worst pair's balance of squares over that of random weights of one scale: 0.67·√(2/n_in + 2/n_out)."""
    found = []
    for a, b in _stack(model):
        value = _median(_sizes(a, 0, 2), _sizes(b, 1, 2))
        if value is not None:
            found.append((value / _chance(a, b), f"{a.name} and {b.name}"))
    require(bool(found), "no two dense layers follow each other directly")
    return max(found)


def factor_balance(model: Model) -> Value:
    """Return the median over query and key projections of their rows' median |ln(‖q_j‖²/‖k_j‖²)|."""
    found = [_median(_sizes(q, 0, 2), _sizes(k, 0, 2)) for q, k in _factors(model)]
    known = [each for each in found if each is not None]
    require(bool(known), "no query and key projections of the same shape without a normalization")
    return median(known), f"{len(known)} pairs"


def _worst(model: Model, power: int) -> Value:
    found = [(_median(_sizes(a, 0, power), _sizes(b, 1, power)), a, b) for a, b in _stack(model)]
    known = [(value, f"{a.name} and {b.name}") for value, a, b in found if value is not None]
    require(bool(known), "no two dense layers follow each other directly")
    return max(known)


def _stack(model: Model) -> Iterator[tuple[Layer, Layer]]:
    """Yield dense layers that directly follow each other in the file, where the units of one are the inputs of the other."""
    layers = [each.layer for each in model.layers]
    measured = {each.layer.name for each in model.layers if each.value("kernel.rms")}
    for a, b in pairwise(layers):
        is_plain = all(each.role is Role.DENSE and not each.part and each.name in measured for each in (a, b))
        if is_plain and not a.followed_by and _extent(a, 0) == _extent(b, 1) >= LEAST_UNITS:
            yield a, b


def _factors(model: Model) -> Iterator[tuple[Layer, Layer]]:
    by_place: dict[tuple[str, str], LayerAudit] = {}
    for each in model.layers:
        if each.layer.role is Role.ATTENTION and each.layer.part in {"query", "key"} and each.value("kernel.rms"):
            by_place[_place(each.layer), each.layer.part] = each
    for first, second in _HEADS:
        for place, part in list(by_place):
            pair = by_place.get((place, second)) if part == first else None
            if pair is None:
                continue
            a, b = by_place[place, first].layer, pair.layer
            is_plain = not a.followed_by and not b.followed_by
            if is_plain and _extent(a, 0) == _extent(b, 0) >= LEAST_UNITS:
                yield a, b


def _place(layer: Layer) -> str:
    """Return the module that a projection belongs to: the name without its part."""
    path = layer.name.partition("[")[0]
    return path if "[" in layer.name else path.rpartition(".")[0]


def _extent(layer: Layer, side: int) -> int:
    kernel = layer.get(Use.KERNEL)
    if kernel is None or len(kernel.axes) != len(kernel.shape) or kernel.size > LARGEST:
        return 0
    return Blocks(kernel).shape[side]


def _sizes(layer: Layer, side: int, power: int) -> Array:
    """Return Σ|w|^power of each unit on one side: 0 its rows, 1 its columns."""
    kernel: Parameter = next(p for p in layer.parameters if p.use is Use.KERNEL)
    whole = np.abs(Blocks(kernel).canonical(0, kernel.shape[0]).astype(np.float64)) ** power
    sums: Array = whole.sum(axis=tuple(axis for axis in range(3) if axis != side))
    return sums


def _chance(a: Layer, b: Layer) -> float:
    """Return the median |ln(‖w_in‖²/‖w_out‖²)| of independent normal weights of one variance, by the delta method."""
    into, out = (_extent(each, side) for each, side in ((a, 1), (b, 0)))
    return 0.6745 * math.sqrt(2 / max(into, 1) + 2 / max(out, 1))


def _median(a: Array, b: Array) -> float | None:
    """Return the median |ln(a/b)| over units that are alive on both sides."""
    alive = (a > ALIVE**2 * np.median(a)) & (b > ALIVE**2 * np.median(b))
    if np.count_nonzero(alive) < LEAST_UNITS:
        return None
    value = float(np.median(np.abs(np.log(a[alive] / b[alive]))))
    return value if math.isfinite(value) else None


_TRAP: Final = "A start from very small weights is balanced as well, and stays so without a penalty (Du et al. 2018)."
MEASURES: Final[tuple[Measure[Model], ...]] = (
    Measure(
        name="model.unit_balance",
        formula="max over consecutive dense layers of median over units of |ln(‖w_in‖²/‖w_out‖²)|",
        range="≥ 0",
        source="Kunin et al. 2021, arXiv:2012.04728; Yang et al. 2022, arXiv:2210.03069 (L2 balances)",
        tells="Near 0: the loss with an L2 penalty on these kernels is at its minimum, if units are ReLU or linear.",
        trap=_TRAP,
        function=unit_balance,
    ),
    Measure(
        name="model.unit_balance_to_chance",
        formula="max over consecutive dense layers of model.unit_balance / (0.67·√(2/n_in + 2/n_out))",
        range="≥ 0",
        source="delta method on the norms of independent normal weights",
        tells="Well below 1: in balance more exactly than random weights of one scale are.",
        trap=_TRAP,
        function=unit_balance_to_chance,
    ),
    Measure(
        name="model.unit_balance_l1",
        formula="max over consecutive dense layers of median over units of |ln(Σ|w_in|/Σ|w_out|)|",
        range="≥ 0",
        source="the same symmetry, L1",
        tells="Near 0, and below the balance of squares: the loss with an L1 penalty is at its minimum.",
        trap=_TRAP,
        function=unit_balance_l1,
    ),
    Measure(
        name="model.factor_balance",
        formula="median over query and key kernels of median over rows of |ln(‖q_j‖²/‖k_j‖²)|",
        range="≥ 0",
        source="Kobayashi et al. 2024, arXiv:2410.23819 (L2 on factors is a nuclear norm on their product)",
        tells="Near 0: decay has balanced the two factors, of which only the product matters.",
        trap=_TRAP + " Rotary positions leave less symmetry, but this one.",
        function=factor_balance,
    ),
)
