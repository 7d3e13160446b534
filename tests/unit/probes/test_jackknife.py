"""The jackknife gives the textbook standard errors, and its intervals cover."""

import numpy as np
import pytest

from regaudit.probes.jackknife import estimate, mean, root_mean, standard_error, without_each


def test_standard_error_of_a_mean_is_the_textbook_one():
    x = np.random.default_rng(0).normal(size=30)
    found = mean(x)
    assert found.value == pytest.approx(x.mean())
    assert found.se == pytest.approx(x.std(ddof=1) / np.sqrt(30))


def test_leaves_out_each_row():
    x = np.random.default_rng(0).normal(size=(5, 2))
    slow = [np.delete(x, i, 0).mean(0) for i in range(5)]
    np.testing.assert_allclose(without_each(x), slow)


def test_root_mean_agrees_with_the_delta_method():
    x = np.random.default_rng(0).exponential(size=4000)
    found = root_mean(x)
    assert found.value == pytest.approx(np.sqrt(x.mean()))
    assert found.se == pytest.approx(x.std(ddof=1) / np.sqrt(4000) / (2 * found.value), rel=0.01)


def test_two_standard_errors_cover():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(400, 25, 2)) ** 2 * [1.0, 4.0]
    hits = 0
    for each in draws:
        found = estimate(each, lambda m: np.sqrt(m[:, 0] / m[:, 1]))
        hits += abs(found.value - 0.5) < 2 * found.se
    assert 0.9 <= hits / 400 <= 0.99


def test_one_example_has_no_standard_error():
    assert mean(np.array([3.0])).se is None


def test_rounding_is_no_spread():
    assert standard_error(np.array([1.0, 1.0 + 1e-15, 1.0])) == 0.0


def test_an_estimate_that_is_undefined_without_one_example_has_no_standard_error():
    assert estimate(np.array([1.0, 0.0]), lambda m: 1 / m).se is None
