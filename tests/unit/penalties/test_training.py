"""The penalty as a term of the loss: against formulas, in every way that models are called."""

import copy
import gc
import pickle
import weakref

import pytest

from regaudit.errors import ConfigError
from regaudit.penalties import Penalties, Penalty

torch = pytest.importorskip("torch")
nn = torch.nn
f = torch.nn.functional


def value(a, l1, l2):
    """λ₁·Σ|a| + λ₂·Σa², element by element."""
    return sum(l1 * abs(x) + l2 * x * x for x in a.detach().double().flatten().tolist())


def activity(l1=0.0, l2=0.0, **fields):
    return Penalties(Penalty(site="activity", l1=l1, l2=l2, **fields))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.fixture
def x():
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


class Functional(nn.Module):
    """Calls its activations as functions, and one layer twice."""

    def __init__(self, activation):
        super().__init__()
        self.fc, self.activation = nn.Linear(3, 3), activation

    def forward(self, x):
        return self.activation(self.fc(self.activation(self.fc(x))))


class Failing(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.fc, self.error = nn.Linear(3, 3), error

    def forward(self, x):
        y = self.fc(x)
        if self.error:
            raise self.error
        return y


def test_the_documented_example_of_keras():
    layer = nn.Linear(5, 5, bias=False)
    nn.init.ones_(layer.weight)
    kernel, y_penalty = Penalties(Penalty(site="kernel", l1=0.01)), activity(l2=0.01)
    layer(2 * torch.ones(5, 5))
    assert kernel(layer).item() == pytest.approx(0.25)
    assert y_penalty(layer).item() == pytest.approx(5.0)


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
def test_weights_are_summed(net, l1, l2):
    kernels, biases = (net[0].weight, net[2].weight), (net[0].bias, net[2].bias)
    for site, arrays in (("kernel", kernels), ("bias", biases)):
        expected = sum(value(a, l1, l2) for a in arrays)
        assert Penalties(Penalty(site=site, l1=l1, l2=l2))(net).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
def test_activities_are_summed_after_the_activation_and_divided_by_the_batch(net, x, l1, l2):
    penalty = activity(l1, l2)
    y = net(x)
    hidden = net[0](x).relu()
    penalty_of_both = (value(hidden, l1, l2) + value(y, l1, l2)) / 5
    net(x)
    assert penalty(net).item() == pytest.approx(penalty_of_both, rel=1e-6)


def test_gradients_are_those_of_the_formula(net, x):
    penalty = Penalties(Penalty(site="kernel", l1=0.1), Penalty(site="bias", l2=0.2), Penalty(site="activity", l2=0.3))
    other = copy.deepcopy(net)
    (net(x).square().mean() + penalty(net)).backward()
    hidden = other[0](x).relu()
    y = other[2](hidden)
    kernels, biases = (other[0].weight, other[2].weight), (other[0].bias, other[2].bias)
    loss = y.square().mean() + 0.3 * (hidden.square().sum() + y.square().sum()) / 5
    loss = loss + 0.1 * sum(w.abs().sum() for w in kernels) + 0.2 * sum(b.square().sum() for b in biases)
    loss.backward()
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("activation", [torch.relu, f.gelu, torch.tanh, torch.relu_, nn.Sigmoid()])
def test_functional_activations_and_a_layer_called_twice(x, activation):
    net, penalty = Functional(activation), activity(l2=1.0)
    net(x)
    first = activation(net.fc(x))
    second = activation(net.fc(first.clone()))
    net(x)
    assert penalty(net).item() == pytest.approx((value(first, 0, 1) + value(second, 0, 1)) / 5, rel=1e-5)


def test_convolutions_are_summed_over_positions():
    conv, penalty = nn.Conv2d(2, 3, 3), activity(l1=1.0)
    y = conv(torch.randn(4, 2, 5, 5))
    assert penalty(conv).item() == pytest.approx(value(y, 1, 0) / 4, rel=1e-5)


@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrent_layers_are_divided_by_the_batch(batch_first):
    lstm, penalty = nn.LSTM(3, 2, batch_first=batch_first), activity(l2=1.0)
    y, _ = lstm(torch.randn(4, 6, 3))
    assert penalty(lstm).item() == pytest.approx(value(y, 0, 1) / (4 if batch_first else 6), rel=1e-5)


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_four_projections_of_an_attention_are_layers(batch_first):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)
    x, other = (
        (torch.randn(3, 3, 4), torch.randn(3, 3, 4)) if batch_first else (torch.randn(5, 3, 4), torch.randn(6, 3, 4))
    )
    penalty = activity(l2=1.0)
    y, _ = attention(x, other, other)
    projected = [
        f.linear(each, w, b)
        for each, w, b in zip(
            (x, other, other), attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True
        )
    ]
    assert penalty(attention).item() == pytest.approx(sum(value(a, 0, 1) for a in (*projected, y)) / 3, rel=1e-5)
    assert activity(l2=1.0, layers="out_proj").penalties[0].covers("out_proj", role="dense")


