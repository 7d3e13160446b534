"""Jacobians and their norms equal what is known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.probes import jacobian
from regaudit.probes.base import Data
from regaudit.probes.coordinates import find
from regaudit.probes.jacobian import EXACT_OUTPUTS, jacobians
from regaudit.probes.power_iteration import spectral_norms


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def taken(runner, x, seed=0):
    data = Data(inputs={"x": x}, total=len(x))
    coordinates = find(runner, data)
    return jacobians(coordinates, data, scale=coordinates.scale(x.flatten(1).float()), seed=seed, batch_size=6)


def value(name, found):
    return next(m for m in jacobian.MEASURES if m.name == name).function(found)


def singular_values(weight):
    return torch.linalg.svdvals(weight.detach().double()).numpy()


def test_linear_map_has_its_kernel_as_jacobian(runner_of):
    network = nn.Linear(5, 3)
    found = taken(runner_of(network), torch.randn(10, 5))
    weight = network.weight.detach().double().numpy()
    np.testing.assert_allclose(found.squared_fro, (weight**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(found.spectral, singular_values(network.weight)[0], rtol=1e-5)
    np.testing.assert_allclose(found.squares.sum(0), 10 * (weight**2).sum(0), rtol=1e-5)
    assert found.how == "exact, 10 examples"


def test_deep_linear_network_has_the_product(runner_of):
    network = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2))
    product = (network[2].weight @ network[1].weight @ network[0].weight).detach()
    found = taken(runner_of(network), torch.randn(4, 4))
    assert value("model.jacobian_fro_norm", found).value == pytest.approx(float(product.norm()), rel=1e-5)
    assert value("model.local_lipschitz", found).value == pytest.approx(singular_values(product)[0], rel=1e-5)


def test_relu_network_has_the_product_over_its_active_units(runner_of):
    network = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))
    x = torch.randn(13, 4)
    active = (network[0](x) > 0).float()
    slow = torch.einsum("kj,nj,ji->nki", network[2].weight, active, network[0].weight).detach().double()
    found = taken(runner_of(network), x)
    np.testing.assert_allclose(found.squared_fro, slow.square().sum((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.spectral, torch.linalg.svdvals(slow)[:, 0], rtol=1e-5)
    fro = value("model.jacobian_fro_norm", found)
    assert fro.value == pytest.approx(float(slow.square().sum((1, 2)).mean().sqrt()), rel=1e-5)
    assert value("model.local_lipschitz_mean", found).value == pytest.approx(found.spectral.mean())


def test_tanh_unit_has_its_slope(runner_of):
    network = nn.Sequential(nn.Linear(1, 1), nn.Tanh())
    x = torch.linspace(-2, 2, 9)[:, None]
    w, b = network[0].weight.item(), network[0].bias.item()
    slope = w * (1 - np.tanh(w * x[:, 0].numpy() + b) ** 2)
    np.testing.assert_allclose(taken(runner_of(network), x).squared_fro, slope**2, rtol=1e-4)


def test_projections_are_unbiased_and_their_standard_error_covers(runner_of):
    network = nn.Linear(3, EXACT_OUTPUTS + 8)
    runner, x = runner_of(network), torch.randn(12, 3)
    true = float(network.weight.detach().norm())
    estimates = [value("model.jacobian_fro_norm", taken(runner, x, seed)) for seed in range(60)]
    z = np.array([(each.value - true) / each.se for each in estimates])
    assert "8 random projections" in estimates[0].detail
    assert abs(z.mean()) < 0.35
    assert (np.abs(z) < 3).mean() > 0.95
    assert 0.8 < z.std() < 1.3


def test_power_iteration_finds_the_largest_singular_value(runner_of):
    network = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, EXACT_OUTPUTS + 4))
    x = torch.randn(5, 6)
    active = (network[0](x) > 0).float()
    slow = torch.einsum("kj,nj,ji->nki", network[2].weight, active, network[0].weight).detach()
    largest = torch.linalg.svdvals(slow)[:, 0].numpy()
    found = taken(runner_of(network), x).spectral
    assert (found <= largest * (1 + 1e-5)).all()
    np.testing.assert_allclose(found, largest, rtol=0.01)


def test_the_same_seed_gives_the_same_numbers(runner_of):
    runner, x = runner_of(nn.Linear(3, EXACT_OUTPUTS + 1)), torch.randn(4, 3)
    a, b, c = taken(runner, x, 1), taken(runner, x, 1), taken(runner, x, 2)
    np.testing.assert_array_equal(a.squared_fro, b.squared_fro)
    np.testing.assert_array_equal(a.spectral, b.spectral)
    assert (a.squared_fro != c.squared_fro).any()


def test_batches_do_not_matter(runner_of):
    runner, x = runner_of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))), torch.randn(11, 3)
    data = Data(inputs={"x": x}, total=11)
    coordinates = find(runner, data)
    a, b = (jacobians(coordinates, data, scale=torch.ones(3), seed=0, batch_size=size) for size in (2, 11))
    np.testing.assert_allclose(a.squares, b.squares, rtol=1e-5)
    np.testing.assert_allclose(a.spectral, b.spectral, rtol=1e-5)


def test_constant_model_has_none(runner_of):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.b.expand(len(x), 2)

    found = taken(runner_of(Constant(), call=lambda network, batch: network(batch["x"])), torch.randn(4, 3))
    assert value("model.jacobian_fro_norm", found).value == 0.0
    assert value("model.local_lipschitz", found).value == 0.0


def test_without_gradients_it_takes_differences(runner_of):
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    x = torch.randn(6, 3)
    exact = taken(runner_of(network), x)
    found = taken(runner_of(network, is_differentiable=False), x)
    np.testing.assert_allclose(found.squared_fro, exact.squared_fro, rtol=1e-3)
    np.testing.assert_allclose(found.spectral, exact.spectral, rtol=1e-3)
    assert found.how == "central differences, 6 examples"


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x):
        return self.layer(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0]


@pytest.mark.parametrize("kind", [Attention, Recurrent])
def test_power_iteration_passes_through_attention_and_recurrence(runner_of, kind):
    network, x = kind().eval(), torch.randn(3, 5, 4)
    found = taken(runner_of(network), x)
    for n in range(3):
        slow = torch.autograd.functional.jacobian(lambda row: network(row[None]).flatten(), x[n]).flatten(1)
        assert found.spectral[n] == pytest.approx(float(torch.linalg.svdvals(slow)[0]), rel=0.02)


def test_an_operation_without_a_second_derivative_has_no_spectral_norm(runner_of):
    from torch.autograd import Function

    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise NotImplementedError("derivative for aten::once_backward is not implemented")

    class Network(nn.Module):
        def forward(self, x):
            return Once.apply(x)

    data = Data(inputs={"x": torch.randn(3, 2)}, total=3)
    around = find(runner_of(Network()), data).around(data.inputs)
    assert spectral_norms(around, torch.Generator().manual_seed(0)) is None
