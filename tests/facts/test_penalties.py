"""Facts of the theory that our penalties obey: closed forms and published numbers, reached by training with them.

Numbers of the facts as in the literature: Tibshirani 1996, Efron et al. 2004, Hastie et al. 2009 (section 3.4), keras.io.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from regaudit.penalties import Penalties, Penalty  # noqa: E402
from regaudit.penalties.proximal import soft_threshold  # noqa: E402

nn = torch.nn


def linear(inputs, outputs=1, *, bias=False):
    layer = nn.Linear(inputs, outputs, bias=bias).double()
    nn.init.zeros_(layer.weight)
    return layer


def minimised(layer, loss, penalties):
    """Train to the minimum of a smooth objective."""
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=1e-16
    )

    def closure():
        optimizer.zero_grad()
        objective = loss(layer) + penalties(layer)
        objective.backward()
        return objective

    optimizer.step(closure)
    return layer


@pytest.fixture(scope="module")
def orthonormal():
    rng = np.random.default_rng(0)
    x = torch.tensor(np.linalg.qr(rng.standard_normal((40, 10)))[0])
    return x, torch.tensor(rng.standard_normal(40) * 3)


def half_squares(x, y):
    return lambda layer: 0.5 * (layer(x).squeeze(1) - y).square().sum()


def test_lasso_on_an_orthonormal_design_is_soft_thresholding(orthonormal):
    """Fact 1: zero where |u| ≤ λ; elsewhere |u| = λ and u has the weight's sign. Errors below 1e-8."""
    x, y = orthonormal
    z, strength, layer = x.T @ y, 3.0, linear(10)
    penalties, optimizer = Penalties(Penalty(site="kernel", l1=strength)), torch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        half_squares(x, y)(layer).backward()
        optimizer.step()
        penalties.proximal_step(layer, optimizer)
    w = layer.weight.detach().flatten()
    torch.testing.assert_close(w, soft_threshold(z, strength), atol=1e-8, rtol=0)
    gradient = z - w
    assert 0 < int((w == 0).sum()) < 10
    assert bool((gradient[w == 0].abs() <= strength).all())
    torch.testing.assert_close(gradient[w != 0], strength * w[w != 0].sign(), atol=1e-8, rtol=0)


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_l2_ends_where_the_data_pull_as_hard_as_the_penalty(orthonormal, strength):
    """Fact 2: w = u/(2λ), u = -∇L. Error below 1e-8."""
    x, y = orthonormal
    layer = minimised(linear(10), half_squares(x, y), Penalties(Penalty(site="kernel", l2=strength)))
    w = layer.weight.detach().flatten()
    torch.testing.assert_close(w, x.T @ (y - x @ w) / (2 * strength), atol=1e-8, rtol=0)


def test_a_gradient_of_l1_leaves_no_exact_zero_and_a_proximal_step_does():
    """Fact 26: 0 of 30 by SGD and by Adam; two thirds by the proximal step on the same problem."""
    rng = np.random.default_rng(1)
    x = torch.tensor(rng.standard_normal((60, 30)))
    y = x[:, :8] @ torch.tensor(rng.standard_normal(8)) + 0.3 * torch.tensor(rng.standard_normal(60))
    penalties = Penalties(Penalty(site="kernel", l1=0.05))

    def zeros(make, *, is_proximal):
        layer = linear(30)
        nn.init.normal_(layer.weight, std=0.1, generator=torch.Generator().manual_seed(0))
        optimizer = make(layer.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            loss = 0.5 * (layer(x).squeeze(1) - y).square().mean()
            (loss if is_proximal else loss + penalties(layer)).backward()
            optimizer.step()
            if is_proximal:
                penalties.proximal_step(layer, optimizer)
        return int((layer.weight == 0).sum())

    assert zeros(torch.optim.SGD, is_proximal=False) == zeros(torch.optim.Adam, is_proximal=False) == 0
    assert 15 <= zeros(torch.optim.SGD, is_proximal=True) <= 24


@pytest.mark.parametrize("strength", [0.5, 4.0])
def test_l2_on_the_bias_of_a_regression_divides_the_mean(strength):
    """Fact 16: b = ȳ/(1 + λ) beside the mean squared error. Error below 1e-8."""
    y = torch.tensor(np.random.default_rng(2).standard_normal(50) + 3)
    layer = linear(3, bias=True)
    layer.weight.requires_grad_(False)
    penalties = Penalties(Penalty(site="bias", l2=strength))
    minimised(layer, lambda net: (net(torch.zeros(50, 3).double()).squeeze(1) - y).square().mean(), penalties)
    assert layer.bias.item() == pytest.approx(y.mean().item() / (1 + strength), abs=1e-8)


def test_activity_l2_is_a_kernel_penalty_in_the_metric_of_the_inputs():
    """Fact 17: E‖y‖² = tr(WCWᵀ) + 2bᵀWμ + ‖b‖², and ‖W‖² + ‖b‖² on whitened inputs. Error below 1e-10."""
    rng = np.random.default_rng(3)
    x, layer = torch.tensor(rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6)) + 1), linear(6, 4, bias=True)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)

    def penalty(inputs):
        with Penalties(Penalty(site="activity", l2=1.0)) as penalties:
            layer(inputs)
            return penalties(layer, batch_size=len(inputs)).item()

    w, b = layer.weight.detach(), layer.bias.detach()
    second, mean = x.T @ x / len(x), x.mean(0)
    expected = torch.trace(w @ second @ w.T) + 2 * b @ w @ mean + b @ b
    assert penalty(x) == pytest.approx(expected.item(), rel=1e-10)
    centred = x - mean
    white = centred @ torch.linalg.inv(torch.linalg.cholesky(centred.T @ centred / len(x))).T
    assert penalty(white) == pytest.approx((w.square().sum() + b @ b).item(), rel=1e-10)


