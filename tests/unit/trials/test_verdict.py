"""The verdict: what is noise is called so, and gains carry the error of rows and seeds."""

from dataclasses import replace

import numpy as np
import pytest

from regaudit.records import Norm, Site
from regaudit.trials.search import Found
from regaudit.trials.verdict import Reference, compared, is_clear, outcomes, validated
from regaudit.trials.words import sentences, warnings

ROWS = 50


@pytest.fixture
def found(run, arm):
    """A search whose winner has known losses in full, once for each entry."""

    def make(winner, none=None, *, is_shifted=False, edge=False):
        runs = [run(losses, "kernel", "l2", 0.1, seed=i) for i, losses in enumerate(winner)]
        runs += [run(losses, seed=i) for i, losses in enumerate(none or [])]
        return Found(winner=arm("kernel", "l2", 0.1), runs=tuple(runs), finals=(), is_shifted=is_shifted, edge=edge)

    return make


def noise(seed, mean, spread=0.5):
    return mean + spread * np.random.default_rng(seed).normal(size=ROWS)


def clear(found, base, constant=10.0):
    reference = Reference(base=base, constant=np.full(ROWS, constant))
    return is_clear(
        found, reference, compared(base, [np.array(r.losses) for r in found.runs if r.job.arm == found.winner])
    )


def test_a_gain_is_that_of_the_rows():
    base, winner = noise(0, 2.0), noise(1, 1.0)
    gains = base - winner
    both = compared(base, [winner])
    assert both.gain == pytest.approx(gains.mean())
    assert both.gain_se == pytest.approx(gains.std(ddof=1) / ROWS**0.5)


def test_the_spread_over_seeds_counts():
    base = np.ones(ROWS)
    both = compared(base, [np.full(ROWS, 0.4), np.full(ROWS, 0.6)])
    assert both.gain_se == pytest.approx(np.std([0.4, 0.6], ddof=1) / 2**0.5)


def test_a_clear_gain_is_a_change(found):
    assert clear(found([noise(1, 1.0)]), noise(0, 2.0))


@pytest.mark.parametrize("seed", range(5))
def test_no_difference_at_all_is_no_change(found, seed):
    base = noise(seed, 1.0)
    assert not clear(found([base]), base)


def test_a_gain_within_the_noise_is_a_change_only_where_the_model_overfits(found):
    base = noise(0, 1.0)
    winner = [base + noise(1, 0.0, 1.0)]
    winner[0] -= winner[0].mean() - base.mean() + 0.02
    rows = Reference(base=base, constant=np.full(ROWS, 10.0))
    for is_overfit in (False, True):
        made = found(winner)
        assert is_clear(made, replace(rows, is_overfit=is_overfit), compared(base, winner)) is is_overfit


def test_a_loss_is_no_change(found):
    assert not clear(found([noise(1, 2.0)]), noise(0, 1.0))


def test_on_other_rows_no_better_than_a_constant_is_no_change(found):
    """As with permuted validation labels, where the strongest penalty loses least."""
    collapsed, memorised = [noise(1, 1.1, 0.1)], noise(0, 8.0)
    assert not clear(found(collapsed, is_shifted=True), memorised, constant=1.0)
    assert clear(found(collapsed, is_shifted=True), memorised, constant=1.3)
    assert clear(found(collapsed), memorised, constant=1.09)
    assert not clear(found(collapsed), memorised, constant=1.0)


def test_gains_over_no_penalty_are_paired(found):
    none = noise(1, 1.5)
    made = outcomes(found([none - 0.25], [none]))
    best = next(each for each in made if each.norm is Norm.L2)
    assert best.gain == pytest.approx(0.25)
    assert best.gain_se == pytest.approx(0.0, abs=1e-12)
    assert next(each for each in made if each.site is Site.NONE).gain is None


