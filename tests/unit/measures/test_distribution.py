"""Shapes of known densities, and the constants that tell them apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.measures.distribution import HALF_LOG_2E_OVER_PI, expected_max_to_rms

SHAPE = (400, 500)
DENSITIES = {
    "uniform": lambda rng: rng.uniform(-1, 1, SHAPE),
    "truncated": lambda rng: rng.choice(np.clip(z := rng.standard_normal(2_000_000), -2, 2)[np.abs(z) < 2], SHAPE),
    "normal": lambda rng: rng.standard_normal(SHAPE),
    "laplace": lambda rng: rng.laplace(size=SHAPE),
}


def taken(make_layer, array, name):
    return measure(make_layer(array), spectrum="off").value(f"kernel.{name}")


@pytest.mark.parametrize(
    ("density", "name", "expected", "tolerance"),
    [
        ("uniform", "excess_kurtosis", -1.2, 0.02),
        ("truncated", "excess_kurtosis", -0.6345, 0.02),
        ("normal", "excess_kurtosis", 0.0, 0.05),
        ("laplace", "excess_kurtosis", 3.0, 0.2),
        ("uniform", "rms_to_mean_abs", 2 / math.sqrt(3), 0.002),
        ("truncated", "rms_to_mean_abs", 1.2168, 0.002),
        ("normal", "rms_to_mean_abs", math.sqrt(math.pi / 2), 0.002),
        ("laplace", "rms_to_mean_abs", math.sqrt(2), 0.01),
        ("normal", "generalized_gaussian_shape", 2.0, 0.05),
        ("laplace", "generalized_gaussian_shape", 1.0, 0.03),
    ],
)
def test_known_densities_have_their_shape(make_layer, density, name, expected, tolerance):
    array = DENSITIES[density](np.random.default_rng(0))
    assert taken(make_layer, array, name) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("density", "wins"), [("uniform", False), ("truncated", False), ("normal", False), ("laplace", True)]
)
def test_only_laplace_weights_favour_laplace(make_layer, density, wins):
    array = DENSITIES[density](np.random.default_rng(1))
    assert (taken(make_layer, array, "laplace_log_ratio") > 0) is wins


def test_the_log_ratio_is_the_difference_of_the_two_log_likelihoods(make_layer):
    w = np.random.default_rng(2).laplace(size=(1, 5000))
    s, b = math.sqrt((w**2).mean()), np.abs(w).mean()
    gauss = np.mean(-0.5 * np.log(2 * np.pi * s**2) - w**2 / (2 * s**2))
    laplace = np.mean(-np.log(2 * b) - np.abs(w) / b)
    assert taken(make_layer, w, "laplace_log_ratio") == pytest.approx(laplace - gauss, rel=1e-10)
    assert math.exp(HALF_LOG_2E_OVER_PI) == pytest.approx(1.31549, abs=1e-5)


def test_rows_of_different_scale_do_not_look_like_laplace(make_layer):
    rng = np.random.default_rng(3)
    array = rng.standard_normal(SHAPE) * np.exp(0.5 * rng.standard_normal((SHAPE[0], 1)))
    w = np.abs(array)
    assert math.sqrt((w**2).mean()) / w.mean() > 1.40  # without standardising they would
    assert taken(make_layer, array, "rms_to_mean_abs") == pytest.approx(1.2533, abs=0.005)
    assert taken(make_layer, array, "laplace_log_ratio") < 0


@pytest.mark.parametrize("n", [4, 16, 64, 1000, 20_000])
def test_the_expected_maximum_agrees_with_simulation(n):
    w = np.abs(np.random.default_rng(0).standard_normal((max(300, 200_000 // n), n)))
    ratios = w.max(axis=1) / np.sqrt((w**2).mean(axis=1))
    assert expected_max_to_rms(n) == pytest.approx(ratios.mean(), rel=0.012 + 3 * ratios.std() / len(ratios) ** 0.5 / 3)


@pytest.mark.parametrize("size", [(10, 10), (100, 100), (1000, 1000)])
def test_the_largest_weight_of_noise_is_as_expected(make_layer, size):
    assert taken(make_layer, np.random.default_rng(0).standard_normal(size), "max_to_rms_ratio") == pytest.approx(
        1, abs=0.3
    )


def test_one_large_weight_stands_out_and_is_named(make_layer):
    array = np.random.default_rng(0).standard_normal((256, 256))
    array[5, 9] = -50
    audit = measure(make_layer(array))
    assert audit.value("kernel.max_to_rms_ratio") > 10
    assert audit.detail("kernel.max_abs") == "unit 5, input 9"


@pytest.mark.parametrize(
    ("rows", "reason"), [(3, "rows of 3 weights; it takes 8"), (1, "rows of 1 weight; it takes 8")]
)
def test_short_rows_are_not_standardised(make_layer, rows, reason):
    audit = measure(make_layer(np.random.default_rng(0).standard_normal((50, rows))))
    assert next(s.reason for s in audit.skips if s.measure == "kernel.laplace_log_ratio").startswith(reason)


def test_flat_weights_have_no_generalized_gaussian(make_layer):
    audit = measure(make_layer(np.random.default_rng(0).choice([-1.0, 1.0], (20, 20))))
    reason = next(s.reason for s in audit.skips if s.measure == "kernel.generalized_gaussian_shape")
    assert reason.startswith("flatter than any")


def test_spiky_weights_clip_at_a_tenth(make_layer):
    array = np.full((10, 100_00), 1e-12)
    array[:, 0] = 1.0
    assert taken(make_layer, array, "generalized_gaussian_shape") == pytest.approx(0.1)