def test_activity_l2_on_a_regression_output_shrinks_least_squares():
    """Fact 17: OLS/(1 + λ) beside the mean squared error."""
    rng = np.random.default_rng(4)
    x, y = torch.tensor(rng.standard_normal((80, 5))), torch.tensor(rng.standard_normal(80))
    layer = linear(5)
    with Penalties(Penalty(site="activity", l2=0.7)) as penalties:
        minimised(layer, lambda net: (net(x).squeeze(1) - y).square().mean(), penalties)
    least_squares = torch.linalg.lstsq(x, y[:, None]).solution.T
    torch.testing.assert_close(layer.weight.detach(), least_squares / 1.7, atol=1e-8, rtol=0)


def test_the_documented_example_of_keras():
    """Fact 18: Dense(5, kernel ones, kernel L1(0.01), activity L2(0.01)) on 2·ones(5, 5) adds 0.25 and 5.0."""
    layer = nn.Linear(5, 5, bias=False)
    nn.init.ones_(layer.weight)
    kernel = Penalties(Penalty(site="kernel", l1=0.01))
    with Penalties(Penalty(site="activity", l2=0.01)) as activity:
        layer(2 * torch.ones(5, 5))
        assert activity(layer).item() == pytest.approx(5.0, rel=1e-6)
    assert kernel(layer).item() == pytest.approx(0.25, rel=1e-6)


# --- On the diabetes data -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diabetes():
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_diabetes(return_X_y=True)
    return torch.tensor(x), torch.tensor(y - y.mean())


def lasso(x, y, strength):
    """Minimise ½Σ(y - xw)² + λΣ|w| by coordinates; the columns of x have norm 1."""
    gram, target, w = x.T @ x, x.T @ y, torch.zeros(x.shape[1]).double()
    for _ in range(300):
        for i in range(len(w)):
            w[i] = soft_threshold(target[i] - gram[i] @ w + gram[i, i] * w[i], strength) / gram[i, i]
    return w


def test_the_largest_strength_that_leaves_a_weight(diabetes):
    """Fact 3: λ_max = max|Xᵀy|/n = 2.14804; nothing is left at 1.0001 of it, one weight at 0.999."""
    x, y = diabetes
    most = (x.T @ y).abs().max().item()
    assert most / len(y) == pytest.approx(2.14804, abs=5e-6)
    assert int((lasso(x, y, 1.0001 * most) != 0).sum()) == 0
    assert int((lasso(x, y, 0.999 * most) != 0).sum()) == 1


def test_the_order_in_which_inputs_enter(diabetes):
    """Fact 4: bmi s5 bp s3 sex s6 s1 s4, then s2 and age: 3 9 4 7 2 10 5 8 6 1 (Efron et al. 2004)."""
    x, y = diabetes
    between = (920, 600, 380, 200, 110, 78, 40, 12)  # Σ units, between two entries
    entered = [set((lasso(x, y, strength) != 0).nonzero().flatten().tolist()) for strength in between]
    order = [2, 8, 3, 6, 1, 9, 4, 7]
    assert entered == [set(order[: k + 1]) for k in range(len(order))]


@pytest.mark.parametrize(("strength", "freedom"), [(0.01, 9.248), (0.1, 7.642), (1.0, 3.942), (10.0, 0.832)])
def test_ridge_shrinks_each_direction_by_its_factor(diabetes, strength, freedom):
    """Fact 5: by d²/(d² + λ) along each singular direction; their sum is df(λ)."""
    x, _ = diabetes
    u, d, _ = torch.linalg.svd(x, full_matrices=False)
    penalties = Penalties(Penalty(site="kernel", l2=strength))
    layer = minimised(linear(10, 10), lambda net: (net(x) - u).square().sum(), penalties)
    factors = torch.diagonal(u.T @ layer(x).detach())
    torch.testing.assert_close(factors, d * d / (d * d + strength), atol=1e-6, rtol=0)
    assert factors.sum().item() == pytest.approx(freedom, abs=1e-3)
