"""One unit for λ, and the table that brings every other convention to it.

The canonical unit is Keras': objective = mean data loss per example + λ·Σw² (L2, no ½) or λ·Σ|w| (L1), so that the
penalty's gradient is 2λw or λ·sign(w). An activity penalty is summed over a layer's outputs and divided by the batch size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from regaudit.records import Declared, Norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A convention for the strength of a penalty: λ = factor · number (or factor / number) (/ N).

    Args:
        name: Key in `UNITS`, as in `Declared.unit`.
        meaning: What the number does, as a formula; λ = its conversion.
        l1: Factor for an L1 penalty; None where it cannot express one.
        l2: Factor for an L2 penalty; None where it cannot express one.
        per_example: λ is also divided by the number N of training examples.
        inverse: λ is proportional to 1 / number.
        no_lambda: Why there is no λ, as a whole sentence; "" where there is one.
        source: Where the convention is defined.
    """

    name: str
    meaning: str
    l1: float | None = None
    l2: float | None = None
    per_example: bool = False
    inverse: bool = False
    no_lambda: str = ""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """A penalty in Keras' unit."""

    norm: Norm
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoStrength:
    """Why a declared number has no λ in Keras' unit; a whole sentence."""

    reason: str


_DECOUPLED = "Decoupled weight decay is no term of the loss, so it has no λ: it is a timescale of 1 / (learning rate x decay) steps."

UNITS: dict[str, Unit] = {
    unit.name: unit
    for unit in (
        Unit(
            name="keras",
            meaning="mean loss + l2·Σw² or l1·Σ|w|; for an activity divided by the batch size; λ = number",
            l1=1.0,
            l2=1.0,
            source="keras.regularizers.L1, L2 (Keras 3.15)",
        ),
        Unit(
            name="torch.SGD",
            meaning="gradient + wd·w, the penalty (wd/2)·Σw²; λ = wd/2",
            l2=0.5,
            source="torch.optim.SGD (PyTorch 2.13)",
        ),
        Unit(
            name="torch.Adam",
            meaning="gradient + wd·w before Adam's scaling, the penalty (wd/2)·Σw²; λ = wd/2",
            l2=0.5,
            source="torch.optim.Adam (PyTorch 2.13)",
        ),
        Unit(
            name="torch.AdamW",
            meaning="w ← w·(1 - lr·wd) each step; no λ",
            no_lambda=_DECOUPLED,
            source="torch.optim.AdamW (PyTorch 2.13); Loshchilov & Hutter 2019, arXiv:1711.05101",
        ),
        Unit(
            name="keras.AdamW",
            meaning="w ← w·(1 - lr·wd) each step, for every Keras optimizer with weight_decay; no λ",
            no_lambda=_DECOUPLED,
            source="keras.optimizers.Optimizer(weight_decay) (Keras 3.15)",
        ),
        Unit(
            name="torch",
            meaning="weight_decay of an unknown optimizer: wd/2 for SGD and Adam, no λ for AdamW",
            no_lambda="The file does not name the optimizer: with SGD or Adam λ is half of this number, with AdamW there is no λ.",
            source="torch.optim (PyTorch 2.13)",
        ),
        Unit(
            name="sklearn.MLP",
            meaning="(alpha/2N)·Σw² on kernels only; λ = alpha/(2N)",
            l2=0.5,
            per_example=True,
            source="sklearn.neural_network.MLPClassifier(alpha)",
        ),
        Unit(
            name="sklearn.LogisticRegression",
            meaning="½·Σw²/C (or Σ|w|/C) with the loss summed over examples; λ2 = 1/(2CN), λ1 = 1/(CN)",
            l1=1.0,
            l2=0.5,
            per_example=True,
            inverse=True,
            source="sklearn.linear_model.LogisticRegression(C)",
        ),
        Unit(
            name="sklearn.Ridge",
            meaning="Σ(y - Xw)² + alpha·Σw²; λ = alpha/N beside the mean squared error",
            l2=1.0,
            per_example=True,
            source="sklearn.linear_model.Ridge(alpha)",
        ),
        Unit(
            name="sklearn.Lasso",
            meaning="Σ(y - Xw)²/(2N) + alpha·Σ|w|; λ = 2·alpha beside the mean squared error",
            l1=2.0,
            source="sklearn.linear_model.Lasso(alpha)",
        ),
        Unit(
            name="sklearn.ElasticNet",
            meaning="Σ(y - Xw)²/(2N) + l1·Σ|w| + l2·Σw² with l1 = alpha·l1_ratio, l2 = alpha·(1 - l1_ratio)/2; "
            "λ = 2·l1 or 2·l2 beside the mean squared error",
            l1=2.0,
            l2=2.0,
            source="sklearn.linear_model.ElasticNet(alpha, l1_ratio)",
        ),
        Unit(
            name="sklearn.SGDClassifier",
            meaning="mean loss + alpha·Σ|w| or (alpha/2)·Σw²; λ1 = alpha, λ2 = alpha/2",
            l1=1.0,
            l2=0.5,
            source="sklearn.linear_model.SGDClassifier(alpha, penalty)",
        ),
        Unit(
            name="sklearn.SGDRegressor",
            meaning="mean squared error / 2 + alpha·Σ|w| or (alpha/2)·Σw²; λ1 = 2·alpha, λ2 = alpha beside the mean "
            "squared error",
            l1=2.0,
            l2=1.0,
            source="sklearn.linear_model.SGDRegressor(alpha, penalty)",
        ),
        Unit(
            name="gaussian_prior",
            meaning="precision α of a zero-mean normal prior, loss = mean negative log-likelihood; λ = α/(2N)",
            l2=0.5,
            per_example=True,
            source="-log p(w)/N; MacKay 1992",
        ),
        Unit(
            name="laplace_prior",
            meaning="scale b of a Laplace prior, loss = mean negative log-likelihood; λ = 1/(bN)",
            l1=1.0,
            per_example=True,
            inverse=True,
            source="-log p(w)/N; Tibshirani 1996",
        ),
    )
}

