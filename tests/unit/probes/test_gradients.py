"""Losses, gradients and curvature equal a slow loop, and what is known in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.networks.places import Place
from regaudit.probes.activity_gradient import activity_gradient
from regaudit.probes.base import Data
from regaudit.probes.curvature import EXACT_OUTPUTS, diagonal
from regaudit.probes.gradients import run
from regaudit.probes.labelled import margins
from regaudit.probes.per_example import PerExample, canonical, losses, mean_gradient, names_of
from regaudit.records import Norm


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, ids):
        return self.head(self.layer(self.table(ids)).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Branching(nn.Module):
    """Asks for a number in its forward pass, which no vectorised run can give."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x) if float(x.detach().sum()) > 0 else -self.head(x)


def convolutional():
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(9, 3))


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


NETWORKS = {
    "mlp": (mlp, lambda: torch.randn(6, 4)),
    "convolutional": (convolutional, lambda: torch.randn(6, 2, 5)),
    "attention": (Attention, lambda: torch.randint(0, 7, (6, 4))),
    "recurrent": (Recurrent, lambda: torch.randn(6, 5, 4)),
    "branching": (Branching, lambda: torch.randn(6, 4)),
}


@pytest.fixture(params=NETWORKS)
def session(request, session_of):
    network, x = (make() for make in NETWORKS[request.param])
    return session_of(network, x, torch.randint(0, 3, (6,)), loss="cross_entropy")


def looped(session):
    """Each example's gradient, by one backward pass an example."""
    network, found = session.runner.network, []
    for n in range(len(session.train)):
        output = network(session.train.inputs["x"][n : n + 1])
        loss = nn.functional.cross_entropy(output, session.train.labels[n : n + 1])
        found.append(torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True, allow_unused=True))
    return {
        name: torch.stack(each)
        for (name, _), each in zip(network.named_parameters(), zip(*found, strict=True), strict=True)
    }


# --- Gradients ------------------------------------------------------------------------------------


def test_gradients_of_each_example_are_those_of_a_loop(session):
    per_example = PerExample(session.runner, names_of(session.runner))
    found = per_example.of_loss(session.loss, session.train.inputs, session.train.labels)
    for name, slow in looped(session).items():
        torch.testing.assert_close(found[name], slow, rtol=1e-4, atol=1e-6)
    assert per_example.is_looped == isinstance(session.runner.network, Branching | Recurrent)


def test_mean_gradient_is_the_mean_of_the_loop(session):
    names = names_of(session.runner)
    if isinstance(session.runner.network, Branching):
        pytest.skip("its examples see each other")
    found = mean_gradient(session.runner, session.train, session.loss, names=names, batch_size=4)
    for name, slow in looped(session).items():
        torch.testing.assert_close(found[name], slow.mean(0), rtol=1e-4, atol=1e-6)


def test_the_network_is_left_as_it_was(session):
    before = {name: each.clone() for name, each in session.runner.network.state_dict().items()}
    run(session)
    for name, each in session.runner.network.state_dict().items():
        torch.testing.assert_close(each, before[name], rtol=0, atol=0)
    assert all(each.grad is None for each in session.runner.network.parameters())


def test_tied_kernels_are_one_parameter(runner_of):
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    runner = runner_of(network)
    assert names_of(runner) == ("0.weight", "0.bias", "1.bias")
    assert canonical(runner)["1.weight"] == "0.weight"


def test_losses_are_per_example(session_of):
    x, y = torch.randn(9, 4), torch.randn(9, 2)
    session = session_of(nn.Linear(4, 2), x, y, loss="mse")
    found = losses(session.runner, session.train, session.loss, batch_size=4)
    slow = (session.runner.network(x) - y).detach().double().square().mean(1)
    torch.testing.assert_close(found, slow, rtol=1e-5, atol=0)


@pytest.mark.parametrize("norm", Norm)
def test_gradient_of_an_activity_penalty_is_that_of_keras(runner_of, norm):
    network, x = mlp(), torch.randn(10, 4)
    power = (lambda y: y.abs().sum()) if norm is Norm.L1 else (lambda y: y.square().sum())
    hidden = torch.tanh(network[0](x))
    slow = torch.autograd.grad(power(hidden) / 10, list(network[0].parameters()))
    runner = runner_of(network)
    found = activity_gradient(
        runner, Data(inputs={"x": x}), norm, layers=frozenset({"0"}), names=names_of(runner), batch_size=3
    )
    torch.testing.assert_close(found["0.weight"], slow[0])
    torch.testing.assert_close(found["0.bias"], slow[1])
    assert not found["2.weight"].any()