def test_rules_choose_layers(net, x):
    penalty = activity(l2=1.0, layers="0")
    net(x)
    assert penalty(net).item() == pytest.approx(value(net[0](x).relu(), 0, 1) / 5, rel=1e-6)


def test_a_batch_size_can_be_given(net, x):
    penalty = activity(l2=1.0)
    net(x)
    assert penalty(net, batch_size=10).item() == pytest.approx(penalty(net).item() / 2)


def test_no_penalty_is_zero(net):
    assert Penalties()(net).item() == 0.0
    assert Penalties(Penalty(site="kernel"))(net).item() == 0.0


def test_the_last_call_counts_as_in_keras(net, x):
    penalty = activity(l2=1.0)
    net(x)
    expected = penalty(net).item()
    net(10 * x)
    assert penalty(net).item() != pytest.approx(expected)
    net(x)
    assert penalty(net).item() == pytest.approx(expected)


def test_evaluation_between_steps_changes_nothing(net, x):
    penalty = activity(l2=1.0)
    net(x)
    expected = penalty(net).item()
    with torch.no_grad():
        net.eval()(3 * x)
    with torch.inference_mode():
        net(3 * x)
    assert penalty(net).item() == expected


def test_a_part_a_whole_and_a_wrapper_can_be_asked(x):
    inner = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    outer = nn.ModuleDict({"inner": inner, "unused": nn.Linear(2, 2)})
    penalty = activity(l2=1.0)
    inner(x)
    assert penalty(outer).item() == penalty(inner).item() > penalty(inner[0]).item() > 0


def test_a_new_call_of_a_part_replaces_that_part(x):
    net, penalty = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), activity(l2=1.0)
    net(x)
    net[0](x)
    assert penalty(net).item() == pytest.approx((value(net[0](x), 0, 1) + value(net(x), 0, 1)) / 5, rel=1e-5)


def test_accumulated_gradients_are_those_of_the_sum(net, x):
    penalty = Penalties(Penalty(site="activity", l2=0.1), Penalty(site="kernel", l2=0.1))
    other = copy.deepcopy(net)
    (net(x).mean() + penalty(net)).backward()
    for part in (x, x):
        ((other(part).mean() + penalty(other)) / 2).backward()
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_half_precision_is_summed_without_overflow():
    layer, penalty = nn.Linear(4, 4, bias=False), activity(l2=1.0)
    nn.init.ones_(layer.weight)
    with torch.autocast("cpu", dtype=torch.float16):
        layer(100 * torch.ones(2, 4))
    assert penalty(layer).item() == pytest.approx(4 * 400**2)
    assert penalty(layer).dtype is torch.float32


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, where a compiled graph breaks
@pytest.mark.parametrize("site", ["kernel", "bias"])
def test_compiled_models_and_compiled_steps(net, x, site):
    penalty = Penalties(Penalty(site=site, l1=0.1, l2=0.2))
    expected = penalty(net).item()
    assert penalty(torch.compile(net, backend="eager")).item() == pytest.approx(expected)
    step = torch.compile(lambda x: net(x).sum() * 0 + penalty(net), backend="eager")
    assert step(x).item() == pytest.approx(expected)


def test_activities_of_a_compiled_model_are_refused(net, x):
    penalty, compiled = activity(l2=1.0), torch.compile(net, backend="eager")
    compiled(x)
    with pytest.raises(ConfigError, match="not compiled"):
        penalty(compiled)
    net(x)
    assert penalty(net).item() > 0


def test_checkpointed_activations_have_their_gradients(x):
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(Functional):
        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False)

    net, penalty = Checkpointed(torch.relu), activity(l2=1.0)
    plain = Functional(torch.relu)
    plain.load_state_dict(net.state_dict())
    for each in (net, plain):
        (each(x).sum() + penalty(each)).backward()
    torch.testing.assert_close(net.fc.weight.grad, plain.fc.weight.grad)


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_pass_that_fails_leaves_nothing_behind(x, error):
    net, penalty = Failing(error), activity(l2=1.0)
    with pytest.raises(type(error)) as raised:
        net(x)
    assert raised.value is error
    assert not torch.overrides._get_current_function_mode_stack()
    with pytest.raises(ConfigError, match="run the model first"):
        penalty(net)
    net.error = None
    y = net(x)
    assert penalty(net).item() == pytest.approx(value(y, 0, 1) / 5, rel=1e-6)
    assert not net._forward_hooks
    assert not net.fc._forward_hooks


def test_a_model_that_calls_itself_is_one_pass(x):
    class Recursive(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x, depth=2):
            return self.fc(x) if depth == 1 else self(self.fc(x), depth - 1)

    net, penalty = Recursive(), activity(l2=1.0)
    net(x)
    first = net.fc(x)
    expected = (value(first, 0, 1) + value(net.fc(first), 0, 1)) / 5
    net(x)
    assert penalty(net).item() == pytest.approx(expected, rel=1e-5)


