"""What is seen of a layer equals what a hand-written forward pass computes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from regaudit.networks.places import Place
from regaudit.penalties import Penalties, Penalty
from regaudit.probes.base import ModelInput, Runner
from regaudit.probes.observing import NOT_CALLED, observe, run, unobserved
from regaudit.probes.runners.outputs import call

CONVS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def places_of(network):
    """A place for every module with a kernel, and one for every parameter that a module holds beside its children."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding | nn.modules.conv._ConvNd):
            axis = 1 if isinstance(module, CONVS) else -1
            yield Place(layer=name, module=name, kernel=f"{name}.weight", bias=f"{name}.bias", channel_axis=axis)


def runner(network, *places):
    network.eval()
    found = places or tuple(places_of(network))
    return Runner(kind="factory", network=network, inputs=(ModelInput(name="x"),), places=found, call=call)


def seen_in(network, x, *places):
    output, seen = observe(runner(network, *places), {"x": x})
    torch.testing.assert_close(output, network(x), rtol=0, atol=0)  # looking changes nothing
    return seen


class Functional(nn.Module):
    """One dense layer, and any function of its output."""

    def __init__(self, function, size=6):
        super().__init__()
        self.fc = nn.Linear(4, size)
        self.function = function

    def forward(self, x):
        return self.function(self.fc(x))


def test_inputs_z_and_activity_of_a_stack():
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(5, 4)
    seen = seen_in(net, x)
    z = x @ net[0].weight.T + net[0].bias
    first, last = seen["0"], seen["2"]
    torch.testing.assert_close(first.linear, z)
    torch.testing.assert_close(first.activity, torch.tanh(z))
    torch.testing.assert_close(last.inputs, torch.tanh(z))
    assert (first.activation, first.examples, last.activation) == ("tanh", 5, "")
    assert last.activity is last.linear


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (F.relu, "relu"),
        (lambda z: z.relu(), "relu"),
        (torch.tanh, "tanh"),
        (F.gelu, "gelu"),
        (F.silu, "silu"),
        (torch.sigmoid, "sigmoid"),
        (lambda z: F.leaky_relu(z, 0.2), "leaky_relu"),
        (lambda z: F.elu(z, alpha=0.5), "elu"),
        (lambda z: z.softmax(-1), "softmax"),
        (lambda z: z.clamp(min=0), "relu"),
        (lambda z: torch.clamp(z, 0, 6), "relu6"),
        (lambda z: z.clamp_min(0), "relu"),
        (lambda z: torch.maximum(z, torch.zeros(1)), "relu"),
        (F.hardtanh, "hardtanh"),
        (lambda z: F.dropout(z, training=False).relu(), "relu"),
        (lambda z: z * torch.sigmoid(z), "silu"),
        (lambda z: z * 0.5 * (1 + torch.erf(z / 2**0.5)), "gelu"),
        (lambda z: 0.5 * z * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (z + 0.044715 * z**3))), "gelu_tanh"),
        (lambda z: z * torch.sigmoid(1.702 * z), "quick_gelu"),
    ],
)
def test_functional_activations_are_followed(function, name):
    net, x = Functional(function), torch.randn(7, 4)
    seen = seen_in(net, x)["fc"]
    z = x @ net.fc.weight.T + net.fc.bias
    assert seen.activation == name
    torch.testing.assert_close(seen.linear, z)
    torch.testing.assert_close(seen.activity, function(z))


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z * 2,
        lambda z: z + z.mean(),
        lambda z: z.clamp(min=0.5),
        lambda z: F.layer_norm(z, (6,)).relu(),
        lambda z: (z + torch.ones(6)).relu(),
        lambda z: z / 8**0.5,
        lambda z: (z @ z.T).softmax(-1),
    ],
)
def test_what_is_not_applied_to_z_directly_is_no_activity(function):
    seen = seen_in(Functional(function), torch.randn(7, 4))["fc"]
    assert seen.activation == ""
    assert seen.activity is seen.linear


def test_a_normalization_in_between_leaves_the_layers_own_output():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    net[1].running_mean.uniform_()
    x = torch.randn(4, 2, 5, 5)
    seen = seen_in(net, x)["0"]
    torch.testing.assert_close(seen.activity, F.conv2d(x, net[0].weight, net[0].bias))
    assert seen.place.channel_axis == 1
    assert seen.activation == ""


