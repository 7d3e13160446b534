"""Biases beside the weights of their units."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.records import Axis, Layer, Role, Use


@pytest.fixture
def kernel():
    return np.random.default_rng(0).standard_normal((50, 80)).astype(np.float32)


def test_biases_are_measured_in_norms_of_their_rows(make_layer, kernel):
    bias = np.random.default_rng(1).standard_normal(50)
    z = np.abs(bias) / np.linalg.norm(kernel.astype(np.float64), axis=1)
    audit = measure(make_layer(kernel, bias))
    assert audit.value("bias.to_kernel_median") == pytest.approx(np.median(z))
    assert audit.value("bias.to_kernel_max") == pytest.approx(z.max())
    assert audit.detail("bias.to_kernel_max") == f"unit {z.argmax()}"
    assert audit.value("bias.dominant_fraction") == 0.0
    assert audit.value("bias.l1_norm") == pytest.approx(np.abs(bias).sum())
    assert audit.value("bias.rms") == pytest.approx(np.sqrt((bias**2).mean()))


def test_an_input_first_kernel_gives_the_same(make_layer, kernel):
    bias = np.random.default_rng(1).standard_normal(50)
    first, second = (
        measure(make_layer(array, bias, axes=axes))
        for array, axes in ((kernel, None), (np.ascontiguousarray(kernel.T), (Axis.IN, Axis.OUT)))
    )
    for name in ("bias.to_kernel_median", "bias.to_kernel_max"):
        assert first.value(name) == pytest.approx(second.value(name), rel=1e-12)


def test_dominant_biases_are_counted_and_named(make_layer, kernel):
    bias = np.zeros(50)
    bias[[4, 5, 6]] = 200.0
    audit = measure(make_layer(kernel, bias))
    assert audit.value("bias.dominant_fraction") == 3 / 50
    assert audit.detail("bias.dominant_fraction") == "units 4-6"
    assert audit.value("bias.zero_fraction") == 47 / 50


def test_units_without_weights_are_left_out_of_the_ratio(make_layer, kernel):
    kernel[:10] = 0
    audit = measure(make_layer(kernel, np.ones(50)))
    assert audit.detail("bias.to_kernel_median") == "10 units without weights left out"
    assert audit.value("bias.dominant_fraction") == 10 / 50


@pytest.mark.parametrize(
    ("rows", "bias", "reason"),
    [(50, np.ones(7), "7 biases for 50 units"), (0.0, np.ones(50), "no unit has weights")],
)
def test_what_does_not_fit_is_skipped(make_layer, kernel, rows, bias, reason):
    audit = measure(make_layer(kernel if rows else kernel * 0, bias))
    assert {s.reason for s in audit.skips if s.measure == "bias.to_kernel_max"} == {reason}


def test_a_bias_alone_has_no_kernel_to_be_compared_with(make_parameter):
    layer = Layer(name="b", role=Role.DENSE, parameters=(make_parameter(np.ones(5), Use.BIAS),))
    assert (
        next(s.reason for s in measure(layer).skips if s.measure == "bias.to_kernel_max") == "the layer has no kernel"
    )


def test_units_of_extreme_kernels_are_respected(make_layer):
    audit = measure(make_layer(np.full((4, 4), 1e200), np.full(4, 1e200), dtype="F64"))
    assert audit.value("bias.to_kernel_max") == pytest.approx(0.5)