# Which penalty a kind of declaration speaks of; what is missing here (dropout, constraints) is no L1 or L2 penalty.
NORM_OF_KIND = {
    "l1": Norm.L1,
    "l2": Norm.L2,
    "weight_decay": Norm.L2,
    "decoupled_weight_decay": Norm.L2,
}


_DECAYS = frozenset({"weight_decay", "decoupled_weight_decay"})


def distinct(declared: tuple[Declared, ...]) -> tuple[Declared, ...]:
    """Return the declarations, one weight decay that the file states in several places kept once.

    An optimizer's parameter groups and the arguments of the run repeat the same number; the group says most of it.

    Args:
        declared: Everything that the file declares.

    Returns:
        The same in order, without repeated decays of parameters.

    Source: definition.
    """
    first: dict[float | None, Declared] = {}
    for each in sorted(declared, key=lambda each: not each.target):
        if _is_decay(each):
            first.setdefault(each.value, each)
    return tuple(each for each in declared if not _is_decay(each) or first[each.value] is each)


def _is_decay(each: Declared) -> bool:
    return each.site == "parameters" and each.kind in _DECAYS


def to_keras(number: float, unit: str, norm: Norm, *, examples: int | None = None) -> Strength | NoStrength:
    """Convert a strength to Keras' unit.

    Args:
        number: As declared, in its own unit.
        unit: Key of `UNITS`.
        norm: L1 or L2.
        examples: Number N of training examples, for the conventions that sum the loss over them.

    Returns:
        λ ≥ 0 with mean loss + λΣw² or λΣ|w|, or the reason why there is none.

    Source: the definitions named in `UNITS`.

    Example:
        >>> to_keras(5e-4, "torch.SGD", Norm.L2)
        Strength(norm=<Norm.L2: 'l2'>, value=0.00025)
    """
    convention = UNITS.get(unit)
    if convention is None:
        return NoStrength(reason=f"The unit {unit!r} is not known.")
    if not math.isfinite(number) or number < 0 or (convention.inverse and number == 0):
        return NoStrength(reason=f"{number:g} is no strength of a penalty.")
    if number == 0:
        return Strength(norm=norm, value=0.0)
    scale = _scale(convention, norm, examples)
    if isinstance(scale, NoStrength):
        return scale
    return Strength(norm=norm, value=scale / number if convention.inverse else scale * number)