def test_a_training_that_diverged_has_no_loss(found):
    best = next(each for each in outcomes(found([noise(1, 1.0), ()])) if each.norm is Norm.L2)
    assert best.loss is None
    assert best.trainings == 2


def verdict(made, base, *, is_change, is_overfit=False):
    reference = Reference(base=base, constant=np.full(ROWS, 10.0), is_overfit=is_overfit, train=0.01)
    return list(sentences(made, outcome(made), reference, validated(made, base), is_change=is_change))


def outcome(made):
    return next(each for each in outcomes(made) if each.norm is Norm.L2)


def test_the_verdict_names_its_estimand_and_its_rows(found):
    said = verdict(found([noise(1, 1.0)]), noise(0, 1.05), is_change=False)
    assert "kernel L2 0.1" in said[0]
    assert "50 rows, 1 training" in said[0]
    assert "(retrain)" in said[-1]


def test_the_verdict_has_the_control_with_its_error(found):
    said = verdict(found([noise(1, 1.0)], [noise(2, 1.5)]), noise(0, 2.0), is_change=True)
    gains = noise(2, 1.5) - noise(1, 1.0)
    assert f"a gain of {gains.mean():.3g}, standard error {gains.std(ddof=1) / ROWS**0.5:.2g}" in said[1]
    assert said[1].startswith("No penalty under the same seeds")


@pytest.mark.parametrize(
    ("gain", "fields", "words"),
    [
        (1.0, {"is_change": True}, "is clear of the noise"),
        (0.03, {"is_change": False}, "is within the noise"),
        (
            0.03,
            {"is_change": True, "is_overfit": True},
            "within the noise (0.42 standard errors, where 1.96 are clear)",
        ),
        (0.03, {"is_change": True, "is_overfit": True}, "overfits clearly (training loss 0.01, validation loss 1.03)"),
        (0.03, {"is_change": True}, "two to one"),
        (-0.03, {"is_change": False}, "is no worse, so what is in use stays"),
    ],
)
def test_noise_is_called_so_with_numbers(found, gain, fields, words):
    spread = np.random.default_rng(3).normal(size=ROWS)
    spread = 0.5 * (spread - spread.mean()) / spread.std(ddof=1)
    winner = np.full(ROWS, 1.0)
    assert words in " ".join(verdict(found([winner]), winner + gain + spread, **fields))


def test_rows_that_chose_do_not_confirm(found):
    base, winner = noise(0, 2.0), noise(1, 1.0)
    made = replace(found([winner]), confirming=(1, 4, 7))
    both = validated(made, base)
    assert both.rows == 3
    assert both.gain == pytest.approx((base - winner)[[1, 4, 7]].mean())
    assert "3 rows that had no part in the choice" in verdict(made, base, is_change=True)[0]


def test_the_gain_over_no_penalty_carries_the_spread_over_seeds(found):
    none = np.full(ROWS, 2.0)
    best = outcome(found([none - 1.0, none - 0.5], [none, none]))
    rows = np.repeat([1.0, 0.5], ROWS)
    expected = rows.var(ddof=1) / len(rows) + np.var([1.0, 0.5], ddof=1) / 2
    assert best.gain_se == pytest.approx(expected**0.5)


def test_limits_are_said(found):
    made = found([noise(1, 1.0)], is_shifted=True, edge=True)
    said = " ".join(warnings(made, outcome(made), 50))
    for words in (
        "50 rows",
        "trained in full once",
        "not trained in full beside",
        "used up",
        "edge",
        "another distribution",
    ):
        assert words in said
    twice = found([noise(1, 1.0), noise(2, 1.0)], [noise(3, 1.0), noise(4, 1.0)])
    fewer = " ".join(warnings(twice, outcome(twice), 1000))
    assert all(words not in fewer for words in ("1,000 rows", "once", "edge", "beside", "another distribution"))
    halves = " ".join(warnings(replace(twice, confirming=(0,)), outcome(twice), 1000))
    assert "the other judged the winner" in halves
