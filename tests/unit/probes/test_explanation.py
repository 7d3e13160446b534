"""What penalties would do to one layer: exact where the loss is quadratic in its weights."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from regaudit.measures.explained import NEGLIGIBLE, PERCENTS  # noqa: E402
from regaudit.probes.explanation import run  # noqa: E402
from regaudit.probes.local_layer import Local  # noqa: E402
from regaudit.records import Axis, Layer, Norm, Parameter, Role, Site, Use  # noqa: E402

STRENGTH = 0.1


def data(rows=60, inputs=7, seed=0):
    """Return correlated inputs and a linear answer."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, inputs)) @ (np.eye(inputs) + 0.4 * rng.normal(size=(inputs, inputs)))
    return x, x[:, :3] @ [1.0, -0.5, 0.3] + 0.4 + 0.2 * rng.normal(size=rows)


def linear(w, b):
    net = torch.nn.Linear(len(w), 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(w)[None])
        net.bias.fill_(b)
    return net


def layer(name, kernel):
    values = kernel.detach().numpy()
    parameter = Parameter(
        use=Use.KERNEL,
        tensors=("w",),
        dtype="F32",
        shape=values.shape,
        axes=(Axis.OUT, Axis.IN),
        load=lambda start, stop: values[start:stop],
    )
    return Layer(name=name, role=Role.DENSE, parameters=(parameter,))


@pytest.fixture
def explain(session_of):
    """The explanation of a layer of a network."""

    def make(net, x, y, name="fc", kernel=None, **fields):
        tensors = [torch.tensor(each, dtype=torch.float32) for each in (x, y)]
        session = session_of(net, tensors[0], tensors[1][:, None], loss="mse", **{"batch_size": 64, **fields})
        named = layer(name, net.weight if kernel is None else kernel)
        (found,) = run(replace(session, layers=(named,), explain=(name,))).explanations
        return found

    return make


def prediction(found, site, norm, strength=STRENGTH):
    return next(p for p in found.predictions if (p.site, p.norm, p.strength) == (site, norm, strength))


def centred(x, y):
    return x - x.mean(0), y - y.mean()


def lasso(x, y, strength, rounds=3000):
    """Return argmin mean((y - xw)²) + λΣ|w| of centred data, by coordinate descent."""
    w = np.zeros(x.shape[1])
    scale = 2 * (x * x).mean(0)
    for _ in range(rounds):
        for j in range(len(w)):
            pull = 2 * x[:, j] @ (y - x @ w + x[:, j] * w[j]) / len(x)
            w[j] = np.sign(pull) * max(abs(pull) - strength, 0) / scale[j]
    return w


def test_kernel_l2_is_the_ridge_solution_from_wherever_it_starts(explain):
    x, y = data()
    found = explain(linear(np.full(7, 0.3), -1.0), x, y)
    xc, yc = centred(x, y)
    ridge = np.linalg.solve(xc.T @ xc / len(x) + STRENGTH * np.eye(7), xc.T @ yc / len(x))
    told = prediction(found, Site.KERNEL, Norm.L2)
    assert found.model == "joint"
    assert told.kernel_norm == pytest.approx(np.linalg.norm(ridge), rel=1e-3)
    assert told.bias_norm == pytest.approx(abs(y.mean() - x.mean(0) @ ridge), rel=1e-3)
    assert told.activity_rms == pytest.approx(np.sqrt(np.mean((xc @ ridge + y.mean()) ** 2)), rel=1e-3)


def test_kernel_l1_is_the_lasso_and_drops_its_inputs(explain):
    x, y = data()
    found = explain(linear(np.full(7, 0.3), -1.0), x, y)
    w = lasso(*centred(x, y), STRENGTH)
    told = prediction(found, Site.KERNEL, Norm.L1)
    assert told.kernel_norm == pytest.approx(np.abs(w) @ np.abs(w) / np.linalg.norm(w), rel=1e-3)
    dropped = tuple(np.flatnonzero(np.abs(w) < NEGLIGIBLE * 0.3))
    assert 0 < len(dropped) < 7
    assert told.dropped_inputs == dropped
    assert told.zero_fraction == pytest.approx(len(dropped) / 7)


def test_without_a_penalty_it_is_least_squares(explain):
    x, y = data()
    found = explain(linear(np.full(7, 0.3), -1.0), x, y)
    xc, yc = centred(x, y)
    w = np.linalg.lstsq(xc, yc, rcond=None)[0]
    assert found.predictions[0].site is Site.NONE
    assert found.predictions[0].kernel_norm == pytest.approx(np.linalg.norm(w), rel=1e-3)


