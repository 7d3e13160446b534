"""Scales, offsets and running statistics."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.records import Axis, Layer, Role, Use


def audit_of(make_parameter, use, array, axes=(Axis.OUT,)):
    return measure(Layer(name="norm", role=Role.NORM, parameters=(make_parameter(array, use, axes=axes),)))


@pytest.mark.parametrize("use", [Use.SCALE, Use.OFFSET])
@pytest.mark.parametrize("axes", [(Axis.OUT,), ()])
def test_statistics_of_an_affine_parameter(make_parameter, use, axes):
    x = np.random.default_rng(0).normal(1.0, 0.3, 500)
    x[:5], x[5:8] = 0.0, 1e-6
    audit = audit_of(make_parameter, use, x, axes)
    expected = {
        "nonfinite_count": 0,
        "mean": x.mean(),
        "std": x.std(),
        "rms": np.sqrt((x**2).mean()),
        "min": x.min(),
        "max": x.max(),
        "max_abs": np.abs(x).max(),
        "zero_fraction": 0.01,
        "near_zero_fraction": 0.016,
    }
    assert {m.measure: m.value for m in audit.measurements} == pytest.approx(
        {f"{use}.{name}": value for name, value in expected.items()}
    )


def test_a_fresh_scale_has_no_spread(make_parameter):
    audit = audit_of(make_parameter, Use.SCALE, np.ones(64, np.float32))
    assert (audit.value("scale.mean"), audit.value("scale.std")) == (1.0, 0.0)


def test_a_tiny_spread_around_one_keeps_its_digits(make_parameter):
    x = 1 + 1e-7 * np.random.default_rng(0).standard_normal(1000)
    assert audit_of(make_parameter, Use.SCALE, x).value("scale.std") == pytest.approx(x.std(), rel=1e-6)


@pytest.mark.parametrize("use", [Use.MEAN, Use.VARIANCE])
def test_running_statistics(make_parameter, use):
    x = np.array([0.5, -0.25, 3.0])
    values = {m.measure: m.value for m in audit_of(make_parameter, use, x).measurements}
    expected = {"nonfinite_count": 0.0, "min": -0.25, "max": 3.0, "rms": np.sqrt((x**2).mean())}
    assert values == pytest.approx({f"{use}.{name}": value for name, value in expected.items()})


def test_a_scalar_is_measured(make_parameter):
    layer = Layer(name="t", role=Role.UNKNOWN, parameters=(make_parameter(np.float32(2.5), Use.SCALE, axes=()),))
    assert measure(layer).value("scale.mean") == 2.5
