"""Single weights near zero, told from dead units, ignored inputs and scales."""

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.records import Axis


def value(make_layer, kernel, name="kernel.scattered_small_fraction", **fields):
    return measure(make_layer(kernel.astype(np.float32), **fields), spectrum="off").value(name)


def slow(kernel):
    """The definition, weight by weight, of a kernel (out, in)."""
    rms = np.sqrt(np.mean(kernel**2))
    rows, columns = np.sqrt(np.mean(kernel**2, axis=1)), np.sqrt(np.mean(kernel**2, axis=0))
    counts = [
        abs(kernel[j, i]) * rms < 0.01 * rows[j] * columns[i] for j, i in np.ndindex(kernel.shape) if kernel[j, i] != 0
    ]
    return np.mean(counts)


@pytest.fixture
def kernel():
    return np.random.default_rng(0).standard_normal((24, 30))


def test_it_is_its_definition(make_layer, kernel):
    kernel[::3, ::2] *= 1e-4
    kernel[1, :5] = 0
    assert value(make_layer, kernel) == pytest.approx(slow(kernel), abs=1e-9)
    assert value(make_layer, kernel.T, axes=(Axis.IN, Axis.OUT)) == pytest.approx(slow(kernel), abs=1e-9)


def test_whole_rows_and_columns_are_not_single_weights(make_layer, kernel):
    kernel[:8] *= 1e-4
    kernel[:, :10] *= 1e-6
    assert value(make_layer, kernel) < 0.03


def test_weights_that_went_on_are_told_from_those_that_stopped(make_layer, kernel):
    stopped, gone = kernel.copy(), kernel.copy()
    stopped[::3, ::2] *= 1e-3
    gone[::3, ::2] *= 1e-9
    assert value(make_layer, stopped, "kernel.gone_fraction") < 0.05
    assert value(make_layer, gone, "kernel.gone_fraction") > 0.9


def test_a_sample_of_a_large_kernel_is_enough(make_layer):
    kernel = np.random.default_rng(1).standard_normal((600, 700))
    kernel[:, ::5] *= 1e-4
    kernel[::2, 1::5] *= 1e-4
    assert value(make_layer, kernel) == pytest.approx(slow(kernel), abs=0.02)


def test_factors_in_balance(make_layer, make_parameter):
    """AAᵀ = BᵀB for the factors that share a singular value decomposition; B = 0 is as far from it as can be."""
    rng = np.random.default_rng(2)
    u, v = np.linalg.qr(rng.standard_normal((20, 4)))[0], np.linalg.qr(rng.standard_normal((12, 4)))[0]
    roots = np.diag([2.0, 1.5, 1.0, 0.5])

    def imbalance(b, a):
        factors = (make_parameter(b, axes=(Axis.OUT, Axis.IN)), make_parameter(a, axes=(Axis.OUT, Axis.IN)))
        return value(make_layer, b @ a, "kernel.factor_imbalance", factors=factors)

    assert imbalance(u @ roots, roots @ v.T) < 1e-9
    assert imbalance(1e-3 * u @ roots, roots @ v.T) > 0.99
