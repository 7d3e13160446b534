"""Odd kernels: every measure is a finite number or has a reason, and numpy never warns."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.measures import MEASURES, measure, measure_model
from regaudit.records import Axis, Use

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP
EXPECTED = {each.name for each in MEASURES if each.use in {Use.KERNEL, Use.BIAS}} - {
    "kernel.operator_norm"
}  # on demand

SHAPES = {
    "one weight": ((1, 1), None),
    "one row": ((1, 7), None),
    "one column": ((7, 1), None),
    "one output, no axis for it": ((9,), (IN,)),
    "no inputs": ((3, 0), None),
    "no outputs": ((0, 3), None),
    "0-d": ((), ()),
    "no orientation": ((4, 5), ()),
    "dense": ((16, 12), None),
    "conv": ((8, 4, 3, 3), None),
}
FILLS = {
    "zeros": lambda shape, rng: np.zeros(shape, np.float32),
    "constant": lambda shape, rng: np.full(shape, 0.1, np.float32),
    "noise": lambda shape, rng: rng.standard_normal(shape).astype(np.float32),
    "largest float32": lambda shape, rng: np.full(shape, np.finfo(np.float32).max),
    "float32 denormals": lambda shape, rng: (rng.uniform(1, 9, shape) * 1e-44).astype(np.float32),
    "near the largest double": lambda shape, rng: rng.uniform(0.5, 1, shape) * 1.7e308,
    "double denormals": lambda shape, rng: rng.uniform(0.5, 1, shape) * 1e-310,
    "600 orders of magnitude": lambda shape, rng: 10.0 ** rng.uniform(-300, 300, shape),
    "one in a million": lambda shape, rng: np.where(rng.random(shape) < 0.5, 1.0, 1e-200),
}


@pytest.mark.parametrize("spectrum", ["auto", "off"])
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_measure_is_a_number_or_a_reason(make_layer, shape, fill, spectrum):
    extents, axes = SHAPES[shape]
    rng = np.random.default_rng(5)
    layer = make_layer(FILLS[fill](extents, rng), rng.standard_normal(3), axes=axes)
    audit = measure(layer, spectrum=spectrum)
    taken, skipped = {m.measure for m in audit.measurements}, {s.measure for s in audit.skips}
    assert taken | skipped == EXPECTED
    assert not taken & skipped
    assert all(s.reason for s in audit.skips)
    measure_model((audit,))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_kernel_with_a_nonfinite_weight_has_its_count_alone(make_layer, bad):
    kernel = np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)
    kernel[3, 5] = kernel[299, 0] = bad
    audit = measure(make_layer(kernel, np.ones(300, np.float32)))
    kernel_values = [m for m in audit.measurements if m.measure.startswith("kernel.")]
    assert [(m.measure, m.value, m.detail) for m in kernel_values] == [("kernel.nonfinite_count", 2.0, "units 3, 299")]
    reasons = {s.measure: s.reason for s in audit.skips}
    assert reasons["kernel.rms"] == "2 of 90,000 elements are not finite"
    assert reasons["bias.to_kernel_max"] == "kernel: 2 of 90,000 elements are not finite"
    assert audit.value("bias.rms") == 1.0


def test_an_unknown_orientation_leaves_element_statistics(make_layer):
    audit = measure(make_layer(np.random.default_rng(0).standard_normal((30, 40)), axes=()))
    assert audit.value("kernel.excess_kurtosis") is not None
    reasons = {s.measure: s.reason for s in audit.skips}
    for name in (
        "out_norm_median",
        "laplace_log_ratio",
        "growth",
        "spectral_norm",
        "dead_out_count",
        "two_of_four_fraction",
    ):
        assert reasons[f"kernel.{name}"] == "orientation unknown"


def test_an_empty_kernel_says_so(make_layer):
    audit = measure(make_layer(np.zeros((0, 4), np.float32)))
    assert {s.reason for s in audit.skips} == {"has no elements"}


def test_a_measure_too_large_for_a_double_is_skipped(make_layer):
    audit = measure(make_layer(np.full((9, 9), 1.5e308), dtype="F64"))
    reasons = {s.measure: s.reason for s in audit.skips}
    assert reasons["kernel.fro_norm"] == "too large for a double"
    assert audit.value("kernel.rms") == pytest.approx(1.5e308)