# --- Curvature ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "bce"])
def test_curvature_is_the_gauss_newton_diagonal(session_of, loss):
    network, x = mlp(), torch.randn(5, 4)
    y = {"mse": torch.randn(5, 3), "cross_entropy": torch.randint(0, 3, (5,)), "bce": torch.rand(5, 3).round()}[loss]
    session = session_of(network, x, y, loss=loss)
    found = diagonal(
        PerExample(session.runner, names_of(session.runner)), session.train, session.loss, seed=0, batch_size=3
    )
    slow = {name: torch.zeros_like(each) for name, each in network.named_parameters()}
    for n in range(5):
        output = network(x[n : n + 1])
        hessian = torch.autograd.functional.hessian(
            lambda o, n=n: session.loss.per_example(o[None], y[n : n + 1]).sum(), output[0].detach()
        )
        rows = [torch.autograd.grad(each, list(network.parameters()), retain_graph=True) for each in output[0]]
        for i, name in enumerate(slow):
            j = torch.stack([row[i] for row in rows]).flatten(1)
            slow[name] += torch.einsum("ap,ab,bp->p", j, hessian, j).reshape(slow[name].shape) / 5
    for name, each in slow.items():
        torch.testing.assert_close(found[name], each.detach(), rtol=1e-3, atol=1e-6)


def test_projected_curvature_is_unbiased(session_of):
    x, y = torch.randn(40, 3), torch.randn(40, EXACT_OUTPUTS + 4)
    session = session_of(nn.Linear(3, EXACT_OUTPUTS + 4), x, y, loss="mse")
    true = 2 / y.shape[1] * x.square().mean(0)
    per_example = PerExample(session.runner, ("weight",))
    found = diagonal(per_example, session.train, session.loss, seed=0, batch_size=40)["weight"]
    torch.testing.assert_close(found, true.expand_as(found), rtol=1e-4, atol=0)  # here the outputs share no weights


def test_too_many_outputs_have_no_curvature(session_of, reason_of, value_of):
    found = run(session_of(nn.Linear(2, 300), torch.randn(4, 2), torch.randn(4, 300), loss="mse"))
    assert "300 outputs" in reason_of(found, "kernel.l1_threshold_50", "fc")
    assert value_of(found, "kernel.data_gradient_rms", "fc").value > 0


# --- What the data want ---------------------------------------------------------------------------


def orthonormal(n=64, d=8):
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(n, d)))
    return torch.as_tensor(q * math.sqrt(n)).float()


def linear(weight, bias=True):
    network = nn.Linear(len(weight), 1, bias=bias)
    with torch.no_grad():
        network.weight.copy_(torch.as_tensor(weight)[None])
        if bias:
            network.bias.zero_()
    return network


def test_l1_thresholds_are_those_of_the_lasso_on_an_orthonormal_design(session_of, value_of):
    """The lasso zeroes w_i iff 2|x_iᵀy|/N ≤ λ (mean squared error), wherever the model stands now."""
    x = orthonormal()
    y = (x @ torch.arange(1.0, 9.0) + 0.1 * torch.randn(64))[:, None]
    true = (2 * x.T @ y / 64).abs().flatten().double().numpy()
    for start in (torch.zeros(8), torch.randn(8), (x.T @ y).flatten() / 64):
        found = run(session_of(linear(start, bias=False), x, y, loss="mse"))
        for percent in (10, 50, 90):
            threshold = value_of(found, f"kernel.l1_threshold_{percent}", "fc")
            assert threshold.value == pytest.approx(np.quantile(true, percent / 100), rel=1e-4)


@pytest.mark.parametrize("strength", [0.01, 0.3])
def test_ridge_solution_is_in_equilibrium_at_its_own_strength(session_of, value_of, strength):
    x = torch.randn(50, 4)
    y = x @ torch.randn(4, 1) + torch.randn(50, 1)
    w = torch.linalg.solve(x.T @ x / 50 + strength * torch.eye(4), x.T @ y / 50).flatten()
    found = run(session_of(linear(w, bias=False), x, y, loss="mse"))
    measured = value_of(found, "kernel.l2_equilibrium_strength", "fc")
    assert measured.value == pytest.approx(strength, rel=1e-3)
    assert measured.se > 0
    assert value_of(found, "kernel.gradient_alignment", "fc").value == pytest.approx(1.0, abs=1e-4)


