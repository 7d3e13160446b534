import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regaudit.penalties.units import (
    UNITS,
    NoStrength,
    Strength,
    canonical,
    decay_for_timescale,
    distinct,
    from_keras,
    timescale,
    to_keras,
)
from regaudit.records import Declared, Norm


def declared(kind, value, unit):
    return Declared(target="fc1", site="kernel", kind=kind, value=value, where="config.json", unit=unit)


@pytest.mark.parametrize(
    ("unit", "norm", "number", "examples", "expected"),
    [
        ("keras", Norm.L2, 0.01, None, 0.01),
        ("keras", Norm.L1, 0.01, None, 0.01),
        ("torch.SGD", Norm.L2, 5e-4, None, 2.5e-4),
        ("torch.Adam", Norm.L2, 1e-4, None, 5e-5),
        ("sklearn.MLP", Norm.L2, 0.1, 600, 0.1 / 1200),
        ("sklearn.LogisticRegression", Norm.L2, 0.05, 200, 0.05),
        ("sklearn.LogisticRegression", Norm.L1, 0.05, 200, 0.1),
        ("sklearn.Ridge", Norm.L2, 3.0, 150, 0.02),
        ("sklearn.Lasso", Norm.L1, 0.1, None, 0.2),
        ("gaussian_prior", Norm.L2, 4.0, 100, 0.02),
        ("laplace_prior", Norm.L1, 0.5, 100, 0.02),
        ("torch.AdamW", Norm.L2, 0.0, None, 0.0),
    ],
)
def test_every_convention_converts_as_defined(unit, norm, number, examples, expected):
    assert to_keras(number, unit, norm, examples=examples) == Strength(norm=norm, value=pytest.approx(expected))


@pytest.mark.parametrize(
    ("unit", "norm", "number", "reason"),
    [
        ("torch.AdamW", Norm.L2, 0.01, "timescale"),
        ("keras.AdamW", Norm.L2, 0.004, "timescale"),
        ("torch", Norm.L2, 0.01, "does not name the optimizer"),
        ("sklearn.MLP", Norm.L2, 0.1, "number N of training examples"),
        ("sklearn.Ridge", Norm.L1, 0.1, "no L1 penalty"),
        ("cubits", Norm.L2, 0.1, "not known"),
        ("keras", Norm.L2, math.inf, "no strength"),
        ("keras", Norm.L2, -1.0, "no strength"),
        ("sklearn.LogisticRegression", Norm.L2, 0.0, "no strength"),
    ],
)
def test_what_has_no_strength_says_why(unit, norm, number, reason):
    answer = to_keras(number, unit, norm)
    assert isinstance(answer, NoStrength)
    assert reason in answer.reason


@given(
    unit=st.sampled_from(sorted(UNITS)),
    norm=st.sampled_from(Norm),
    number=st.floats(1e-9, 1e9),
    examples=st.integers(1, 10**7),
)
def test_converting_there_and_back_changes_nothing(unit, norm, number, examples):
    strength = to_keras(number, unit, norm, examples=examples)
    if isinstance(strength, Strength):
        assert from_keras(strength, unit, examples=examples) == pytest.approx(number)
    else:
        assert isinstance(from_keras(Strength(norm=norm, value=number), unit, examples=examples), NoStrength)


@pytest.mark.parametrize(("optimizer", "unit"), [(torch.optim.SGD, "torch.SGD"), (torch.optim.Adam, "torch.Adam")])
def test_torch_weight_decay_takes_the_step_of_the_converted_penalty(optimizer, unit):
    def step(weight_decay, strength):
        w = torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64, requires_grad=True)
        loss = (w * torch.tensor([1.0, 2.0, -0.5])).sum() + strength * w.square().sum()
        loss.backward()
        optimizer([w], lr=0.1, weight_decay=weight_decay).step()
        return w.detach()

    strength = to_keras(0.4, unit, Norm.L2)
    assert isinstance(strength, Strength)
    torch.testing.assert_close(step(0.4, 0.0), step(0.0, strength.value))


def test_adamw_decay_is_a_timescale_of_pure_forgetting():
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    w.grad = torch.zeros(1, dtype=torch.float64)
    optimizer = torch.optim.AdamW([w], lr=1e-3, weight_decay=0.1)
    for _ in range(100):
        optimizer.step()
    assert w.item() == pytest.approx(math.exp(-100 / timescale(1e-3, 0.1)), rel=1e-4)


def test_decay_and_timescale_are_inverse():
    assert timescale(1e-3, decay_for_timescale(1e-3, 5000)) == pytest.approx(5000)
    assert timescale(1e-3, 0.0) == math.inf


def test_ridge_and_lasso_minimise_the_converted_penalties():
    x = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    y = torch.tensor([2.0, 3.0, -2.5, 1.0], dtype=torch.float64)
    ridge = (x @ y) / (x @ x + 0.7)
    strength = to_keras(0.7, "sklearn.Ridge", Norm.L2, examples=4)
    assert isinstance(strength, Strength)
    assert (2 * x * (x * ridge - y)).mean() + 2 * strength.value * ridge == pytest.approx(0, abs=1e-12)
    lasso = ((x @ y) / 4 - 0.3) / ((x @ x) / 4)  # soft threshold of Σ(y - xw)²/(2N) + 0.3|w|
    strength = to_keras(0.3, "sklearn.Lasso", Norm.L1)
    assert isinstance(strength, Strength)
    assert (2 * x * (x * lasso - y)).mean() + strength.value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (declared("l2", 0.01, "keras"), Strength(norm=Norm.L2, value=0.01)),
        (declared("l1", 0.01, "keras"), Strength(norm=Norm.L1, value=0.01)),
        (declared("weight_decay", 0.01, "torch.SGD"), Strength(norm=Norm.L2, value=0.005)),
        (declared("decoupled_weight_decay", 0.0, "torch.AdamW"), Strength(norm=Norm.L2, value=0.0)),
    ],
    ids=["l2", "l1", "sgd", "no-decay"],
)
def test_declared_penalties_become_canonical(entry, expected):
    assert canonical(entry) == expected


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (declared("dropout", 0.5, ""), "no L1 or L2"),
        (declared("l2", None, "keras"), "no number"),
        (declared("decoupled_weight_decay", 0.1, "torch"), "timescale"),
        (declared("weight_decay", 0.1, "torch.AdamW"), "timescale"),
    ],
    ids=["dropout", "no-number", "decoupled-unknown", "adamw"],
)
def test_declarations_without_a_strength_say_why(entry, reason):
    answer = canonical(entry)
    assert isinstance(answer, NoStrength)
    assert reason in answer.reason


def test_a_decay_that_stands_in_two_places_is_one():
    def decay(target, value, kind="weight_decay"):
        return Declared(target=target, site="parameters", kind=kind, value=value, where="model.pt", unit="torch.Adam")

    kept = (decay("param group 0", 0.1), decay("param group 1", 0.0), declared("l2", 0.1, "keras"))
    assert distinct((decay("", 0.1, "decoupled_weight_decay"), *kept)) == kept
