"""The data gradient that is left against the gradient of penalties: known strengths, laws, and the traps."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from regaudit.effects.rung_stationarity import penalised  # noqa: E402
from regaudit.effects.rungs import Evidence  # noqa: E402
from regaudit.probes.penalty_fit import Coordinates, cosine, residual, shares, slope, slope_error  # noqa: E402
from regaudit.probes.stationarity import run  # noqa: E402
from regaudit.records import Audit, Coverage, Norm, Site  # noqa: E402


def data(rows=80, inputs=6, seed=0, classes=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=generator)
    y = x[:, :1] - 0.5 * x[:, 1:2] + 0.7 + 0.3 * torch.randn(rows, 1, generator=generator)
    return x, ((y > 0.7).long()[:, 0] if classes else y)


def network(inputs=6, hidden=12, outputs=1, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, outputs))


def penalty(net, x, site, norm):
    kernels = [p for n, p in net.named_parameters() if n.endswith("weight")]
    biases = [p for n, p in net.named_parameters() if n.endswith("bias")]
    hidden = torch.tanh(net[0](x)) if site is Site.ACTIVITY else None
    parts = {Site.KERNEL: kernels, Site.BIAS: biases, Site.ACTIVITY: [hidden, net(x) if hidden is not None else None]}
    return sum((p.abs() if norm is Norm.L1 else p.square()).sum() for p in parts[site]) / (
        len(x) if site is Site.ACTIVITY else 1
    )


def trained(net, x, y, site=None, norm=None, strength=0.0, steps=600, rate=0.01):
    loss = torch.nn.functional.cross_entropy if y.dtype == torch.long else torch.nn.functional.mse_loss
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        total = loss(net(x), y)
        if site:
            total = total + strength * penalty(net, x, site, norm)
        total.backward()
        optimizer.step()
    return net.requires_grad_()


def fits(session):
    return {(each.site, each.norm): each for each in run(session).stationarity}


def verdict(session):
    audit = Audit(inputs=(), coverage=Coverage(tensors=0, measured=0), stationarity=run(session).stationarity)
    return penalised(Evidence(audit=audit, view=None))


def test_ridge_gives_its_strength_exactly(session_of):
    x, y = data()
    design = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    ridge = torch.diag(torch.tensor([0.05] * 6 + [0.0], dtype=torch.float64))
    w = torch.linalg.solve(design.T @ design / len(x) + ridge, design.T @ y.double() / len(x))[:, 0]
    net = torch.nn.Linear(6, 1)
    with torch.no_grad():
        net.weight.copy_(w[:6].float()[None])
        net.bias.copy_(w[6:].float())
    found = fits(session_of(net, x, y, loss="mse"))[Site.KERNEL, Norm.L2]
    assert found.strength == pytest.approx(0.05, rel=1e-4)
    assert found.statistics["cosine"] == pytest.approx(1, abs=1e-6)


def test_logistic_regression_gives_its_strength_exactly(session_of):
    x, y = data(classes=2)
    net = network(outputs=2)[:0].append(torch.nn.Linear(6, 2))
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y) + 0.02 * net[0].weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = fits(session_of(net, x, y, loss="cross_entropy"))[Site.KERNEL, Norm.L2]
    assert found.strength == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize(
    ("site", "norm", "strength"),
    [
        (Site.KERNEL, Norm.L1, 0.005),
        (Site.KERNEL, Norm.L2, 0.01),
        (Site.BIAS, Norm.L2, 0.05),
        (Site.ACTIVITY, Norm.L2, 0.02),
    ],
)
def test_penalties_are_named_with_their_strength(session_of, site, norm, strength):
    x, y = data()
    found = verdict(session_of(trained(network(), x, y, site, norm, strength), x, y, loss="mse"))
    assert (found.site, found.norm) == (site, norm)
    assert found.strength is None or strength / 2 < found.strength < strength * 2
    assert found.strength_low <= found.strength <= found.strength_high


@pytest.mark.parametrize("classes", [0, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_nets_without_a_penalty_do_not_read_as_penalised(session_of, classes, seed):
    """Also past interpolation, where cross entropy pulls along the weights: the alignment trap."""
    x, y = data(rows=40, classes=classes, seed=seed)
    net = trained(network(outputs=2 if classes else 1, seed=seed), x, y, steps=800)
    assert verdict(session_of(net, x, y, loss="cross_entropy" if classes else "mse")) is None


def test_the_trap_is_there(session_of):
    """Without a penalty -∇L points along the kernels once all examples are right."""
    x, y = data(rows=40, classes=2)
    net = trained(network(outputs=2), x, y, steps=800)
    assert fits(session_of(net, x, y, loss="cross_entropy"))[Site.KERNEL, Norm.L2].statistics["cosine"] > 0.3


def test_random_weights_and_permuted_labels_show_no_penalty(session_of):
    x, y = data()
    assert verdict(session_of(network(), x, y, loss="mse")) is None
    shuffled = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    net = trained(network(), x, y, Site.KERNEL, Norm.L2, 0.01)
    assert (known := verdict(session_of(net, x, shuffled, loss="mse"))) is None or known.confidence < 0.8


def test_the_order_of_units_does_not_matter(session_of):
    x, y = data()
    net = trained(network(), x, y, Site.KERNEL, Norm.L2, 0.01, steps=200)
    before = verdict(session_of(net, x, y, loss="mse"))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net[0].weight.copy_(net[0].weight[order])
        net[0].bias.copy_(net[0].bias[order])
        net[2].weight.copy_(net[2].weight[:, order])
    after = verdict(session_of(net, x, y, loss="mse"))
    assert (after.site, after.norm) == (before.site, before.norm)
    assert after.confidence == pytest.approx(before.confidence, abs=0.002)


def test_few_examples_give_a_reason(session_of, reason_of):
    x, y = data(rows=4)
    assert "needs 8" in reason_of(run(session_of(network(), x, y, loss="mse")), "stationarity")


def test_shares_are_the_drop_of_the_residual():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50))
    found = shares(2 * a + b, {"a": a, "b": b, "away": -a})
    assert found["away"] == pytest.approx(0, abs=1e-9)
    assert found["a"] > found["b"] > 0.1


def test_residual_is_non_negative_least_squares():
    rng = np.random.default_rng(1)
    target, columns = rng.normal(size=20), list(rng.normal(size=(3, 20)))
    grid = np.linspace(0, 2, 41)
    best = min(
        float(((target - p * columns[0] - q * columns[1] - r * columns[2]) ** 2).sum())
        for p in grid
        for q in grid
        for r in grid
    )
    assert residual(target, columns) <= best <= residual(target, columns) + 0.1


def test_principal_directions_are_orthonormal_either_way():
    rng = np.random.default_rng(2)
    for shape in ((5, 9), (9, 5)):
        rows = rng.normal(size=shape)
        at = Coordinates(pull=rows.mean(0), rows=rows, weights=np.ones(shape[1]), rms=np.ones(shape[1]))
        basis, energies = at.principal()
        assert basis @ basis.T == pytest.approx(np.eye(len(basis)), abs=1e-8)
        assert energies.sum() == pytest.approx((rows**2).sum())


def test_slope_error_covers_the_spread_over_samples():
    rng = np.random.default_rng(3)
    direction = rng.normal(size=6)
    draws = [rng.normal(size=(40, 6)) + 0.3 * direction for _ in range(300)]
    slopes = [slope(each.mean(0), direction) for each in draws]
    assert np.std(slopes) == pytest.approx(slope_error(draws[0], direction), rel=0.3)


def test_cosine_of_nothing_is_none():
    assert cosine(np.zeros(3), np.ones(3)) == 0.0


def test_all_fits_are_finite_where_a_network_has_no_bias(session_of):
    x, y = data()
    net = torch.nn.Linear(6, 1, bias=False)
    found = run(replace(session_of(net, x, y, loss="mse"), seed=3)).stationarity
    assert {each.site for each in found} == {Site.KERNEL, Site.ACTIVITY}
    assert all(np.isfinite([each.strength, each.se, *each.statistics.values()]).all() for each in found)