def from_keras(strength: Strength, unit: str, *, examples: int | None = None) -> float | NoStrength:
    """Convert a strength in Keras' unit to the number that another convention wants; the inverse of `to_keras`.

    Args:
        strength: λ and its norm, in Keras' unit.
        unit: Key of `UNITS`.
        examples: Number N of training examples, for the conventions that sum the loss over them.

    Returns:
        The number to write there, or the reason why there is none.

    Source: the definitions named in `UNITS`.

    Example:
        >>> from_keras(Strength(norm=Norm.L2, value=0.01), "torch.Adam")
        0.02
    """
    convention = UNITS.get(unit)
    if convention is None:
        return NoStrength(reason=f"The unit {unit!r} is not known.")
    scale = _scale(convention, strength.norm, examples)
    if isinstance(scale, NoStrength):
        return scale
    if not convention.inverse:
        return strength.value / scale
    if strength.value == 0:
        return NoStrength(reason=f"No penalty at all cannot be written in the unit {unit!r}.")
    return scale / strength.value


def canonical(declared: Declared, *, examples: int | None = None) -> Strength | NoStrength:
    """Return a declared penalty in Keras' unit.

    Args:
        declared: As read from the file.
        examples: Number N of training examples where it is known.

    Returns:
        λ in Keras' unit, or the reason why there is none (dropout, decoupled decay, an unknown N).

    Source: the definitions named in `UNITS`.
    """
    norm = NORM_OF_KIND.get(declared.kind)
    if norm is None:
        return NoStrength(reason=f"{declared.kind} is no L1 or L2 penalty.")
    if declared.value is None:
        return NoStrength(reason="The file gives no number.")
    if declared.kind == "decoupled_weight_decay" and declared.value > 0:
        return NoStrength(reason=_DECOUPLED)
    return to_keras(declared.value, declared.unit, norm, examples=examples)


def timescale(learning_rate: float, weight_decay: float) -> float:
    """Return how many steps decoupled decay averages over: τ = 1 / (lr · wd).

    Args:
        learning_rate: Of each step, constant or its mean over a schedule.
        weight_decay: AdamW's.

    Returns:
        Steps; infinite without decay.

    Source: Wang & Aitchison 2024, arXiv:2405.13698.

    Example:
        >>> round(timescale(1e-3, 0.1))
        10000
    """
    product = learning_rate * weight_decay
    return 1 / product if product > 0 else math.inf


def decay_for_timescale(learning_rate: float, steps: float) -> float:
    """Return AdamW's weight_decay with a timescale of so many steps: wd = 1 / (lr · τ).

    Args:
        learning_rate: Of each step, constant or its mean over a schedule.
        steps: τ; between one epoch and the whole training.

    Returns:
        AdamW's weight_decay.

    Source: Wang & Aitchison 2024, arXiv:2405.13698.
    """
    return 1 / (learning_rate * steps)


def _scale(convention: Unit, norm: Norm, examples: int | None) -> float | NoStrength:
    if convention.no_lambda:
        return NoStrength(reason=convention.no_lambda)
    factor = convention.l1 if norm is Norm.L1 else convention.l2
    if factor is None:
        return NoStrength(reason=f"The unit {convention.name!r} has no {norm.upper()} penalty.")
    if not convention.per_example:
        return factor
    if not examples:
        return NoStrength(reason=f"It needs the number N of training examples ({convention.meaning}).")
    return factor / examples
