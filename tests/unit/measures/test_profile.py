"""What a picture of a kernel shows is what a slow second count gives."""

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.measures.profile import BINS, MOST_SAMPLED, REACH, kept_ranks
from regaudit.records import Axis, Layer, Parameter, Role, Use


def profile_of(array, spectrum="auto", use=Use.KERNEL):
    parameter = Parameter(
        use=use,
        tensors=("w",),
        dtype="F32",
        shape=array.shape,
        axes=(Axis.OUT, Axis.IN)[: array.ndim],
        load=lambda start, stop: np.ascontiguousarray(array[start:stop]),
    )
    return measure(Layer(name="fc", role=Role.DENSE, parameters=(parameter,)), spectrum=spectrum).profile


def gaussian(*shape):
    return np.random.default_rng(7).standard_normal(shape)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-90, 1e90])
def test_histogram_of_a_small_kernel_counts_every_weight(scale):
    weights = gaussian(60, 40) * scale
    edges = np.linspace(-REACH, REACH, BINS + 1)
    expected, _ = np.histogram(
        np.clip(weights / np.sqrt(np.mean((weights / scale) ** 2)) / scale, -REACH, REACH), edges
    )
    assert list(profile_of(weights).counts) == expected.tolist()


def test_histogram_of_a_large_kernel_is_that_of_an_even_sample():
    """Columns of different scale are all met: the sample's histogram is near that of all weights."""
    weights = gaussian(512, 1024) * np.where(np.arange(1024) % 2, 0.1, 1.0)
    counts = np.array(profile_of(weights, "off").counts)
    every, _ = np.histogram(weights / np.sqrt(np.mean(weights**2)), np.linspace(-REACH, REACH, BINS + 1))
    assert MOST_SAMPLED / 2 <= counts.sum() <= MOST_SAMPLED + 100
    assert np.abs(counts / counts.sum() - every / weights.size).max() < 0.01


def test_outermost_bins_hold_what_lies_beyond():
    weights = np.zeros((20, 50))
    weights[0, :2] = 1.0, -1.0
    counts = profile_of(weights).counts
    assert (counts[0], counts[BINS // 2], counts[-1]) == (1, 998, 1)


def test_zeros_alone_are_in_the_middle():
    counts = profile_of(np.zeros((4, 4))).counts
    assert counts[BINS // 2] == sum(counts) == 16


def test_singular_values_are_kept_at_their_ranks():
    weights = gaussian(200, 300)
    profile = profile_of(weights)
    expected = np.linalg.svd(weights, compute_uv=False)
    assert profile.ranks[0] == 1
    assert profile.ranks[-1] == 200
    np.testing.assert_allclose(profile.singular_values, expected[np.array(profile.ranks) - 1], rtol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 64, 65, 100, 4096])
def test_kept_ranks_rise_from_the_first_to_the_last(count):
    ranks = list(kept_ranks(count))
    assert ranks == sorted(set(ranks))
    assert (ranks[0], ranks[-1]) == (1, count)
    assert len(ranks) <= 64


def test_no_spectrum_is_computed_for_a_picture():
    profile = profile_of(gaussian(20, 30), "off")
    assert (tuple(profile.ranks), tuple(profile.singular_values)) == ((), ())


def test_there_is_no_picture_of_what_is_not_finite_or_no_kernel():
    weights = gaussian(4, 4)
    weights[1, 1] = np.nan
    assert profile_of(weights) is None
    assert profile_of(gaussian(4), use=Use.BIAS) is None