def test_unpenalised_solution_has_no_gradient_beyond_rounding(session_of, value_of, reason_of):
    x = torch.randn(50, 4)
    y = x @ torch.randn(4, 1) + torch.randn(50, 1)
    w = torch.linalg.lstsq(x.double(), y.double()).solution.flatten().float()
    found = run(session_of(linear(w, bias=False), x, y, loss="mse"))
    assert value_of(found, "kernel.data_gradient_rms", "fc").value < 1e-5
    assert value_of(found, "kernel.data_gradient_noise", "fc").value > 1e-2
    assert "within its own sampling noise" in reason_of(found, "kernel.gradient_noise_scale", "fc")


def test_gradient_statistics_are_those_of_the_loop(session, value_of):
    if isinstance(session.runner.network, Branching):
        pytest.skip("its examples see each other")
    found, slow = run(session), looped(session)
    for place in session.runner.places:
        g, w = slow[place.kernel].flatten(1).double(), dict(session.runner.network.named_parameters())[place.kernel]
        u, w = -g.mean(0), w.detach().double().flatten()
        rms = value_of(found, "kernel.data_gradient_rms", place.layer).value
        noise = value_of(found, "kernel.data_gradient_noise", place.layer).value
        cosine = value_of(found, "kernel.gradient_alignment", place.layer).value
        assert rms == pytest.approx(float(u.square().mean().sqrt()), rel=1e-4)
        assert noise == pytest.approx(float((g.var(0).mean() / 6).sqrt()), rel=1e-4)
        assert cosine == pytest.approx(float(u @ w / (u.norm() * w.norm())), rel=1e-3, abs=1e-5)


def test_standard_error_of_the_equilibrium_covers(session_of, value_of):
    """Of data drawn anew, the estimate spreads as its standard error says."""
    w, network = torch.tensor([1.0, -0.5, 2.0]), linear(torch.tensor([0.8, -0.4, 1.6]), bias=False)
    true = (w - network.weight.detach().flatten()) @ network.weight.detach().flatten() / (0.64 + 0.16 + 2.56)
    z = []
    for _ in range(100):
        x = torch.randn(60, 3)
        found = run(session_of(network, x, (x @ w + torch.randn(60))[:, None], loss="mse", batch_size=60))
        measured = value_of(found, "kernel.l2_equilibrium_strength", "fc")
        z.append((measured.value - float(true)) / measured.se)
    assert abs(np.mean(z)) < 0.35
    assert 0.8 < np.std(z) < 1.3


def test_noise_scale_is_the_trace_over_the_squared_gradient(session_of, value_of):
    """One weight, g_n = -2·y_n for w = 0 and x = 1: the scale is Var y/(E y)²."""
    x, y = torch.ones(4000, 1), 3 + 2 * torch.randn(4000, 1)
    found = value_of(
        run(session_of(linear(torch.zeros(1), bias=False), x, y, loss="mse", batch_size=4000)),
        "model.gradient_noise_scale",
    )
    assert abs(found.value - 4 / 9) < 3 * found.se
    assert 0 < found.se < 0.05


def test_parts_of_a_fused_kernel_have_their_own_rows(session_of, runner_of, value_of):
    network, x, y = nn.Linear(3, 4), torch.randn(20, 3), torch.randn(20, 4)
    session = session_of(network, x, y, loss="mse")
    places = [
        Place(layer=n, module="", kernel="weight", bias="bias", columns=c) for n, c in (("a", (0, 1)), ("b", (1, 4)))
    ]
    found = run(type(session)(runner=runner_of(network, *places), layers=(), train=session.train, loss=session.loss))
    (gradient,) = torch.autograd.grad((network(x) - y).square().mean(), network.weight)
    for layer, rows in (("a", gradient[:1]), ("b", gradient[1:])):
        measured = value_of(found, "kernel.data_gradient_rms", layer)
        assert measured.value == pytest.approx(float(rows.square().mean().sqrt()), rel=1e-4)


# --- Fit ------------------------------------------------------------------------------------------


def test_losses_gap_and_interval(session_of, value_of):
    network, x, y = nn.Linear(4, 1), torch.randn(30, 4), torch.randn(30, 1)
    val = torch.randn(20, 4), torch.randn(20, 1)
    found = run(session_of(network, x, y, loss="mse", val=val))
    train, held = ((network(a) - b).square().detach().double().flatten() for a, b in ((x, y), val))
    assert value_of(found, "model.train_loss").value == pytest.approx(float(train.mean()), rel=1e-5)
    assert value_of(found, "model.val_loss").se == pytest.approx(float(held.std()) / math.sqrt(20), rel=1e-5)
    gap = value_of(found, "model.generalization_gap")
    assert gap.value == pytest.approx(float(held.mean() - train.mean()), rel=1e-5)
    assert gap.se == pytest.approx(math.hypot(float(train.std()) / math.sqrt(30), float(held.std()) / math.sqrt(20)))
    assert (gap.low + gap.high) / 2 == pytest.approx(gap.value)


