"""Balance of layers that share units: what scaling one up and the other down leaves unchanged, a penalty makes equal.

A ReLU unit computes the same with its incoming weights times c and its outgoing ones over c. The loss does not care, so
at the minimum of loss and L2 penalty ‖w_in‖ = ‖w_out‖ for every unit, with L1 Σ|w_in| = Σ|w_out|. The same holds for
the rows of a query and a key projection, and for the rows of a value and the columns of an output one, by any optimizer
that got there. Sums of units come from the measurement of each layer: nothing is read again.
"""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Measure, Value, require
from regaudit.measures.ordered import median
from regaudit.records import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regaudit.measures.model import Model
    from regaudit.records import Array, LayerAudit, UnitSums

ROLES: Final = frozenset({Role.DENSE, Role.ATTENTION})  # of the layers that are compared
LEAST_UNITS: Final = 8  # fewer may agree by chance
ALIVE: Final = 1e-3  # of the median norm: units below are dead, and have no balance


def unit_balance(model: Model) -> Value:
    """Return the worst pair's median over units of |ln(‖w_in‖²/‖w_out‖²)|."""
    return _worst([(_median(a.out_squares, b.in_squares), where) for a, b, where in _stack(model)])


def unit_balance_l1(model: Model) -> Value:
    """Return the worst pair's median over units of |ln(Σ|w_in|/Σ|w_out|)|."""
    return _worst([(_median(a.out_l1, b.in_l1), where) for a, b, where in _stack(model)])


def unit_balance_to_chance(model: Model) -> Value:
    """Return the worst pair's balance of squares over that of random weights of one scale: 0.67·√(2/n_in + 2/n_out)."""
    found = []
    for a, b, where in _stack(model):
        value = _median(a.out_squares, b.in_squares)
        if value is not None:
            found.append((value / _chance(len(a.in_squares), len(b.out_squares)), where))
    return _worst(found)


def factor_balance(model: Model) -> Value:
    """Return the median over query and key projections of their rows' median |ln(‖q_j‖²/‖k_j‖²)|."""
    found = [_median(q.out_squares, k.out_squares) for q, k in _factors(model, "query", "key")]
    return _typical(found, "no query and key projections of the same shape without a normalization")


def value_output_balance(model: Model) -> Value:
    """Return the median over value and output projections of their units' median |ln(‖v_j‖²/‖o_:j‖²)|."""
    found = [_median(v.out_squares, o.in_squares) for v, o in _factors(model, "value", "output")]
    return _typical(found, "no value and output projections of the same width")


def factor_balance_to_chance(model: Model) -> Value:
    """Return the larger of the two balances over that of random weights of one scale."""
    found = []
    for q, k in _factors(model, "query", "key"):
        found.append((_median(q.out_squares, k.out_squares), _chance(len(q.in_squares), len(k.in_squares))))
    for v, o in _factors(model, "value", "output"):
        found.append((_median(v.out_squares, o.in_squares), _chance(len(v.in_squares), len(o.out_squares))))
    return _typical(
        [value / chance for value, chance in found if value is not None], "no attention projections to compare"
    )


def _worst(found: Sequence[tuple[float | None, str]]) -> Value:
    known = [(value, where) for value, where in found if value is not None]
    require(bool(known), "no two dense layers follow each other directly")
    return max(known)


def _typical(found: Sequence[float | None], reason: str) -> Value:
    known = [each for each in found if each is not None]
    require(bool(known), reason)
    return statistics.median(known), f"{len(known)} pairs"


def _stack(model: Model) -> Iterator[tuple[UnitSums, UnitSums, str]]:
    """Yield dense layers that directly follow each other in the file, where the units of one are the inputs of the other."""
    for a, b in pairwise(model.layers):
        is_plain = all(each.layer.role is Role.DENSE and not each.layer.part for each in (a, b))
        if not is_plain or a.layer.followed_by or a.sums is None or b.sums is None:
            continue
        if len(a.sums.out_squares) == len(b.sums.in_squares) >= LEAST_UNITS:
            yield a.sums, b.sums, f"{a.layer.name} and {b.layer.name}"


def _factors(model: Model, first: str, second: str) -> Iterator[tuple[UnitSums, UnitSums]]:
    """Yield the sums of two projections of one attention whose product alone matters."""
    projections = [each for each in model.layers if each.layer.role is Role.ATTENTION and not each.layer.followed_by]
    for a in projections:
        if a.layer.part != first:
            continue
        b = _output(projections, _place(a)) if second == "output" else _named(projections, _place(a), second)
        if b is None or a.sums is None or b.sums is None:
            continue
        other = b.sums.in_squares if second == "output" else b.sums.out_squares
        if len(a.sums.out_squares) == len(other) >= LEAST_UNITS:
            yield a.sums, b.sums


def _named(projections: list[LayerAudit], place: str, part: str) -> LayerAudit | None:
    return next((each for each in projections if each.layer.part == part and _place(each) == place), None)


def _output(projections: list[LayerAudit], place: str) -> LayerAudit | None:
    """Return the one projection without a part in the module of an attention, or in the module above it."""
    for path in (place, place.rpartition(".")[0]):
        found = [each for each in projections if not each.layer.part and each.layer.name.startswith(f"{path}.")]
        if path and found:
            return found[0] if len(found) == 1 else None
    return None


def _place(each: LayerAudit) -> str:
    """Return the module that a projection belongs to: `attn` of `attn.c_attn[query]` and of `attn.query`."""
    return each.layer.name.partition("[")[0].rpartition(".")[0]


def _chance(into: int, out: int) -> float:
    """Return the median |ln(‖a‖²/‖b‖²)| of independent normal weights of one variance, by the delta method."""
    return 0.6745 * math.sqrt(2 / max(into, 1) + 2 / max(out, 1))


def _median(a: Array, b: Array) -> float | None:
    """Return the median |ln(a/b)| over units that are alive on both sides."""
    alive = (a > ALIVE**2 * median(np.sort(a))) & (b > ALIVE**2 * median(np.sort(b)))
    if np.count_nonzero(alive) < LEAST_UNITS:
        return None
    value = median(np.sort(np.abs(np.log(a[alive] / b[alive]))))
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
    Measure(
        name="model.value_output_balance",
        formula="median over value and output kernels of median over units of |ln(‖v_j‖²/‖o_:j‖²)|",
        range="≥ 0",
        source="Kobayashi et al. 2024, arXiv:2410.23819",
        tells="Near 0: decay has balanced the two factors; between them everything is linear, whatever the positions.",
        trap=_TRAP + " Not with grouped heads, whose values serve several outputs.",
        function=value_output_balance,
    ),
    Measure(
        name="model.factor_balance_to_chance",
        formula="median over query-key and value-output pairs of their balance / (0.67·√(2/n_a + 2/n_b))",
        range="≥ 0",
        source="delta method on the norms of independent normal weights",
        tells="Well below 1: in balance more exactly than random weights of one scale are.",
        trap=_TRAP,
        function=factor_balance_to_chance,
    ),
)
