"""One summary, however the parameter is cut into boxes."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.measures.blocks import Blocks
from regaudit.measures.moments import Moments
from regaudit.measures.summary import summarize
from regaudit.records import Axis

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP


@pytest.mark.parametrize("block", [64, 100, 1000, 1 << 16])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((50, 30), (OUT, IN)),
        ((30, 50), (IN, OUT)),
        ((3, 3, 12, 20), (TAP, TAP, IN, OUT)),
        ((4, 9, 23), (IN, IN, OUT)),
        ((2, 999), (OUT, IN)),
    ],
)
def test_the_size_of_boxes_does_not_matter(make_parameter, shape, axes, block):
    rng = np.random.default_rng(3)
    array = rng.standard_normal(shape) * (rng.random(shape) > 0.4)
    array[1] = array[0]
    parameter = make_parameter(array, axes=axes)
    whole, cut = summarize(Blocks(parameter, 1 << 20)), summarize(Blocks(parameter, block))
    for name in ("zeros", "near_zeros", "peak", "two_of_four", "zero_blocks", "minimum", "maximum"):
        assert getattr(cut, name) == getattr(whole, name), name
    for name in ("l1", "squares", "out_l1", "out_squares", "out_fourths", "in_squares"):
        np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), rtol=1e-12, err_msg=name)
    for name in ("mean", "second", "third", "fourth"):
        assert getattr(cut.moments, name) == pytest.approx(getattr(whole.moments, name), rel=1e-10, abs=1e-10), name
    np.testing.assert_array_equal(cut.fingerprints, whole.fingerprints)


def test_a_box_never_exceeds_the_block(make_parameter):
    parameter = make_parameter(np.zeros((5, 10_000), np.float32))
    sizes = [box.values.size for box in Blocks(parameter, 256)]
    assert max(sizes) <= 256
    assert sum(sizes) == 50_000


def test_a_small_parameter_is_loaded_once(make_parameter):
    loads = []
    array = np.ones((4, 4), np.float32)
    parameter = make_parameter(array)
    counted = type(parameter)(
        use=parameter.use, tensors=parameter.tensors, dtype="F32", shape=(4, 4), axes=parameter.axes,
        load=lambda a, b: loads.append((a, b)) or array[a:b],
    )  # fmt: skip
    summarize(Blocks(counted))
    assert loads == [(0, 4)]


def test_merged_moments_keep_their_digits_when_the_mean_is_large():
    rng = np.random.default_rng(0)
    x = 1e6 + rng.gamma(2.0, size=999)
    merged = Moments()
    for part in np.array_split(x, 13):
        d = part - part.mean()
        merged.merge(Moments(len(part), part.mean(), (d**2).sum(), (d**3).sum(), (d**4).sum()))
    d = x - x.mean()
    assert merged.second == pytest.approx((d**2).sum(), rel=1e-8)
    assert merged.third == pytest.approx((d**3).sum(), rel=1e-6)
    assert merged.fourth == pytest.approx((d**4).sum(), rel=1e-6)


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e-310, 1e150])
def test_sums_are_scaled_where_powers_would_leave_the_range(make_parameter, scale):
    base = np.random.default_rng(1).uniform(0.5, 2.0, (12, 8))
    plain, scaled = (summarize(Blocks(make_parameter(base * s, dtype="F64"))) for s in (1.0, scale))
    assert scaled.rms * scaled.unit == pytest.approx(plain.rms * scale, rel=1e-9)
    assert scaled.row_ratio == pytest.approx(plain.row_ratio, rel=1e-9)
    np.testing.assert_allclose(scaled.sorted_out_norms / scaled.rms, plain.sorted_out_norms / plain.rms, rtol=1e-9)
