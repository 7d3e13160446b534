"""What a fitted scikit-learn estimator declares: its penalty, by the class that defines its objective, and early stopping.

The classes write the same penalty in different ways (alpha beside a mean or a sum, C for its inverse, an `l1_ratio` that
splits it); each number is given as the coefficient in the class's own objective, with the unit that says which one.

Source: the objectives in scikit-learn's user guide (linear models, SGD, neural networks), scikit-learn 1.9.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.checkpoints.estimators import join
from regaudit.records import Declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regaudit.checkpoints.estimators import Estimator

_HALVED = "the objective has half the squared error"
_WITH_BIAS = "liblinear penalises the intercept, too"
_MANY = "a number for each output"

_RATIOS = {"l1": 1.0, "l2": 0.0}  # shares of L1 that the names of penalties stand for

_Penalty = tuple[str, float | None, str, str, str]  # kind, value, key, unit, note


def declared(estimator: Estimator, file: str) -> tuple[Declared, ...]:
    """Return what an estimator declares.

    Args:
        estimator: A fitted one.
        file: The file's name, for `Declared.where`.

    Returns:
        Its penalties first. None for a class without one (`LinearRegression`) or one that is not known here.
    """
    where = f"{file}: {join(estimator.path, '')}"
    rule = _RULES.get(estimator.kind)
    penalties = tuple(
        Declared(
            target=estimator.path,
            site="kernel",
            kind=kind,
            value=value if value is not None and math.isfinite(value) else None,
            where=where + key,
            unit=unit,
            note=note or ("" if value is not None else _MANY),
        )
        for kind, value, key, unit, note in (rule(estimator) if rule else ())
    )
    return (*penalties, *_training(estimator, where))


def _ridge(unit: str, note: str = "") -> Callable[[Estimator], Iterator[_Penalty]]:
    """Return the rule of a class whose `alpha` is an L2 penalty, fitted as `alpha_` where it was searched for."""

    def rule(estimator: Estimator) -> Iterator[_Penalty]:
        key = _fitted(estimator, "alpha")
        yield "l2", estimator.number(key), key, unit, note

    return rule


def _lasso(kind: str, unit: str) -> Callable[[Estimator], Iterator[_Penalty]]:
    def rule(estimator: Estimator) -> Iterator[_Penalty]:
        key = _fitted(estimator, "alpha")
        yield kind, estimator.number(key), key, unit, ""

    return rule


def _elastic_net(estimator: Estimator) -> Iterator[_Penalty]:
    """Yield the parts of alpha·r·Σ|w| + alpha·(1 - r)/2·Σw², beside Σ(y - Xw)²/(2N)."""
    key, ratio_key = _fitted(estimator, "alpha"), _fitted(estimator, "l1_ratio")
    alpha, ratio = estimator.number(key), estimator.number(ratio_key)
    l1, l2 = _split(alpha, ratio)
    yield "l1", l1, key, "sklearn.Lasso", f"alpha x {ratio_key}"
    yield "l2", None if l2 is None else l2 / 2, key, "sklearn.ElasticNet", f"alpha x (1 - {ratio_key}) / 2"


def _stochastic(estimator: Estimator) -> Iterator[_Penalty]:
    """Yield the parts of alpha·(r·Σ|w| + (1 - r)/2·Σw²), beside the mean loss."""
    halved = estimator.kind == "SGDRegressor" and estimator.text("loss") == "squared_error"
    unit, note = ("sklearn.SGDRegressor", _HALVED) if halved else ("sklearn.SGDClassifier", "")
    penalty = estimator.text("penalty")
    if penalty in {"l1", "l2", "elasticnet"}:
        ratio = estimator.number("l1_ratio") if penalty == "elasticnet" else _RATIOS[penalty]
        for kind, part in zip(("l1", "l2"), _split(estimator.number("alpha"), ratio), strict=True):
            if part != 0:
                yield kind, part, "alpha", unit, note


def _logistic(estimator: Estimator) -> Iterator[_Penalty]:
    """Yield the parts of r·Σ|w| + (1 - r)/2·Σw² beside C times the summed loss: as C/r and C/(1 - r)."""
    key, penalty = _fitted(estimator, "C"), estimator.text("penalty")
    inverse = estimator.number(key)
    is_off = "penalty" in estimator.record.attributes and penalty in {"", "none"}  # None, before 1.8
    if is_off or (inverse is not None and math.isinf(inverse)):
        return
    # since 1.8 `l1_ratio` alone decides, and None stands for 0
    ratio = _RATIOS.get(penalty, estimator.number(_fitted(estimator, "l1_ratio")) or 0.0)
    for kind, part in (("l1", ratio), ("l2", 1 - ratio)):
        if part:
            note = "" if part == 1 else f"{key} / {part:g}"
            yield kind, None if inverse is None else inverse / part, key, "sklearn.LogisticRegression", note


def _support_vectors(estimator: Estimator) -> Iterator[_Penalty]:
    kind = "l1" if estimator.text("penalty") == "l1" else "l2"
    yield kind, estimator.number("C"), "C", "sklearn.LogisticRegression", _WITH_BIAS


def _perceptron(estimator: Estimator) -> Iterator[_Penalty]:
    """Yield alpha: (alpha/2N)·Σw² beside the mean loss, or beside half the mean squared error as in `Ridge` / 2N."""
    halved = estimator.kind == "MLPRegressor" and estimator.text("loss") == "squared_error"
    unit, note = ("sklearn.Ridge", _HALVED) if halved else ("sklearn.MLP", "")
    yield "l2", estimator.number("alpha"), "alpha", unit, note


def _bayesian(estimator: Estimator) -> Iterator[_Penalty]:
    yield "l2", estimator.number("lambda_"), "lambda_", "gaussian_prior", "the precision of the weights, as estimated"


def _training(estimator: Estimator, where: str) -> Iterator[Declared]:
    """Yield early stopping, averaging and the constraint to positive weights."""
    if estimator.get("early_stopping") is True:
        fraction = estimator.number("validation_fraction")
        note = "" if fraction is None else f"on {fraction:g} of the examples"
        yield Declared(
            target=estimator.path, site="parameters", kind="early_stopping", where=f"{where}early_stopping", note=note
        )
    average = estimator.get("average")
    if isinstance(average, int) and average:
        note = "the weights are averaged over the steps"
        yield Declared(target=estimator.path, site="parameters", kind="averaging", where=f"{where}average", note=note)
    if estimator.get("positive") is True:
        yield Declared(target=estimator.path, site="kernel", kind="non_neg", where=f"{where}positive")


def _fitted(estimator: Estimator, key: str) -> str:
    """Return the name of the attribute that holds the number that was used: `alpha_` of `LassoCV`."""
    return f"{key}_" if estimator.get(f"{key}_") is not None else key


def _split(strength: float | None, ratio: float | None) -> tuple[float | None, float | None]:
    """Return the L1 and the L2 part."""
    if strength is None or ratio is None:
        return None, None
    return strength * ratio, strength * (1 - ratio)


_RULES: dict[str, Callable[[Estimator], Iterator[_Penalty]]] = {
    **dict.fromkeys(("Ridge", "RidgeCV", "RidgeClassifier", "RidgeClassifierCV"), _ridge("sklearn.Ridge")),
    **dict.fromkeys(
        ("PoissonRegressor", "GammaRegressor", "TweedieRegressor"),
        _ridge("sklearn.SGDClassifier", "the loss is half the deviance"),
    ),
    "HuberRegressor": _ridge("", "beside a loss whose scale is fitted, too"),
    **dict.fromkeys(
        ("Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC"), _lasso("l1", "sklearn.Lasso")
    ),
    **dict.fromkeys(("MultiTaskLasso", "MultiTaskLassoCV"), _lasso("group_lasso", "")),
    "QuantileRegressor": _lasso("l1", "sklearn.SGDClassifier"),
    **dict.fromkeys(("ElasticNet", "ElasticNetCV"), _elastic_net),
    **dict.fromkeys(("SGDClassifier", "SGDRegressor", "Perceptron"), _stochastic),
    **dict.fromkeys(("LogisticRegression", "LogisticRegressionCV"), _logistic),
    **dict.fromkeys(("LinearSVC", "LinearSVR"), _support_vectors),
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), _perceptron),
    "BayesianRidge": _bayesian,
}  # fmt: skip
