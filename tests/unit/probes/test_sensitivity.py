"""Sensitivity of networks whose answer is known in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.networks.places import Place
from regaudit.probes.coordinates import Coordinates, Piece
from regaudit.probes.sensitivity import run

SIZES = (0.01, 0.03, 0.1, 0.3)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def kernel(network, weight):
    with torch.no_grad():
        network.weight.copy_(torch.as_tensor(weight))
        network.bias.zero_()
    return network


class Tokens(nn.Module):
    """Looks at positions 0 to 2 of 4, at the last of them three times as hard."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, ids):
        h = self.table(ids)
        return self.head(h[:, 0] + h[:, 1] + 3 * h[:, 2])


# --- Noise ----------------------------------------------------------------------------------------


def test_linear_model_responds_in_proportion_to_its_kernel_and_the_spread_of_its_inputs(session_of, value_of):
    network = nn.Linear(4, 2)
    x = torch.randn(200, 4) * torch.tensor([1.0, 5.0, 0.2, 2.0])
    spread = x.double().std(0, correction=0)
    unit = float((network.weight.detach().double() * spread).norm())
    found = run(session_of(network, x))
    for size in SIZES:
        move = value_of(found, f"model.noise_response_{size:.0%}".replace("%", "pct"))
        assert abs(move.value - size * unit) < 3 * move.se
    assert value_of(found, "model.noise_slope").value == pytest.approx(1.0, abs=1e-4)
    ratio = value_of(found, "model.noise_to_jacobian")
    assert abs(ratio.value - 1) < 3 * ratio.se


def test_noise_of_independent_inputs_passes_a_linear_model_as_the_data_do(session_of, value_of):
    found = value_of(run(session_of(nn.Linear(6, 3), torch.randn(256, 6))), "model.noise_sensitivity")
    assert abs(found.value - 1) < 3 * found.se


def test_rescaled_inputs_with_a_kernel_to_match_leave_the_response_unchanged(session_of, value_of):
    scale = torch.tensor([10.0, 0.1, 3.0])
    network, x = nn.Linear(3, 1), torch.randn(40, 3)
    other = kernel(nn.Linear(3, 1), network.weight.detach() / scale)
    a, b = run(session_of(network, x)), run(session_of(other, x * scale))
    for name in ("model.noise_sensitivity", "input.sensitivity_gini", "input.sensitivity_share_90"):
        assert value_of(a, name).value == pytest.approx(value_of(b, name).value, rel=1e-4)


def test_slope_of_a_square_is_that_of_its_moments(session_of, value_of):
    """For f = x² and x = ±1, E(f(x + σε) - f(x))² = 4σ² + 3σ⁴."""

    class Square(nn.Module):
        def forward(self, x):
            return x * x

    x = torch.tensor([[1.0], [-1.0]]).repeat(128, 1)
    s = np.array(SIZES)
    true = np.polyfit(np.log(s), np.log(4 * s**2 + 3 * s**4) / 2, 1)[0]
    found = value_of(run(session_of(Square(), x)), "model.noise_slope")
    assert abs(found.value - true) < 3 * found.se
    assert found.value > 1


def test_standard_errors_of_the_response_cover(session_of, value_of):
    network, x = nn.Linear(3, 2), torch.randn(30, 3)
    unit = float((network.weight.detach().double() * x.double().std(0, correction=0)).norm())
    z = []
    for seed in range(60):
        found = value_of(run(session_of(network, x, seed=seed, batch_size=30)), "model.noise_response_10pct")
        z.append((found.value - 0.1 * unit) / found.se)
    assert abs(np.mean(z)) < 0.5
    assert 0.75 < np.std(z) < 1.35


