"""Every way to sum a box gives what float64 numpy gives on the whole."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.measures.sums import COMPILED_PAYS, NUMPY, chosen


def engines():
    yield NUMPY
    if chosen(COMPILED_PAYS) is not NUMPY:
        yield chosen(COMPILED_PAYS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (1, 1000), (33, 65), (1000, 3)])
@pytest.mark.parametrize("engine", list(engines()), ids=lambda each: each.add.__name__)
def test_sums_are_those_of_the_definition(engine, shape, dtype):
    x = np.random.default_rng(2).standard_normal(shape).astype(dtype)
    w = x.astype(np.float64)
    found = engine.add(x, np.empty((3, x.size)))
    assert found.total == pytest.approx(w.sum(), rel=1e-10, abs=1e-10)
    assert found.cubes == pytest.approx((w**3).sum(), rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(found.rows, [abs(w).sum(axis=1), (w**2).sum(axis=1), (w**4).sum(axis=1)], rtol=1e-12)
    np.testing.assert_allclose(found.columns, [abs(w).sum(axis=0), (w**2).sum(axis=0)], rtol=1e-12)


def test_small_models_do_not_load_a_compiler():
    assert chosen(COMPILED_PAYS - 1) is NUMPY