def test_same_data_on_both_sides_has_no_gap(session_of, value_of):
    x, y = torch.randn(30, 4), torch.randint(0, 3, (30,))
    gap = value_of(run(session_of(nn.Linear(4, 3), x, y, loss="cross_entropy", val=(x, y))), "model.generalization_gap")
    assert gap.value == pytest.approx(0.0, abs=1e-9)
    assert gap.low < 0 < gap.high


def test_without_validation_data_the_gap_has_a_reason(session_of, reason_of):
    found = run(session_of(nn.Linear(4, 1), torch.randn(9, 4), torch.randn(9, 1), loss="mse"))
    assert reason_of(found, "model.generalization_gap") == "no validation data"
    assert "no classes" in reason_of(found, "model.train_accuracy")


def test_null_losses_are_the_variance_and_the_entropies(session_of, value_of):
    x = torch.randn(60, 2)
    y = torch.randn(60, 2) + 5
    found = value_of(run(session_of(nn.Linear(2, 2), x, y, loss="mse")), "model.train_null_loss")
    assert found.value == pytest.approx(float(y.var(0, correction=0).mean()), rel=1e-5)
    labels = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)
    found = value_of(run(session_of(nn.Linear(2, 3), x, labels, loss="cross_entropy")), "model.train_null_loss")
    p = np.array([3, 2, 1]) / 6
    assert found.value == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)
    binary = (labels == 0).float()[:, None]
    found = value_of(run(session_of(nn.Linear(2, 1), x, binary, loss="bce")), "model.train_null_loss")
    assert found.value == pytest.approx(math.log(2), rel=1e-5)


def test_a_collapsed_model_is_no_better_than_the_null_model(session_of, value_of):
    y = torch.randn(60, 1)
    network = linear(torch.zeros(3))
    with torch.no_grad():
        network.bias.fill_(float(y.mean()))
    found = run(session_of(network, torch.randn(60, 3), y, loss="mse"))
    assert value_of(found, "model.train_loss").value == pytest.approx(value_of(found, "model.train_null_loss").value)


def test_permuted_labels_leave_no_accuracy_beyond_chance(session_of, value_of):
    x = torch.randn(400, 3)
    network = linear(torch.tensor([3.0, 0.0, 0.0]))
    y = (x[:, :1] > 0).float()
    order = torch.randperm(400)
    right, wrong = (
        value_of(run(session_of(network, x, labels, loss="bce", batch_size=400)), "model.train_accuracy")
        for labels in (y, y[order])
    )
    assert right.value == 1.0
    assert abs(wrong.value - 0.5) < 3 * wrong.se


def test_margins_of_classes(session_of):
    session = session_of(nn.Linear(1, 3), torch.zeros(1, 1), torch.zeros(1, dtype=int), loss="cross_entropy")
    outputs = torch.tensor([[1.0, 5.0, 2.0], [4.0, 0.0, 1.0]])
    torch.testing.assert_close(margins(outputs, torch.tensor([1, 2]), session.loss), torch.tensor([3.0, -3.0]))
    # class numbers at every position, classes on the last axis or on the second; -100 has no label
    found = margins(outputs[None], torch.tensor([[1, -100]]), session.loss)
    torch.testing.assert_close(found, torch.tensor([[3.0, float("nan")]]), equal_nan=True)
    found = margins(outputs.T[None], torch.tensor([[1, 2]]), session.loss)
    torch.testing.assert_close(found, torch.tensor([[3.0, -3.0]]))


def test_margin_measures(session_of, value_of):
    network = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    x = torch.stack([torch.arange(11.0), torch.zeros(11)], 1)
    found = run(session_of(network, x, torch.zeros(11, dtype=int), loss="cross_entropy"))
    assert value_of(found, "model.train_margin_mean").value == pytest.approx(5.0)
    assert value_of(found, "model.train_margin_p10").value == pytest.approx(1.0)
    assert value_of(found, "model.train_accuracy").value == pytest.approx(10 / 11)


def test_without_gradients_the_losses_remain(session_of, value_of, reason_of):
    session = session_of(nn.Linear(4, 1), torch.randn(9, 4), torch.randn(9, 1), loss="mse", is_differentiable=False)
    found = run(session)
    assert value_of(found, "model.train_loss").value > 0
    assert "needs gradients" in reason_of(found, "model.gradient_noise_scale")
