"""The search stays within its budget, finds the penalty that is truly best, and walks beyond its grid."""

import math

import numpy as np
import pytest

from regaudit.errors import ConfigError
from regaudit.probes.arms import NO_PENALTY, Arm
from regaudit.records import Norm, Site
from regaudit.trials.log import Log
from regaudit.trials.plan import ARMS, FACTOR, planned
from regaudit.trials.recipe import RESUME, RETRAIN, Run
from regaudit.trials.runs import Runs
from regaudit.trials.search import Search

ROWS = 30


class Known:
    """A trainer whose outcome is known: a parabola over log strength with its least loss at one penalty."""

    def __init__(self, best, noise=0.0, shift=0.0):
        self.best, self.noise, self.shift, self.jobs, self.weights = best, noise, shift, [], {}

    def train(self, jobs):
        self.jobs += jobs
        for job in jobs:
            rng = np.random.default_rng([job.fold, job.seed])
            losses = self.loss(job.arm) + self.noise * rng.normal(size=ROWS) + self.shift * (job.fold == 0)
            yield [Run(job=job, losses=tuple(losses + 0.01 * rng.normal(size=ROWS)), train_loss=0.1)]

    def loss(self, arm):
        if (arm.site, arm.norm) != (self.best.site, self.best.norm):
            return 2.0 if arm.norm else 1.8
        return 1.0 + 0.1 * math.log(arm.strength / self.best.strength) ** 2 if arm.norm else 1.0


def searched(trainer, budget, steps=1000, **fields):
    runs = Runs(trainer, Log("", {}), steps=steps, budget=budget, tell=lambda progress: None)
    plan = planned(budget, steps, **{"estimand": RETRAIN, "is_own": False, "is_collapsed": False, **fields})
    return Search(runs, plan, seed=0).run(), runs


@pytest.mark.parametrize("best", [*ARMS, NO_PENALTY], ids=str)
def test_the_best_of_the_grid_is_found(best):
    found, _ = searched(Known(best), 6)
    assert found.winner == best


@pytest.mark.parametrize("fields", [{}, {"is_own": True}, {"is_collapsed": True}, {"estimand": RESUME}], ids=str)
@pytest.mark.parametrize("steps", [30, 250, 1000])
@pytest.mark.parametrize("budget", [3, 5, 7.5, 8, 10, 20])
def test_the_budget_is_respected(budget, steps, fields):
    found, runs = searched(Known(ARMS[0]), budget, steps, **fields)
    assert runs.cost <= budget + 1e-9
    assert runs.cost == pytest.approx(sum(run.job.steps for run in found.runs) / steps)


@pytest.mark.parametrize("budget", [4, 5, 6, 7, 9.5, 10, 17, 30])
def test_the_budget_is_respected_where_exchanged_rows_are_of_no_use(budget):
    _, runs = searched(Known(ARMS[0], shift=3.0), budget)
    assert runs.cost <= budget + 1e-9


@pytest.mark.parametrize("strength", [ARMS[-1].strength * FACTOR, ARMS[-2].strength / FACTOR])
def test_the_walk_goes_beyond_the_grid(strength):
    best = Arm(site=Site.ACTIVITY, norm=Norm.L2, strength=strength)
    found, _ = searched(Known(best), 10)
    assert found.winner == best


def test_an_end_of_what_was_tried_is_told():
    found, _ = searched(Known(Arm(site=Site.KERNEL, norm=Norm.L2, strength=2.0)), 5)
    assert found.edge
    assert found.winner.norm is Norm.L2
    assert not searched(Known(ARMS[0]), 5)[0].edge


def test_rows_of_another_distribution_judge_alone():
    trainer = Known(ARMS[0], shift=3.0)
    found, _ = searched(trainer, 5)
    assert found.is_shifted
    assert {job.fold for job in trainer.jobs if job.steps > 100} == {0}
    assert not searched(Known(ARMS[0]), 5)[0].is_shifted


def test_nothing_goes_on_from_collapsed_weights():
    trainer = Known(ARMS[0])
    searched(trainer, 5, is_collapsed=True)
    assert {job.start for job in trainer.jobs} == {RETRAIN}


def test_resuming_never_starts_anew():
    trainer = Known(ARMS[0])
    searched(trainer, 5, estimand=RESUME)
    assert {job.start for job in trainer.jobs} == {RESUME}


@pytest.mark.parametrize("budget", [3, 5, 7, 10, 20])
def test_the_control_is_trained_as_the_best_are(budget):
    found, _ = searched(Known(ARMS[0]), budget)
    full = {run.job.arm for run in found.runs if run.job.steps == 1000}
    assert NO_PENALTY in full
    twins = {(run.job.seed, run.job.fold) for run in found.runs if run.job.steps == 1000 and run.job.arm == NO_PENALTY}
    assert twins == {
        (run.job.seed, run.job.fold) for run in found.runs if run.job.steps == 1000 and run.job.arm == found.winner
    }


@pytest.mark.parametrize("is_collapsed", [True, False])
def test_the_winner_is_confirmed_from_initial_values_that_chose_nothing(is_collapsed):
    trainer = Known(ARMS[0])
    searched(trainer, 5, is_collapsed=is_collapsed)
    short = {job.seed for job in trainer.jobs if job.start == RETRAIN and job.steps < 1000}
    assert not short & {job.seed for job in trainer.jobs if job.steps == 1000}


def test_rows_that_are_to_confirm_choose_nothing():
    """On the rows that are kept back another penalty would win."""

    class Divided(Known):
        def train(self, jobs):
            for runs in super().train(jobs):
                (each,) = runs
                losses = np.array(each.losses)
                if each.job.fold == 0 and each.job.arm == ARMS[1]:
                    losses[:10] = -100.0
                yield [Run(job=each.job, losses=tuple(losses), train_loss=0.1)]

    def winner(confirming):
        runs = Runs(Divided(ARMS[0]), Log("", {}), steps=1000, budget=5, tell=lambda progress: None)
        plan = planned(5, 1000, estimand=RETRAIN, is_own=False, is_collapsed=False)
        return Search(runs, plan, 0, confirming).run().winner

    assert winner(tuple(range(10))) == ARMS[0]
    assert winner(()) == ARMS[1]


def test_runs_of_the_log_are_not_trained_again(job):
    first, second = Known(ARMS[0]), Known(ARMS[0])
    _, runs = searched(first, 5)
    again = Runs(second, runs.log, steps=1000, budget=5, tell=lambda progress: None)
    again.of(first.jobs[:3])
    assert second.jobs == []
    assert again.cost == pytest.approx(sum(each.steps for each in first.jobs[:3]) / 1000)


def test_a_plan_beyond_the_budget_is_refused(job):
    runs = Runs(Known(ARMS[0]), Log("", {}), steps=20, budget=1, tell=lambda progress: None)
    with pytest.raises(ConfigError, match=r"plans 2\.00"):
        runs.of([job(seed=1), job(seed=2)])


def test_penalties_that_diverge_are_left_out():
    class Broken(Known):
        def train(self, jobs):
            for runs in super().train(jobs):
                job = runs[0].job
                yield [Run(job=job, losses=(), train_loss=None)] if job.arm == ARMS[1] else runs

    found, _ = searched(Broken(ARMS[0]), 5)
    assert found.winner == ARMS[0]