def test_collapsed_model_has_no_relative_sensitivity(session_of, value_of, reason_of):
    network = kernel(nn.Linear(3, 2), np.zeros((2, 3)))
    found = run(session_of(network, torch.randn(20, 3)))
    assert "does not vary" in reason_of(found, "model.noise_sensitivity")
    assert "does not move" in reason_of(found, "model.noise_slope")
    assert "the Jacobian is 0" in reason_of(found, "model.noise_to_jacobian")
    assert value_of(found, "model.jacobian_fro_norm").value == 0.0
    assert value_of(found, "input.ignored_fraction").value == 1.0


# --- Inputs in use --------------------------------------------------------------------------------


def test_ignored_inputs_are_named_exactly(session_of, value_of):
    weight = torch.randn(3, 10).sign() * (1 + torch.rand(3, 10))
    weight[:, [2, 5, 6]] = 0.0
    weight[:, 8] *= 1e-4
    network = nn.Sequential(kernel(nn.Linear(10, 3), weight), nn.Tanh(), nn.Linear(3, 2))
    x = torch.randn(50, 10)
    x[:, 4] = 0.7
    found = run(session_of(network, x))
    ignored = value_of(found, "input.ignored_fraction")
    assert (ignored.value, ignored.detail) == (pytest.approx(4 / 9), "inputs 2, 5-6, 8")
    untouched = value_of(found, "input.zero_gradient_fraction")
    assert (untouched.value, untouched.detail) == (pytest.approx(0.3), "inputs 2, 5-6")
    constant = value_of(found, "input.constant_fraction")
    assert (constant.value, constant.detail) == (pytest.approx(0.1), "input 4")


def test_a_network_that_uses_all_inputs_ignores_none(session_of, value_of):
    network = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3))
    found = run(session_of(network, torch.randn(60, 20)))
    for name in ("input.ignored_fraction", "input.zero_gradient_fraction", "input.constant_fraction"):
        assert (value_of(found, name).value, value_of(found, name).detail) == (0.0, "")


def test_an_input_counts_by_its_spread(session_of, value_of):
    """The first input has a thousandth of the other's spread: its large weight moves nothing."""
    network = kernel(nn.Linear(2, 1), [[1.0, 1.0]])
    x = torch.randn(40, 2) * torch.tensor([1e-3, 1.0])
    assert value_of(run(session_of(network, x)), "input.ignored_fraction").detail == "input 0"


def test_gini_and_share_of_known_sensitivities(session_of, value_of):
    network = kernel(nn.Linear(4, 1), [[3.0, 1.0, 1.0, 1.0]])
    x = torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]] * 5)
    found = run(session_of(network, x))
    slow = sum(abs(a - b) for a in (3, 1, 1, 1) for b in (3, 1, 1, 1)) / (2 * 4 * 6)
    assert value_of(found, "input.sensitivity_gini").value == pytest.approx(slow)
    # 9 of 12 by the first, 10.8 needed: 1.8 of the others
    assert value_of(found, "input.sensitivity_share_90").value == pytest.approx(2.8 / 4)


def test_permuted_inputs_permute_the_names(session_of, value_of):
    weight = torch.ones(1, 5)
    weight[0, 1] = 0.0
    order = torch.tensor([3, 0, 4, 1, 2])
    x = torch.randn(30, 5)
    a = run(session_of(kernel(nn.Linear(5, 1), weight), x))
    b = run(session_of(kernel(nn.Linear(5, 1), weight[:, order]), x[:, order]))
    assert value_of(a, "input.ignored_fraction").detail == "input 1"
    assert value_of(b, "input.ignored_fraction").detail == "input 3"
    for name in ("input.sensitivity_gini", "model.jacobian_fro_norm"):
        assert value_of(a, name).value == pytest.approx(value_of(b, name).value, rel=1e-5)


def test_standard_error_of_the_gini_covers(session_of, value_of):
    network = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 1))
    draws = [run(session_of(network, torch.randn(96, 5), batch_size=96)) for _ in range(40)]
    found = [value_of(each, "input.sensitivity_gini") for each in draws]
    spread = np.std([each.value for each in found], ddof=1)
    assert np.mean([each.se for each in found]) == pytest.approx(spread, rel=0.5)