def test_copies_and_pickles(net, x, tmp_path):
    penalty = activity(l2=1.0)
    net(x)
    again = copy.deepcopy(net)
    torch.save(net, tmp_path / "net.pt")
    assert not any(each._forward_hooks for each in pickle.loads(pickle.dumps(net)).modules())
    with pytest.raises(ConfigError):
        penalty(again)
    for other in (copy.deepcopy(penalty), pickle.loads(pickle.dumps(penalty))):
        net(x)
        assert other(net).item() == penalty(net).item()


def test_closed_penalties_look_no_more(net, x):
    gc.collect()
    before = nn.Module.__call__
    with activity(l2=1.0) as penalty:
        net(x)
        assert penalty(net).item() > 0
    assert nn.Module.__call__ is before
    net(x)
    with pytest.raises(ConfigError, match="run the model first"):
        penalty(net)
    forgotten = activity(l2=1.0)
    del forgotten
    gc.collect()
    assert nn.Module.__call__ is before


def test_activations_are_freed_with_the_loss():
    class Kept(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.seen = nn.Linear(3, 3), None

        def forward(self, x):
            y = torch.exp(self.fc(x))
            self.seen = weakref.ref(y)
            return y

    net, penalty = Kept(), activity(l2=1.0)
    (net(torch.ones(2, 3)).sum() + penalty(net)).backward()
    gc.collect()
    assert net.seen() is None
    model = weakref.ref(net)
    del net
    gc.collect()
    assert model() is None
    assert penalty is not None


def test_penalties_can_be_closed_in_any_order(net, x):
    gc.collect()
    before = nn.Module.__call__
    first, second = activity(l2=1.0), activity(l1=1.0)
    first.close()
    net(x)
    assert second(net).item() > 0
    second.close()
    assert nn.Module.__call__ is before


@pytest.mark.parametrize("site", ["kernel", "bias", "activity"])
def test_a_penalty_on_nothing_is_an_error(net, x, site):
    penalty = Penalties(Penalty(site=site, l2=1.0, layers="absent"))
    net(x)
    with pytest.raises(
        ConfigError, match=r"finds nothing to act on in Sequential, whose trained parameters are 0\.weight"
    ):
        penalty(net)


def test_groups_for_an_optimizer_are_the_penalty(net, x):
    penalty = Penalties(
        Penalty(site="kernel", l2=0.1), Penalty(site="bias", l1=0.05), Penalty(site="kernel", l2=0.05, layers="0")
    )
    other = copy.deepcopy(net)
    grouped = torch.optim.SGD(penalty.parameter_groups(net), lr=0.1)
    plain = torch.optim.SGD(other.parameters(), lr=0.1)
    for _ in range(3):
        for model, optimizer, rest in ((net, grouped, penalty.without_decay()), (other, plain, penalty)):
            optimizer.zero_grad()
            (model(x).square().mean() + rest(model)).backward()
            optimizer.step()
    assert sum(len(group["params"]) for group in grouped.param_groups) == 4
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_decoupled_decay_is_that_of_adamw(net, x):
    penalty = Penalties(Penalty(site="kernel", l2=0.1))
    other = copy.deepcopy(net)
    ours, theirs = (
        torch.optim.Adam(net.parameters(), lr=0.1),
        torch.optim.AdamW(penalty.parameter_groups(other), lr=0.1),
    )
    for _ in range(3):
        for model, optimizer in ((net, ours), (other, theirs)):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            if model is net:
                penalty.decay_step(net, ours)
            optimizer.step()
    for mine, adamw in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, adamw)


def test_what_is_left_for_the_loss():
    penalty = Penalties(
        Penalty(site="kernel", l1=0.1, l2=0.2), Penalty(site="bias", l2=0.3), Penalty(site="activity", l1=0.4)
    )
    assert [(each.site, each.l1, each.l2) for each in penalty.without_l1().penalties] == [
        ("kernel", 0.0, 0.2),
        ("bias", 0.0, 0.3),
        ("activity", 0.4, 0.0),
    ]
    assert [each.site for each in penalty.without_decay().penalties] == ["kernel", "activity"]


def test_what_is_left_sees_the_same_activities(net, x):
    penalty = Penalties(Penalty(site="kernel", l1=0.1), Penalty(site="activity", l2=0.4))
    net(x)
    assert penalty.without_l1()(net).item() == pytest.approx(activity_of(net, x, 0.4), rel=1e-6)


def activity_of(net, x, l2):
    return (value(net[0](x).relu(), 0, l2) + value(net(x), 0, l2)) / len(x)


def test_traces_and_exports_are_those_of_the_model_alone(net, x):
    with activity(l2=1.0) as penalty:
        net(x)
        expected = penalty(net).item()
        exported = torch.export.export(net, (x,))
        assert penalty(net).item() == expected
    assert "clone" not in exported.graph_module.code