@pytest.mark.parametrize(
    "function",
    [
        nn.ReLU(inplace=True),
        nn.SiLU(inplace=True),
        lambda z: F.leaky_relu(z, 0.1, inplace=True),
        lambda z: z.relu_(),
        torch.relu_,
        lambda z: z.clamp_(min=0),
        lambda z: z.sigmoid_(),
        lambda z: z.view(-1).relu_().view(-1, 6),
    ],
)
def test_in_place_activations_corrupt_neither_values_nor_gradients(function):
    net, x = Functional(function), torch.randn(7, 4)
    z = x @ net.fc.weight.T + net.fc.bias
    with torch.no_grad():
        seen = seen_in(net, x)["fc"]
    torch.testing.assert_close(seen.linear, z)
    torch.testing.assert_close(seen.activity, function(z.clone()))
    output, both = observe(runner(net), {"x": x})
    (output**2).sum().backward()
    found = net.fc.weight.grad.clone()
    net.zero_grad()
    (function(F.linear(x, net.fc.weight, net.fc.bias)) ** 2).sum().backward()
    torch.testing.assert_close(found, net.fc.weight.grad)
    assert not both["fc"].linear.equal(both["fc"].activity)


def test_an_in_place_sum_does_not_reach_what_was_seen():
    def residual(z):
        z += 1
        return z

    net, x = Functional(residual), torch.randn(3, 4)
    seen = seen_in(net, x)["fc"]
    torch.testing.assert_close(seen.linear, net.fc(x))
    assert seen.activity is seen.linear


def test_gradients_reach_z_and_the_inputs():
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 1)), torch.randn(3, 4)
    output, seen = observe(runner(net), {"x": x})
    by_z, by_input = torch.autograd.grad(output.sum(), [seen["0"].linear, seen["2"].inputs])
    expected = net[2].weight.expand(3, 6)
    torch.testing.assert_close(by_input, expected)
    torch.testing.assert_close(by_z, expected * (seen["0"].linear > 0))


def test_calls_of_a_shared_layer_are_joined_on_the_batch_axis():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(self.fc(x).relu())

    net, x = Shared(), torch.randn(5, 4)
    seen = seen_in(net, x)["fc"]
    first = net.fc(x)
    torch.testing.assert_close(seen.linear, torch.cat([first, net.fc(first.relu())]))
    torch.testing.assert_close(seen.activity, torch.cat([first.relu(), net.fc(first.relu())]))
    torch.testing.assert_close(seen.inputs, torch.cat([x, first.relu()]))
    assert seen.examples == 5


def test_calls_on_several_sizes_become_positions():
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(2, 3, 1)

        def forward(self, x):
            return self.head(x).sum((2, 3)) + self.head(F.avg_pool2d(x, 2)).sum((2, 3))

    net, x = Pyramid(), torch.randn(2, 2, 4, 4)
    seen = seen_in(net, x)["head"]
    assert seen.linear.shape == (2 * 16 + 2 * 4, 3)
    assert seen.inputs is None
    torch.testing.assert_close(seen.linear[0], net.head(x)[0, :, 0, 0])


def test_parts_of_a_fused_layer_are_its_columns():
    net, x = Functional(F.relu), torch.randn(3, 4)
    parts = [Place(layer=f"fc[{k}]", module="fc", kernel="fc.weight", columns=(2 * k, 2 * k + 2)) for k in range(3)]
    seen = seen_in(net, x, *parts)
    for k in range(3):
        torch.testing.assert_close(seen[f"fc[{k}]"].activity, net.fc(x).relu()[:, 2 * k : 2 * k + 2])


class Held(nn.Module):
    """Kernels that functions use."""

    def __init__(self, function):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(6))
        self.function = function

    def forward(self, x):
        return self.function(x, self.w, self.b).relu()


