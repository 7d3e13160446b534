"""Stationarity where it is known: exact optima of scikit-learn, laws of scale and order, networks without any penalty."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from regaudit.effects import detect  # noqa: E402
from regaudit.probes.stationarity import PERFECT, run  # noqa: E402
from regaudit.records import Audit, Coverage, Norm, Site  # noqa: E402

torch.set_num_threads(1)
KERNEL_L1, KERNEL_L2 = (Site.KERNEL, Norm.L1), (Site.KERNEL, Norm.L2)


def fits(session):
    return {(each.site, each.norm): each for each in run(session).stationarity}


def answer_of(session):
    """What the detector says from labels alone."""
    return detect(Audit(inputs=(), coverage=Coverage(tensors=0, measured=0), stationarity=run(session).stationarity))


def classes(rows=60, inputs=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=generator)
    return x, (x[:, 0] - x[:, 1] > 0).long()


def network(inputs=8, hidden=16, outputs=2, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, outputs))


def trained(net, x, y, optimizer, steps=500, penalty=None, batch=0):
    generator = torch.Generator().manual_seed(0)
    loss = torch.nn.functional.cross_entropy if y.dtype == torch.long else torch.nn.functional.mse_loss
    for _ in range(steps):
        rows = torch.randint(0, len(x), (batch,), generator=generator) if batch else slice(None)
        optimizer.zero_grad()
        total = loss(net(x[rows]), y[rows])
        (total + penalty(net) if penalty else total).backward()
        optimizer.step()
    return net


def linear(w, b):
    net = torch.nn.Linear(len(w), 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(w)[None])
        net.bias.copy_(torch.tensor(b).reshape(1))
    return net


@pytest.mark.parametrize("inverse", [0.05, 1.0])
def test_l1_logistic_regression_meets_its_optimality_conditions(session_of, inverse):
    """With |u| = λ on what is not zero and |u| ≤ λ on the zeros; scikit-learn's C is 1/(λN)."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 10))
    y = (x[:, 0] - 0.7 * x[:, 1] + 0.5 * rng.normal(size=120) > 0).astype(float)
    model = linear_model.LogisticRegression(l1_ratio=1, C=inverse, solver="saga", tol=1e-8, max_iter=20_000).fit(x, y)
    strength, w = 1 / (inverse * len(x)), model.coef_[0]
    net = linear(w, model.intercept_[0])
    tensors = [torch.tensor(each, dtype=torch.float32) for each in (x, y[:, None])]
    kernel = fits(session_of(net, *tensors, loss="bce"))[KERNEL_L1]
    assert kernel.strength == pytest.approx(strength, rel=2e-3)
    assert kernel.statistics["cosine"] == pytest.approx(1, abs=1e-4)
    assert kernel.statistics["largest"] <= strength * 1.002
    assert kernel.statistics["near_zero"] >= np.mean(w == 0)


def test_lasso_gives_its_strength(session_of):
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 12))
    y = x[:, :3] @ [1.0, -2.0, 0.5] + 0.3 * rng.normal(size=80)
    model = linear_model.Lasso(alpha=0.05, tol=1e-10).fit(x, y)  # (1/2N)·Σr² + α·Σ|w|, half of ours
    tensors = [torch.tensor(each, dtype=torch.float32) for each in (x, y[:, None])]
    found = fits(session_of(linear(model.coef_, model.intercept_), *tensors, loss="mse"))
    assert found[KERNEL_L1].strength == pytest.approx(0.1, rel=1e-3)
    left = {key: each.statistics["residual"] for key, each in found.items()}
    assert left[KERNEL_L1] == pytest.approx(np.log(PERFECT), abs=0.01)  # with its zeros within ±λ it explains all of u
    assert all(left[key] > left[KERNEL_L1] + 1 for key in left if key != KERNEL_L1)