def test_bias_l2_shrinks_the_bias_as_far_as_the_kernel_cannot_stand_in(explain):
    x, y = data()
    x, _ = centred(x, y)
    told = prediction(explain(linear(np.full(7, 0.3), -1.0), x, y), Site.BIAS, Norm.L2)
    assert told.bias_norm == pytest.approx(abs(y.mean()) / (1 + STRENGTH), rel=1e-3)


def test_bias_l1_thresholds_the_bias(explain):
    x, y = data()
    x, _ = centred(x, y)
    told = prediction(explain(linear(np.full(7, 0.3), -1.0), x, y), Site.BIAS, Norm.L1)
    assert told.bias_norm == pytest.approx(abs(y.mean()) - STRENGTH / 2, rel=1e-3)


def test_activity_l2_scales_the_whole_answer(explain):
    """Of a linear model mean((y - z)²) + λ·mean(z²) is least at z/(1 + λ), z the least squares."""
    x, y = data()
    found = explain(linear(np.full(7, 0.3), -1.0), x, y)
    free, told = found.predictions[0], prediction(found, Site.ACTIVITY, Norm.L2)
    assert told.activity_rms == pytest.approx(free.activity_rms / (1 + STRENGTH), rel=1e-3)
    assert told.kernel_norm == pytest.approx(free.kernel_norm / (1 + STRENGTH), rel=1e-3)


def test_batches_do_not_matter(explain):
    x, y = data()
    whole, parts = (explain(linear(np.full(7, 0.3), -1.0), x, y, batch_size=each) for each in (60, 25))
    for site in (Site.KERNEL, Site.ACTIVITY):
        one, other = (prediction(each, site, Norm.L2) for each in (whole, parts))
        assert one.activity_rms == pytest.approx(other.activity_rms, rel=1e-3)


def test_stronger_activity_l1_leaves_less_activity(explain):
    x, y = data()
    found = explain(linear(np.full(7, 0.3), -1.0), x, y)
    rms = [prediction(found, Site.ACTIVITY, Norm.L1, each).activity_rms for each in (1e-3, 1e-2, 1e-1)]
    assert found.predictions[0].activity_rms > rms[0] > rms[1] > rms[2]


def test_quantiles_are_of_the_weights_and_their_pulls(explain):
    x, y = data()
    w, b = np.linspace(-0.3, 0.6, 7), 0.2
    found = explain(linear(w, b), x, y)
    u = 2 * x.T @ (y - x @ w - b) / len(x)
    kernel, bias = found.pulls
    assert kernel.weights == pytest.approx(np.percentile(np.abs(w), PERCENTS), rel=1e-4)
    assert kernel.pulls == pytest.approx(np.percentile(np.abs(u), PERCENTS), rel=1e-4)
    assert kernel.outward == pytest.approx(np.percentile(u * np.sign(w), PERCENTS), rel=1e-4)
    assert bias.pulls == pytest.approx([abs(2 * (y - x @ w - b).mean())] * len(PERCENTS), rel=1e-4)


def test_a_hidden_layer_leaves_the_network_as_it_was(explain):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
    before = [each.detach().clone() for each in net.parameters()]
    found = explain(net, *data(), name="0", kernel=net[0].weight)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    strong, weak = (prediction(found, Site.KERNEL, Norm.L2, each).kernel_norm for each in (1e-1, 1e-4))
    assert strong < weak


def test_without_labels_only_the_sizes_are_told(session_of):
    net = torch.nn.Linear(7, 1)
    x, _ = data()
    session = session_of(net, torch.tensor(x, dtype=torch.float32))
    named = layer("fc", net.weight)
    (found,) = run(replace(session, layers=(named,), explain=("fc",))).explanations
    assert found.present.activity_rms is not None
    assert (found.predictions, found.pulls[0].pulls) == ((), ())
    assert "labels" in found.reason


def test_one_weight_at_a_time_is_a_soft_threshold():
    h, w, u = np.array([2.0, 0.5, 1.0]), np.array([1.0, -1.0, 0.2]), np.array([0.1, 0.2, 0.0])
    local = Local(theta=w, pull=u, hessian=h)
    free = h * w + u
    soft = np.sign(free) * np.maximum(np.abs(free) - 0.25, 0) / h
    assert local.least(Norm.L1, 0.25, np.ones(3)) == pytest.approx(soft, abs=1e-5)
    assert local.least(Norm.L2, 0.25, np.ones(3)) == pytest.approx(free / (h + 0.5), abs=1e-5)


def test_what_no_data_hold_goes_under_any_penalty_and_stays_without():
    local = Local(theta=np.ones(2), pull=np.zeros(2), hessian=np.diag([1.0, 0.0]))
    assert local.least() == pytest.approx(np.ones(2))
    assert local.least(Norm.L2, 1e-3, np.ones(2))[1] == pytest.approx(0, abs=1e-2)
    assert local.least(Norm.L1, 1e-3, np.ones(2))[1] == 0
