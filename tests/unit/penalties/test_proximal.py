"""Proximal steps: the optimum of loss + λ|w|, with exact zeros, under every optimizer."""

import pytest

from regaudit.errors import ConfigError
from regaudit.penalties import Penalties, Penalty
from regaudit.penalties.proximal import soft_threshold, step_size

torch = pytest.importorskip("torch")
nn = torch.nn

SGDS = [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.5, "dampening": 0.3}]
OPTIMIZERS = [
    *[(torch.optim.SGD, {"lr": 0.02, **each}) for each in SGDS],
    (torch.optim.Adam, {"lr": 0.01}),
    (torch.optim.Adam, {"lr": 0.01, "amsgrad": True}),
    (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.0}),
    (torch.optim.NAdam, {"lr": 0.01}),
    (torch.optim.RAdam, {"lr": 0.01}),
]
TARGET = torch.tensor([[2.0, -1.0, 0.4, -0.3, 0.0]])


def label(value):
    return "-".join([value.__name__] if isinstance(value, type) else [str(each) for each in value])


@pytest.mark.parametrize("w", [-2.0, -0.5, 0.0, 0.3, 1.0])
def test_the_operator_minimises_its_objective(w):
    grid = torch.linspace(-3, 3, 6001, dtype=torch.double)
    best = grid[(0.5 * (grid - w).square() + 0.5 * grid.abs()).argmin()]
    assert soft_threshold(torch.tensor(w, dtype=torch.double), 0.5).item() == pytest.approx(best.item(), abs=1e-3)


@pytest.mark.parametrize(("kind", "settings"), OPTIMIZERS, ids=label)
def test_every_optimizer_ends_at_the_lasso_solution(kind, settings):
    """Minimise ½Σ(w - t)² + λΣ|w|: w = sign(t)·max(|t| - λ, 0)."""
    layer, penalty = nn.Linear(5, 1, bias=False), Penalties(Penalty(site="kernel", l1=0.5))
    nn.init.constant_(layer.weight, 0.7)
    optimizer = kind(layer.parameters(), **settings)
    for _ in range(1500):
        optimizer.zero_grad()
        (0.5 * (layer.weight - TARGET).square().sum() + penalty.without_l1()(layer)).backward()
        optimizer.step()
        penalty.proximal_step(layer, optimizer)
    torch.testing.assert_close(layer.weight.data, torch.tensor([[1.5, -0.5, 0.0, 0.0, 0.0]]), atol=2e-2, rtol=0)
    assert (layer.weight == 0).tolist() == [[False, False, True, True, True]]


@pytest.mark.parametrize(("kind", "settings"), OPTIMIZERS, ids=label)
def test_the_step_size_is_what_a_steady_gradient_moves(kind, settings):
    w = nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    gradient = torch.tensor([0.1, 1.0, 3.0])
    optimizer = kind([w], **settings)
    for _ in range(400):
        before = w.detach().clone()
        w.grad = gradient.clone()
        optimizer.step()
    moved = before - w.detach()
    torch.testing.assert_close(step_size(optimizer, w) * gradient, moved, rtol=2e-3, atol=1e-6)


def test_radam_starts_without_its_second_moment():
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = torch.optim.RAdam([w], lr=0.1)
    w.grad = torch.tensor([0.01, 5.0])
    optimizer.step()
    assert step_size(optimizer, w) == 0.1
    torch.testing.assert_close(w.data, 1 - 0.1 * w.grad)


def test_what_was_not_updated_yet_is_not_shrunk():
    layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    optimizer = torch.optim.Adam(layers.parameters())
    layers[0](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    before = layers[1].weight.clone()
    Penalties(Penalty(site="kernel", l1=0.1)).proximal_step(layers, optimizer)
    assert torch.equal(layers[1].weight, before)


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adamax])
def test_an_unknown_metric_is_an_error(kind):
    layer = nn.Linear(2, 2)
    optimizer = kind(layer.parameters())
    with pytest.raises(ConfigError, match=f"not known for {kind.__name__}; expected SGD, Adam"):
        Penalties(Penalty(site="kernel", l1=0.1)).proximal_step(layer, optimizer)


def test_a_parameter_that_the_optimizer_lacks_is_an_error():
    layer, other = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="doesn't update a penalised parameter"):
        Penalties(Penalty(site="kernel", l1=0.1)).proximal_step(layer, torch.optim.SGD(other.parameters(), lr=0.1))


def test_a_computed_kernel_has_no_steps():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    penalty = Penalties(Penalty(site="kernel", l1=0.1, l2=0.1))
    assert penalty(layer).item() == pytest.approx((layer.weight.abs() + layer.weight.square()).sum().item() * 0.1)
    for step in (penalty.proximal_step, penalty.decay_step):
        with pytest.raises(ConfigError, match="computed from other parameters"):
            step(layer, optimizer)


def test_an_optimizer_can_call_the_step_by_itself():
    layer, penalty = nn.Linear(3, 3), Penalties(Penalty(site="kernel", l1=1000.0))
    optimizer = torch.optim.Adam(layer.parameters())
    optimizer.register_step_post_hook(lambda optimizer, args, kwargs: penalty.proximal_step(layer, optimizer))
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not layer.weight.any()