def test_units_of_an_input_change_the_fits_as_they_should(session_of):
    """Inputs c times as large with kernels 1/c times: u grows by c, w falls by c, λ of L2 by c²."""
    x, y = classes()
    torch.manual_seed(0)
    single, other = torch.nn.Linear(8, 2), torch.nn.Linear(8, 2)
    with torch.no_grad():
        other.weight.copy_(single.weight / 4)
        other.bias.copy_(single.bias)
    one, scaled = (fits(session_of(n, c * x, y, loss="cross_entropy")) for n, c in ((single, 1.0), (other, 4.0)))
    assert scaled[KERNEL_L2].strength == pytest.approx(16 * one[KERNEL_L2].strength, rel=1e-4)
    assert scaled[KERNEL_L1].strength == pytest.approx(4 * one[KERNEL_L1].strength, rel=1e-4)
    assert scaled[KERNEL_L2].statistics["cosine"] == pytest.approx(one[KERNEL_L2].statistics["cosine"], abs=1e-5)


def test_rescaled_units_keep_the_function_and_so_the_radial_pull(session_of):
    """ReLU units scaled by c in and 1/c out: ⟨u, w⟩ of each tensor stays, for the loss does not change along it."""
    x, y = classes()
    net, other = network(), network()
    c = torch.linspace(0.5, 2, 16)
    with torch.no_grad():
        other[0].weight.mul_(c[:, None])
        other[0].bias.mul_(c)
        other[2].weight.div_(c)
    one, scaled = (fits(session_of(n, x, y, loss="cross_entropy"))[KERNEL_L2] for n in (net, other))
    squares = [sum(float(n[i].weight.detach().square().sum()) for i in (0, 2)) for n in (net, other)]
    assert scaled.strength * squares[1] == pytest.approx(one.strength * squares[0], rel=1e-4)


def test_the_order_of_inputs_and_examples_does_not_matter(session_of):
    x, y = classes()
    net, other = network(), network()
    columns, rows = (torch.randperm(n, generator=torch.Generator().manual_seed(1)) for n in (8, 60))
    with torch.no_grad():
        other[0].weight.copy_(net[0].weight[:, columns])
    one = fits(session_of(net, x, y, loss="cross_entropy"))
    turned = fits(session_of(other, x[rows][:, columns], y[rows], loss="cross_entropy"))
    for key, each in one.items():
        assert turned[key].strength == pytest.approx(each.strength, rel=1e-3, abs=1e-7), key
        assert turned[key].fit == pytest.approx(each.fit, abs=1e-3), key


UNPENALISED = {
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW without decay": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0),
}


@pytest.mark.parametrize("optimizer", UNPENALISED)
@pytest.mark.parametrize("seed", [0, 1])
def test_interpolating_nets_without_a_penalty_are_not_read_as_penalised(session_of, optimizer, seed):
    """Past interpolation under cross entropy -∇L points along the weights, whatever the optimizer."""
    x, y = classes(seed=seed)
    net = network(seed=seed)
    trained(net, x, y, UNPENALISED[optimizer](net.parameters()), batch=16)
    assert bool((net(x).argmax(1) == y).all())
    answer = answer_of(session_of(net, x, y, loss="cross_entropy"))
    assert answer is None or answer.site is Site.NONE


def test_random_labels_without_a_penalty_show_none(session_of):
    x, _ = classes()
    y = torch.randint(0, 2, (60,), generator=torch.Generator().manual_seed(5))
    net = network(hidden=64)
    trained(net, x, y, torch.optim.Adam(net.parameters(), lr=0.01))
    answer = answer_of(session_of(net, x, y, loss="cross_entropy"))
    assert answer is None or answer.site is Site.NONE


@pytest.mark.parametrize("seed", range(3))
def test_networks_that_were_never_trained_show_none(session_of, seed):
    x, y = classes(seed=seed)
    answer = answer_of(session_of(network(seed=seed), x, y, loss="cross_entropy"))
    assert answer is None or answer.site is Site.NONE


def test_l2_in_the_gradient_is_told_from_none_at_the_same_optimizer(session_of):
    x, y = classes()
    net = network()

    def l2(net):
        return 0.01 * sum(each.weight.square().sum() for each in (net[0], net[2]))

    trained(net, x, y, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), steps=1500, penalty=l2)
    answer = answer_of(session_of(net, x, y, loss="cross_entropy"))
    assert (answer.site, answer.norm) == KERNEL_L2
    assert answer.strength == pytest.approx(0.01, rel=0.1)
