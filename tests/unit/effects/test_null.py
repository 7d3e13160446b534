import math

import pytest
import torch

from regaudit.effects.null import is_more_than, near_zero_share, small_vectors, surety


def test_surety_rises_from_none_to_certain():
    assert surety(0, 1) == 0
    assert surety(2, 1) == pytest.approx(0.5)
    assert surety(-2, 1) == pytest.approx(0.5)
    assert surety(8, 1) > 0.94
    assert surety(1, 0) == 1


def test_near_zero_share_is_that_of_normal_weights():
    w = torch.randn(4_000_000, generator=torch.Generator().manual_seed(0))
    share = (w.abs() < 1e-3 * w.square().mean().sqrt()).double().mean().item()
    assert near_zero_share() == pytest.approx(share, rel=0.1)
    assert near_zero_share() == pytest.approx(7.98e-4, rel=1e-3)


@pytest.mark.parametrize("length", [1, 2, 3, 10])
def test_small_vectors_agrees_with_the_chi_square_distribution(length):
    """P(χ²_k < t) through the regularized incomplete gamma function, t from the median found by bisection."""
    half = torch.tensor(length / 2, dtype=torch.float64)

    def below(x):
        return torch.special.gammainc(half, torch.tensor(x / 2, dtype=torch.float64)).item()

    low, high = 0.0, 10.0 * length
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < 0.5 else (low, middle)
    assert small_vectors(1, length) == pytest.approx(below(1e-6 * low), rel=0.25)


def test_long_vectors_are_never_small_by_chance():
    assert small_vectors(10**6, 100) < 1e-100


@pytest.mark.parametrize(
    ("count", "expected", "answer"),
    [(0, 0.0, False), (1, 0.0, True), (1, 0.5, False), (20, 10.0, False), (40, 10.0, True)],
)
def test_counts_are_compared_with_chance(count, expected, answer):
    assert is_more_than(count, expected) is answer


def test_the_laplace_null_is_that_of_normal_weights():
    from regaudit.effects.heavy_tailed import NORMAL_RATIO, NORMAL_SPREAD

    w = torch.randn(400, 2000, generator=torch.Generator().manual_seed(0)).double()
    q = w.square().mean(1).sqrt() / w.abs().mean(1)
    ratio = q.log() - 0.5 * math.log(2 * math.e / math.pi)
    assert ratio.mean().item() == pytest.approx(NORMAL_RATIO, abs=1e-3)
    assert ratio.std().item() == pytest.approx(NORMAL_SPREAD / math.sqrt(2000), rel=0.1)