def test_pixels_are_named_by_their_place(session_of, value_of):
    class Image(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 1)

        def forward(self, x):
            return self.head(x.flatten(1))

    network = Image()
    kernel(network.head, [[1.0, 1, 1, 1, 1, 0]])
    found = run(session_of(network, torch.randn(20, 1, 2, 3)))
    assert value_of(found, "input.ignored_fraction").detail == "x[0, 1, 2]"


def test_several_inputs_are_named_by_name(runner_of):
    pieces = (Piece(input="left", shape=(2,)), Piece(input="right", shape=(3,)))
    coordinates = Coordinates(runner=runner_of(nn.Linear(1, 1)), pieces=pieces)
    assert coordinates.named(np.array([1, 4])) == "left[1], right[2]"
    assert coordinates.named(np.array([], int)) == ""


def test_token_models_are_sensitive_by_position(session_of, value_of):
    ids = torch.randint(0, 9, (40, 4))
    network = Tokens()
    found = run(session_of(network, ids))
    head = float(network.head.weight.detach().square().sum())
    assert value_of(found, "model.jacobian_fro_norm").value == pytest.approx(math.sqrt(11 * head), rel=1e-5)
    assert value_of(found, "input.ignored_fraction").detail == "position 3"
    assert value_of(found, "input.sensitivity_gini").detail.startswith("4 positions")


def test_categories_of_several_inputs_are_told_apart(session_of, value_of):
    """Both have the same categories in the first rows, and in some batches."""

    class Categories(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Embedding(4, 3), nn.Embedding(4, 2)

        def forward(self, left, right):
            return self.left(left).sum(1, keepdim=True) + 0 * self.right(right).sum(1, keepdim=True)

    left = torch.randint(0, 4, (40,))
    right = torch.where(torch.arange(40) < 20, left, (left + 1) % 4)
    session = session_of(
        Categories(), {"left": left, "right": right}, call=lambda network, batch: network(batch["left"], batch["right"])
    )
    found = run(session)
    assert value_of(found, "input.ignored_fraction").detail == "right"
    assert value_of(found, "model.jacobian_fro_norm").value == pytest.approx(math.sqrt(3))


def test_ids_that_no_embedding_takes_as_they_are_give_a_reason(session_of, reason_of):
    class Shifted(Tokens):
        def forward(self, ids):
            return super().forward(ids * 0 + (ids + 1) % 9)

    found = run(session_of(Shifted(), torch.randint(0, 9, (5, 4))))
    assert "no embedding" in reason_of(found, "model.jacobian_fro_norm")
    assert "no embedding" in reason_of(found, "input.ignored_fraction")


# --- The bound ------------------------------------------------------------------------------------


def test_bound_is_the_product_of_spectral_norms_and_slopes(session_of, value_of):
    network = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    found = run(session_of(network, torch.randn(30, 4)))
    norms = [float(torch.linalg.matrix_norm(network[i].weight.detach(), 2)) for i in (0, 2, 4)]
    bound = value_of(found, "model.lipschitz_bound")
    assert bound.value == pytest.approx(0.25 * math.prod(norms), rel=1e-5)
    assert bound.value >= value_of(found, "model.local_lipschitz").value


def test_one_linear_layer_attains_its_bound(session_of, value_of):
    found = run(session_of(nn.Linear(5, 3), torch.randn(20, 5)))
    bound = value_of(found, "model.lipschitz_bound").value
    assert bound == pytest.approx(value_of(found, "model.local_lipschitz").value, rel=1e-5)


def test_bound_of_a_convolution_is_that_of_the_map_not_of_the_reshaped_kernel(session_of, value_of):
    network = nn.Sequential(nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", bias=False), nn.Flatten())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[[1.0, 1.0, 1.0]]]))
    found = value_of(run(session_of(network, torch.randn(6, 1, 8))), "model.lipschitz_bound")
    assert found.value == pytest.approx(3.0, rel=1e-3)  # a constant signal is tripled; the kernel's own norm is √3


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return x + self.b(torch.relu(self.a(x)))


class Pooled(Residual):
    def forward(self, x):
        return self.b(torch.relu(self.a(x)) * 2)


@pytest.mark.parametrize(
    ("network", "reason"),
    [(Residual(), "the output is not just what b gives"), (Pooled(), "b does not take just what a")],
)
def test_what_is_no_chain_has_no_bound(session_of, reason_of, network, reason):
    assert reason in reason_of(run(session_of(network, torch.randn(8, 3))), "model.lipschitz_bound")


# --- Layers ---------------------------------------------------------------------------------------


def test_output_sensitivity_and_gain_of_a_deep_linear_network(session_of, value_of):
    network = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2))
    found = run(session_of(network, torch.randn(64, 4)))
    w0, w1, w2 = (network[i].weight.detach() for i in range(3))
    for layer, rest in {"0": w2 @ w1, "1": w2, "2": torch.eye(2)}.items():
        measured = value_of(found, "activity.output_sensitivity", layer)
        assert measured.value == pytest.approx(float(rest.norm()), rel=1e-5)
    for layer, w in {"0": w0, "1": w1, "2": w2}.items():
        gain = value_of(found, "activity.gain", layer)
        assert abs(gain.value - float(w.norm()) / math.sqrt(len(w))) < 3 * gain.se