@pytest.mark.parametrize(
    "function",
    [
        F.linear,
        lambda x, w, b: x @ w.T + b,
        lambda x, w, b: b + torch.matmul(x, w.t()),
        lambda x, w, b: torch.addmm(b, x, w.transpose(0, 1)),
        lambda x, w, b: torch.einsum("bi,oi->bo", x, w) + b,
        lambda x, w, b: F.linear(x, w).add_(b),
    ],
)
def test_a_kernel_that_a_function_uses_is_seen_with_its_bias(function):
    net, x = Held(function), torch.randn(3, 4)
    seen = seen_in(net, x, Place(layer="w", module="", kernel="w", bias="b", functional=True))["w"]
    torch.testing.assert_close(seen.linear, F.linear(x, net.w, net.b))
    torch.testing.assert_close(seen.activity, F.linear(x, net.w, net.b).relu())
    assert seen.activation == "relu"


@pytest.mark.parametrize("is_batch_first", [True, False])
def test_the_projections_of_torchs_attention_are_seen(is_batch_first):
    class Attended(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.MultiheadAttention(8, 2, batch_first=is_batch_first)

        def forward(self, x):
            return self.attn(x, x, x, need_weights=False)[0]

    def part(name, k):
        kernel, bias = "attn.in_proj_weight", "attn.in_proj_bias"
        return Place(layer=name, module="attn", kernel=kernel, bias=bias, columns=(8 * k, 8 * k + 8), functional=True)

    out = Place(layer="out", module="attn", kernel="attn.out_proj.weight", functional=True)
    net, x = Attended(), torch.randn(3, 5, 8)
    nn.init.normal_(net.attn.in_proj_bias)
    seen = seen_in(net, x, part("query", 0), part("value", 2), out)
    w, b = net.attn.in_proj_weight, net.attn.in_proj_bias
    torch.testing.assert_close(seen["query"].linear, F.linear(x, w[:8], b[:8]))
    torch.testing.assert_close(seen["value"].linear, F.linear(x, w[16:], b[16:]))
    torch.testing.assert_close(seen["out"].linear, net(x))
    assert seen["out"].inputs is None


def test_a_transformer_layer_of_torch_is_seen_without_gradients_too():
    net, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(3, 5, 8)
    places = [p for p in places_of(net) if p.layer.startswith("linear")]
    with torch.no_grad():
        seen = observe(runner(net, *places), {"x": x})[1]
    assert seen["linear1"].activation == "relu"
    assert seen["linear2"].linear.shape == (3, 5, 8)


def test_an_activation_module_counts_as_a_whole():
    class NewGELUActivation(nn.Module):
        def forward(self, z):
            return torch.sigmoid(z) * 3 + z.sin()

    net, x = Functional(NewGELUActivation()), torch.randn(3, 4)
    seen = seen_in(net, x)["fc"]
    assert seen.activation == "newgelu"
    torch.testing.assert_close(seen.activity, net(x))


def test_other_parameters_can_take_their_place():
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU()), torch.randn(3, 4)
    other = {"0.weight": torch.randn(6, 4, requires_grad=True)}
    output, seen = observe(runner(net), {"x": x}, other)
    torch.testing.assert_close(seen["0"].linear, F.linear(x, other["0.weight"], net[0].bias))
    torch.testing.assert_close(output, run(runner(net), {"x": x}, other))
    (grad,) = torch.autograd.grad(seen["0"].activity.sum(), other["0.weight"])
    assert grad.shape == (6, 4)


def test_layers_that_are_not_called_end_as_skips():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            return self.used(x)

    watched = runner(Half())
    _, seen = observe(watched, {"x": torch.randn(3, 4)})
    assert [(each.layer, each.reason) for each in unobserved(watched, seen)] == [("unused", NOT_CALLED)]


def test_no_hook_is_left_behind():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    with pytest.raises(RuntimeError):
        observe(runner(net), {"x": torch.randn(3, 5)})
    assert not any(module._forward_hooks for module in net.modules())


def test_an_open_penalty_on_activities_does_not_stand_in_between():
    """Both watch the pass, and a SiLU that is written out is known by its value."""
    network = Functional(lambda z: z * torch.sigmoid(z))
    with Penalties(Penalty(site="activity", l2=0.1)):
        _, seen = observe(runner(network), {"x": torch.randn(5, 4)})
    assert seen["fc"].activation == "silu"
