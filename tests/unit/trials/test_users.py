"""The user's own recipe: one that misbehaves is told so in a sentence."""

import pytest
import torch

from regaudit.errors import ConfigError
from regaudit.trials.one_by_one import OneByOne
from regaudit.trials.users import check, users

GOOD = """
import torch

def train(model, penalty, *, steps, seed, init):
    model.load_state_dict(init)
    x = torch.randn(40, 5)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) - x[:, :1]).square().mean() + {penalty}
        loss.backward()
        optimizer.step()
    return {result}
"""
MISBEHAVING = {
    "raises": (
        "def train(model, penalty, **rest):\n    raise KeyError('lr')",
        r"raised KeyError: 'lr' \(recipe.py:2 train\)",
    ),
    "other arguments": ("def train(model):\n    return model", "train\\(model, penalty, \\*, steps, seed, init\\)"),
    "returns nothing": (
        "def train(model, penalty, **rest):\n    pass",
        "returned NoneType; expected the trained model",
    ),
    "ignores the penalty": (GOOD.format(penalty=0, result="model"), "ignores the penalty"),
    "is not finite": (
        GOOD.format(penalty="penalty(model) * float('nan')", result="model"),
        "NaN or infinite after 40 steps",
    ),
    "changes the architecture": (
        GOOD.format(penalty="penalty(model)", result="torch.nn.Sequential(torch.nn.Linear(5, 1))"),
        "changed the architecture: '0.weight' was 6×5, now 1×5",
    ),
}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(source):
        (tmp_path / "recipe.py").write_text(source)
        return "recipe.py:train"

    return write


def checked(spec, setting):
    made = setting(recipe=spec, steps=400)
    fit = users(spec)
    check(spec, made, fit)
    return made, fit


def test_a_recipe_that_does_as_it_should_trains(recipe, setting, job):
    spec = recipe(GOOD.format(penalty="penalty(model)", result="model"))
    made, fit = checked(spec, setting)
    runs = [run for found in OneByOne(made, fit).train([job(), job("kernel", "l2", 1.0)]) for run in found]
    assert runs[0].losses != runs[1].losses
    assert len(runs[0].losses) == len(made.session.val)


@pytest.mark.parametrize(("source", "message"), MISBEHAVING.values(), ids=MISBEHAVING.keys())
def test_one_that_misbehaves_is_told_so(recipe, setting, source, message):
    with pytest.raises(ConfigError, match=message):
        checked(recipe(source), setting)


def test_what_is_no_function_is_told_so(recipe):
    with pytest.raises(ConfigError, match="is int; expected a function"):
        users(recipe("train = 3"))


def test_activities_are_recorded_no_longer_than_a_training(recipe, setting, job):
    made, fit = checked(recipe(GOOD.format(penalty="penalty(model)", result="model")), setting)
    before = len(torch.nn.modules.module._global_forward_pre_hooks)
    list(OneByOne(made, fit).train([job("activity", "l2", 0.1)]))
    assert len(torch.nn.modules.module._global_forward_pre_hooks) == before
