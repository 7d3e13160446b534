"""Statistics of tensors as the file has them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from regaudit.measures import tensor_statistics
from regaudit.records import Role, Tensor


def statistics_of(array):
    flat = np.asarray(array).reshape(-1)
    tensor = Tensor(name="t", shape=np.shape(array), dtype="X", nbytes=flat.nbytes)
    return tensor_statistics(lambda _, start, stop: flat[start:stop].copy(), tensor, Role.DENSE, "layer")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i2", "u4", "i8", "u8", "?"])
@pytest.mark.parametrize("shape", [(7,), (3, 70_000), ()])
def test_agrees_with_numpy(dtype, shape):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 100, shape).astype(dtype) if dtype != "?" else rng.random(shape) < 0.5
    found = statistics_of(array)
    exact = [int(v) for v in np.asarray(array).reshape(-1).tolist()]
    assert found.sum == sum(exact)
    assert found.fro_norm == pytest.approx(math.sqrt(sum(v * v for v in exact)))
    assert (found.minimum, found.maximum) == (min(exact), max(exact))
    assert (found.zeros, found.nonfinite) == (exact.count(0), 0)
    assert (found.role, found.layer) == (Role.DENSE, "layer")


@pytest.mark.parametrize(("dtype", "value"), [("i8", 2**63 - 1), ("i8", -(2**63)), ("u8", 2**64 - 1), ("i4", -(2**31))])
def test_sums_of_extreme_integers_are_exact(dtype, value):
    found = statistics_of(np.full(100_000, value, dtype))
    assert found.sum == float(100_000 * value)
    assert found.minimum == found.maximum == float(value)
    assert found.fro_norm == pytest.approx(abs(float(value)) * math.sqrt(100_000))


def test_sums_are_over_finite_elements():
    found = statistics_of(np.array([1.0, np.nan, -np.inf, 3.0, 0.0, np.inf], np.float32))
    assert (found.sum, found.minimum, found.maximum, found.zeros, found.nonfinite) == (4.0, 0.0, 3.0, 1, 3)
    assert found.fro_norm == pytest.approx(math.sqrt(10))


@pytest.mark.parametrize("array", [np.zeros((0, 5)), np.array([np.nan, np.inf])])
def test_without_finite_elements_there_are_no_extremes(array):
    found = statistics_of(array)
    assert (found.sum, found.fro_norm, found.minimum, found.maximum) == (0.0, 0.0, None, None)


def test_complex_numbers_count_by_real_part_and_modulus():
    found = statistics_of(np.array([3 + 4j, -1j, 0, complex(1, np.nan)], np.complex64))
    assert (found.sum, found.minimum, found.maximum, found.zeros, found.nonfinite) == (3.0, 0.0, 3.0, 1, 1)
    assert found.fro_norm == pytest.approx(math.sqrt(26))


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e-310])
def test_norms_neither_overflow_nor_vanish(scale):
    found = statistics_of(np.full(400, scale))
    assert found.fro_norm == pytest.approx(20 * scale, rel=1e-9)
    assert found.sum == pytest.approx(400 * scale, rel=1e-9)


def test_what_exceeds_a_double_is_the_largest_double():
    found = statistics_of(np.full(100_000, -1.7e308))
    assert found.sum == -np.finfo(np.float64).max
    assert found.fro_norm == np.finfo(np.float64).max
