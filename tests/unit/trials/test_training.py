"""A stack trains as torch's own optimizers do, one network after another."""

import pytest
import torch
from torch import nn

from regaudit.trials.one_by_one import OneByOne
from regaudit.trials.recipe import PEAK, RESUME
from regaudit.trials.stacked import Stacked

RECIPES = {
    "adam": {"optimizer": "adam", "weight_decay": 0.01},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "momentum": 0.8, "weight_decay": 0.01},
}


def both(setting, jobs):
    (stacked,) = Stacked(setting).train(jobs)
    alone = [runs[0] for runs in OneByOne(setting).train(jobs)]
    return stacked, alone


def assert_alike(setting, jobs):
    for one, other in zip(*both(setting, jobs), strict=True):
        assert one.job == other.job
        assert one.losses == pytest.approx(other.losses, rel=1e-3, abs=1e-5)
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_a_stack_trains_as_torch_does(setting, job, recipe):
    penalties = [
        (),
        ("kernel", "l1", 0.02),
        ("kernel", "l2", 0.1),
        ("bias", "l2", 1.0),
        ("activity", "l2", 0.1),
        ("activity", "l1", 0.1),
    ]
    assert_alike(setting(**recipe), [job(*words) for words in penalties])


def test_kinds_of_training_stand_side_by_side(setting, job):
    jobs = [
        job("kernel", "l2", 0.1, start=RESUME),
        job("kernel", "l2", 0.1, is_annealed=True),
        job("kernel", "l2", 0.1, fold=1, seed=3),
    ]
    assert_alike(setting(), jobs)


def test_batch_statistics_are_learnt(setting, job):
    # Without a bias, whose gradient would be rounding alone, which Adam makes into whole steps.
    network = nn.Sequential(nn.Linear(5, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 1))
    assert_alike(setting(network), [job(), job("kernel", "l2", 0.1)])


def test_what_cannot_be_stacked_is_trained_one_by_one(setting, job):
    class Choosy(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 1)

        def forward(self, x):
            return self.fc(x) if float(x.sum()) > 0 else -self.fc(x)  # vmap can't read a value

    jobs = [job(), job("kernel", "l2", 0.1)]
    found = [run for runs in Stacked(setting(Choosy())).train(jobs) for run in runs]
    assert [run.job for run in found] == jobs


def test_the_same_seed_gives_the_same_losses(setting, job):
    jobs = [job(), job("kernel", "l2", 0.1)]
    first, second = (next(Stacked(setting()).train(jobs)) for _ in range(2))
    assert first == second


def test_no_penalty_and_penalties_take_the_same_batches(setting, job):
    """A penalty of strength 0 is no penalty at all."""
    (none, zero), _ = both(setting(), [job(), job("kernel", "l2", 0.0)])
    assert none.losses == pytest.approx(zero.losses, rel=1e-6)


def test_a_network_that_diverges_has_no_loss(setting, job):
    (run, fine), _ = both(setting(optimizer="sgd", lr=0.05), [job("kernel", "l2", 1e6), job()])
    assert run.losses == ()
    assert run.train_loss is None
    assert fine.losses


def test_an_annealed_rate_falls_to_nothing(job):
    rates = [job(steps=10, is_annealed=True).rate(step) for step in range(10)]
    assert rates[0] == PEAK
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * PEAK
    assert job(steps=10).rate(9) == 1.0


def test_training_leaves_the_model_as_it_is(setting, job):
    made = setting()
    before = {name: each.clone() for name, each in made.session.runner.network.state_dict().items()}
    both(made, [job(start=RESUME), job()])
    after = made.session.runner.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
