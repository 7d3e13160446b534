"""Facts of random matrices and of initialisations that our measures rest on."""

import math

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.measures.initial import CUT_NORMAL, UNIFORM
from regaudit.records import Axis, Layer, Parameter, Role, Use


def measured(kernel, spectrum="off"):
    parameter = Parameter(
        use=Use.KERNEL, tensors=("w",), dtype="F32", shape=kernel.shape, axes=(Axis.OUT, Axis.IN),
        load=lambda start, stop: kernel[start:stop],
    )  # fmt: skip
    return measure(Layer(name="fc", role=Role.DENSE, parameters=(parameter,)), spectrum=spectrum)


def cut_normal(rng, size):
    draws = rng.standard_normal(4 * math.prod(size))
    return draws[np.abs(draws) < 2][: math.prod(size)].reshape(size)


def test_the_spectrum_of_noise_is_that_of_marchenko_and_pastur():
    """Fact 19: σ₁/(√m + √n) from 0.985 to 1.005 and the stable rank within 2% of mn/(√m + √n)²."""
    m, n = 500, 1000
    found = measured(np.random.default_rng(0).standard_normal((m, n)), "full")
    edge = math.sqrt(m) + math.sqrt(n)
    assert 0.985 < found.value("kernel.spectral_norm") / edge < 1.005
    assert found.value("kernel.stable_rank") == pytest.approx(m * n / edge**2, rel=0.02)


INITIAL = {
    "torch Linear(400)": (lambda rng: rng.uniform(-0.05, 0.05, (600, 400)), 0.02887, UNIFORM),
    "Glorot uniform(400, 600)": (lambda rng: rng.uniform(-1, 1, (600, 400)) * math.sqrt(6 / 1000), 0.04472, UNIFORM),
    "He normal(400), cut": (
        lambda rng: cut_normal(rng, (600, 400)) * math.sqrt(2 / 400) / 0.879626,
        0.07071,
        CUT_NORMAL,
    ),
    "TruncatedNormal(0.05)": (lambda rng: cut_normal(rng, (600, 400)) * 0.05, 0.04398, CUT_NORMAL),
    "N(0, 0.02)": (lambda rng: rng.normal(0, 0.02, (600, 400)), 0.02, 0.0),
    "orthogonal(400, 600)": (lambda rng: np.linalg.qr(rng.standard_normal((600, 400)))[0], 0.04082, 0.0),
}


@pytest.mark.parametrize("name", INITIAL)
def test_moments_of_initialisations(name):
    """Fact 20: standard deviation within 1%, excess kurtosis of the shape that is inferred from it."""
    draw, std, kurtosis = INITIAL[name]
    found = measured(draw(np.random.default_rng(0)))
    assert found.value("kernel.rms") == pytest.approx(std, rel=0.01)
    assert found.value("kernel.excess_kurtosis") == pytest.approx(kurtosis, abs=0.03)
    if kurtosis == UNIFORM:
        assert found.value("kernel.max_to_rms") == pytest.approx(math.sqrt(3), rel=1e-3)


def test_laplace_fits_better_than_gauss_above_its_boundary():
    """Fact 21: iff rms/mean|w| > √(2e/π) = 1.31549; normal 1.2533, Laplace 1.4142, uniform 1.1547."""
    rng = np.random.default_rng(0)
    draws = {
        1.2533: rng.standard_normal,
        1.4142: lambda n: rng.laplace(size=n),
        1.1547: lambda n: rng.uniform(-1, 1, n),
    }
    for expected, draw in draws.items():
        found = measured(draw((400, 400)))
        q = found.value("kernel.rms_to_mean_abs")
        assert q == pytest.approx(expected, rel=0.01)
        assert found.value("kernel.laplace_log_ratio") == pytest.approx(
            math.log(q / math.sqrt(2 * math.e / math.pi)), abs=1e-6
        )
        assert (found.value("kernel.laplace_log_ratio") > 0) is (expected > 1.31549)


@pytest.mark.parametrize("scales", [False, True], ids=["one scale", "rows and columns of many scales"])
def test_random_weights_are_small_as_often_as_chance(scales):
    """The share below a hundredth of what row and column let expect is 0.8%, whatever their scales."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((200, 300))
    if scales:
        kernel *= rng.lognormal(0, 1.5, (200, 1)) * rng.lognormal(0, 1.5, (1, 300))
    found = measured(kernel)
    assert found.value("kernel.scattered_small_fraction") == pytest.approx(0.008, abs=0.002)
    assert found.value("kernel.gone_fraction") < (0.2 if scales else 0.01)
