"""Laws that the measures of any kernel obey."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from regaudit.measures import measure
from regaudit.records import Axis, Layer, Parameter, Role, Use

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
FINITE = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda x: 0.0 if abs(x) < 1e-3 else x)
KERNELS = SHAPES.flatmap(lambda shape: arrays.arrays(np.float64, shape, elements=FINITE))
ANYTHING = SHAPES.flatmap(lambda shape: arrays.arrays(np.float64, shape, elements=st.floats(width=64)))
SCALE_FREE = (
    "zero_fraction", "near_zero_fraction", "hoyer_sparsity", "out_norm_gini", "in_norm_gini", "max_to_rms", "stable_rank",
    "effective_rank", "top_energy", "dead_out_count", "duplicate_out_count", "two_of_four_fraction", "rms_to_mean_abs",
)  # fmt: skip
HOMOGENEOUS = (
    "l1_norm",
    "fro_norm",
    "rms",
    "mean_abs",
    "max_abs",
    "value_range",
    "out_norm_max",
    "in_norm_median",
    "spectral_norm",
)
FRACTIONS = (
    "zero_fraction",
    "near_zero_fraction",
    "hoyer_sparsity",
    "out_norm_gini",
    "dead_out_fraction",
    "top_energy",
    "outlier_energy",
)

settings.register_profile("measures", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def values(kernel, axes=(Axis.OUT, Axis.IN)):
    parameter = Parameter(
        use=Use.KERNEL, tensors=("w",), dtype="F64", shape=kernel.shape, axes=axes, load=lambda a, b: kernel[a:b]
    )
    audit = measure(Layer(name="l", role=Role.DENSE, parameters=(parameter,)))
    return {m.measure.removeprefix("kernel."): m.value for m in audit.measurements}


def assert_same(a, b, names, rel=1e-6):
    for name in names:
        assert (name in a) == (name in b), name
        if name in a:
            assert a[name] == pytest.approx(b[name], rel=rel, abs=1e-9), name


@settings(settings.get_profile("measures"))
@given(KERNELS, st.sampled_from([2.0**-20, 0.25, 2.0, 2.0**30]))
def test_scaling_the_kernel_scales_norms_and_nothing_else(kernel, scale):
    a, b = values(kernel), values(kernel * scale)
    assert_same(a, b, SCALE_FREE)
    assert_same({name: a[name] * scale for name in HOMOGENEOUS}, b, HOMOGENEOUS)


@settings(settings.get_profile("measures"))
@given(KERNELS, st.randoms(use_true_random=False))
def test_the_order_of_units_does_not_matter(kernel, random):
    rows, columns = list(range(kernel.shape[0])), list(range(kernel.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    names = {*SCALE_FREE, *HOMOGENEOUS} - {"two_of_four_fraction"}
    assert_same(values(kernel), values(kernel[rows][:, columns]), names)


@settings(settings.get_profile("measures"))
@given(KERNELS)
def test_the_order_of_axes_in_the_file_does_not_matter(kernel):
    a, b = values(kernel), values(np.ascontiguousarray(kernel.T), (Axis.IN, Axis.OUT))
    assert a.keys() == b.keys()
    assert_same(a, b, a.keys() - {"condition_number"})


@settings(settings.get_profile("measures"))
@given(KERNELS, st.integers(0, 1000))
def test_rotations_keep_the_spectrum(kernel, seed):
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((kernel.shape[1],) * 2))[0]
    a, b = values(kernel), values(kernel @ rotation)
    assert_same(a, b, ("fro_norm", "spectral_norm", "stable_rank", "top_energy"))


@settings(settings.get_profile("measures"))
@given(KERNELS)
def test_norms_and_ranks_keep_their_order(kernel):
    v = values(kernel)
    n, rank = kernel.size, min(kernel.shape)
    slack = 1 + 1e-9
    assert v["max_abs"] <= v["fro_norm"] * slack
    assert v["fro_norm"] <= v["l1_norm"] * slack
    assert v["l1_norm"] <= math.sqrt(n) * v["fro_norm"] * slack
    assert v["spectral_norm"] <= v["fro_norm"] * slack
    assert v["fro_norm"] <= math.sqrt(rank) * v["spectral_norm"] * slack
    if "stable_rank" in v:
        assert 1 <= v["stable_rank"] <= rank * slack
        assert v["effective_rank"] * slack >= 1
        assert v["effective_rank"] <= rank * slack
    assert v.get("max_to_rms", 1) <= math.sqrt(n) * slack


@settings(settings.get_profile("measures"))
@given(ANYTHING)
def test_any_doubles_give_finite_values_within_their_ranges(kernel):
    v = values(kernel)
    assert all(math.isfinite(value) for value in v.values())
    assert all(0 <= v[name] <= 1 for name in FRACTIONS if name in v)
    assert v["nonfinite_count"] == np.count_nonzero(~np.isfinite(kernel))


@settings(settings.get_profile("measures"))
@given(KERNELS)
def test_copying_every_row_doubles_them(kernel):
    nonzero = int(np.any(kernel, axis=1).sum())
    before, after = values(kernel), values(np.concatenate([kernel, kernel]))
    assert after["duplicate_out_count"] == before["duplicate_out_count"] + nonzero