def test_sensitivity_is_to_what_comes_after_the_activation(session_of, value_of):
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    found = value_of(run(session_of(network, torch.randn(10, 4))), "activity.output_sensitivity", "0")
    assert found.value == pytest.approx(float(network[2].weight.detach().norm()), rel=1e-5)


def test_parts_of_a_fused_layer_have_their_own_units(session_of, value_of, runner_of):
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.both = nn.Linear(3, 4)

        def forward(self, x):
            a, b = self.both(x).split(2, 1)
            return (a + 5 * b).sum(1, keepdim=True)

    session = session_of(Fused(), torch.randn(10, 3))
    places = (Place(layer="a", module="both", columns=(0, 2)), Place(layer="b", module="both", columns=(2, 4)))
    runner = runner_of(session.runner.network, *places)
    found = run(type(session)(runner=runner, layers=(), train=session.train))
    assert value_of(found, "activity.output_sensitivity", "a").value == pytest.approx(math.sqrt(2))
    assert value_of(found, "activity.output_sensitivity", "b").value == pytest.approx(math.sqrt(50))


def test_without_gradients_noise_and_differences_remain(session_of, value_of, reason_of):
    network, x = nn.Linear(3, 2), torch.randn(30, 3)
    exact, found = run(session_of(network, x)), run(session_of(network, x, is_differentiable=False))
    for name in ("model.jacobian_fro_norm", "model.local_lipschitz", "model.noise_sensitivity"):
        assert value_of(found, name).value == pytest.approx(value_of(exact, name).value, rel=1e-3)
    assert "does not show" in reason_of(found, "model.lipschitz_bound")


def test_without_gradients_many_inputs_give_a_reason(session_of, value_of, reason_of):
    found = run(session_of(nn.Linear(65, 1), torch.randn(9, 65), is_differentiable=False))
    assert "more than 64 inputs" in reason_of(found, "model.jacobian_fro_norm")
    assert value_of(found, "model.noise_sensitivity").value > 0


def test_output_without_examples_gives_a_reason(session_of, reason_of):
    found = run(session_of(nn.Linear(3, 2), torch.randn(5, 3), call=lambda network, batch: network(batch["x"]).mean()))
    assert "no axis over the 5 examples" in reason_of(found, "model.jacobian_fro_norm")
