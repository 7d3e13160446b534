"""Programs of torch.export, exported here and run by regaudit's interpreter: torch itself is the second opinion."""

import json
import warnings
import zipfile

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regaudit.checkpoints.torch_export import open_export
from regaudit.errors import ConfigError
from regaudit.layers import group
from regaudit.probes.graph.network import names_in
from regaudit.probes.observing import observe
from regaudit.probes.runners.pt2 import open_program

ROWS = 7


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.act, self.drop = (
            nn.Linear(6, 5),
            nn.Linear(5, 3),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
        )

    def forward(self, x):
        return self.fc2(self.drop(self.act(self.fc1(x))))


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.group, self.up = nn.Conv2d(4, 4, 3, padding="same", groups=2), nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.norm, self.head = nn.GroupNorm(1, 3), nn.Linear(12, 3)
        self.bn.running_mean.normal_()
        self.bn.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = F.avg_pool2d(F.max_pool2d(self.group(F.relu(self.bn(self.conv(x)))), 2), 2, 1, 1)
        return self.head(F.adaptive_avg_pool2d(F.silu(self.norm(self.up(x))), 2).flatten(1))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.pos, self.head = nn.Embedding(11, 8), nn.Parameter(torch.randn(7, 8)), nn.Linear(8, 3)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.enc = nn.TransformerEncoder(layer, 1)

    def forward(self, ids):
        n = ids.shape[1]
        mask = torch.triu(torch.full((n, n), float("-inf")), 1)
        mask[:, :1].fill_(0.25)
        return self.head(self.enc(self.emb(ids) + self.pos[:n], mask=mask, is_causal=False)).mean(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True, dropout=0.2), nn.Linear(10, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.rnn(x)[0][:, -1]))


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.shift = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(4))
        self.head, self.tied, self.slopes = nn.Linear(4, 4), nn.Linear(4, 4), nn.PReLU(4)
        self.tied.weight = self.head.weight
        self.register_buffer("table", torch.arange(4.0), persistent=False)

    def forward(self, x):
        with torch.no_grad():
            scale = x.abs().amax(1, keepdim=True) + 1
        y = x @ self.own + self.shift
        a, b = y.chunk(2, -1)
        y = torch.cat([a * torch.sigmoid(b), b], -1) / scale
        y = torch.where(y > 0, y, 0.1 * y) * self.table[None].expand_as(y)
        y = self.tied(self.slopes(self.head(y)))
        y = y - y.logsumexp(-1, keepdim=True) + y.gather(1, y.argmax(-1, keepdim=True))
        y = y.unsqueeze(1).repeat(1, 3, 1).permute(0, 2, 1).reshape(y.shape[0], -1)
        return torch.topk(y, 4, dim=1).values + y.sort(1)[0][:, ::3]


NETWORKS = {
    "mlp": (Mlp, (6,)),
    "cnn": (Cnn, (2, 8, 8)),
    "transformer": (Transformer, (5,)),
    "recurrent": (Recurrent, (3, 4)),
    "mixed": (Mixed, (6,)),
}


def inputs(name, rows=ROWS):
    draw = torch.Generator().manual_seed(1)
    shape = (rows, *NETWORKS[name][1])
    return torch.randint(11, shape, generator=draw) if name == "transformer" else torch.randn(shape, generator=draw)


def network(name):
    torch.manual_seed(0)
    return NETWORKS[name][0]().eval()


def saved(path, module, x, *, dynamic, decomposed=False):
    shapes = ({0: torch.export.Dim("b", min=2, max=100)},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, while it exports
        program = torch.export.export(module, (x,), dynamic_shapes=shapes)
        torch.export.save(program.run_decompositions() if decomposed else program, path)
    return path


@pytest.fixture
def opened(tmp_path):
    def open_(path):
        checkpoint = open_export(path)
        closing.append(checkpoint)
        return open_program(checkpoint, group(checkpoint).layers, "cpu")

    closing = []
    yield open_
    for each in closing:
        each.close()


@pytest.mark.parametrize(
    ("name", "decomposed"), [("cnn", False), ("transformer", True), ("mixed", False), ("mixed", True)]
)
def test_outputs_and_gradients_are_those_of_torch(name, decomposed, opened, tmp_path):
    module, x = network(name), inputs(name)
    runner = opened(saved(tmp_path / "m.pt2", module, x[:3], dynamic=True, decomposed=decomposed))
    found, expected = runner({runner.inputs[0].name: x}), module(x)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    found.square().sum().backward()
    expected.square().sum().backward()
    own = dict(runner.network.named_parameters())
    for parameter, original in module.named_parameters():
        torch.testing.assert_close(own[runner.names[parameter]].grad, original.grad, atol=2e-5, rtol=1e-4)


def test_a_recurrent_network_runs_and_its_gates_are_said_to_be_hidden(opened, tmp_path):
    module, x = network("recurrent"), inputs("recurrent")
    runner = opened(saved(tmp_path / "m.pt2", module, x[:3], dynamic=True))
    torch.testing.assert_close(runner({"x": x}), module(x), atol=1e-6, rtol=1e-6)
    assert [each.layer for each in runner.places] == ["head"]
    assert {each.layer.partition("[")[0] for each in runner.skips} >= {"rnn.weight_ih_l0", "rnn.weight_hh_l1_reverse"}


@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_a_graph_for_one_batch_size_runs_on_any(name, opened, tmp_path):
    module, x = network(name), inputs(name)
    runner = opened(saved(tmp_path / "m.pt2", module, x[:3], dynamic=False, decomposed=name == "transformer"))
    output, seen = observe(runner, {runner.inputs[0].name: x})
    torch.testing.assert_close(output, module(x), atol=1e-6, rtol=1e-6)
    assert bool(runner.notes) == runner.network.is_fixed == (name == "transformer")
    if name == "mlp":
        torch.testing.assert_close(seen["fc1"].linear, module.fc1(x), atol=1e-6, rtol=1e-6)


def test_layers_are_observed_with_the_activation_behind_them(mlp, opened):
    module, x = network("mlp"), inputs("mlp")
    _, seen = observe(opened(mlp), {"x": x})
    torch.testing.assert_close(seen["fc1"].inputs, x)
    torch.testing.assert_close(seen["fc1"].linear, module.fc1(x))
    torch.testing.assert_close(seen["fc1"].activity, module.fc1(x).relu())
    assert [each.activation for each in seen.values()] == ["relu", ""]


def test_parts_of_a_fused_kernel_have_their_columns(opened, tmp_path):
    runner = opened(saved(tmp_path / "m.pt2", network("transformer"), inputs("transformer", 3), dynamic=True))
    parts = [each.columns for each in runner.places if "in_proj" in each.layer]
    assert parts == [(0, 8), (8, 16), (16, 24)]


def test_parameters_can_be_replaced_and_differentiated_by_example(mlp, opened):
    module, x = network("mlp"), inputs("mlp")
    runner = opened(mlp)
    weights = {name: value.detach() + 1 for name, value in runner.network.named_parameters()}
    expected = torch.func.functional_call(
        module, {name: weights[runner.names[name]] for name in dict(module.named_parameters())}, (x,)
    )
    torch.testing.assert_close(torch.func.functional_call(runner.network, weights, (x,)), expected)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: runner({"x": row[None]})[0]))(x)
    torch.testing.assert_close(jacobian, torch.func.vmap(torch.func.jacrev(lambda row: module(row[None])[0]))(x))


def test_tied_weights_are_one_parameter(opened, tmp_path):
    runner = opened(saved(tmp_path / "m.pt2", network("mixed"), inputs("mixed", 3), dynamic=True))
    names = names_in(runner.network)
    assert names["head.weight"] == names["tied.weight"]


# --- Hostile files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("pt2") / "m.pt2", network("mlp"), inputs("mlp", 3), dynamic=True)


@pytest.fixture
def edited(mlp, tmp_path):
    """Return an MLP with its graph changed by a function on its nodes."""
    path = mlp

    def edit(change):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "edited.pt2", "w") as new:
            for name in old.namelist():
                raw = old.read(name)
                if name.endswith("models/model.json"):
                    program = json.loads(raw)
                    change(program["graph_module"]["graph"]["nodes"])
                    raw = json.dumps(program).encode()
                new.writestr(name, raw)
        return tmp_path / "edited.pt2"

    return edit


def argument(name, **value):
    return {"name": name, "arg": value, "kind": 1}


def call(target, out, *inputs):
    return {
        "target": target,
        "inputs": list(inputs),
        "outputs": [{"as_tensor": {"name": out}}],
        "metadata": {},
        "name": out,
    }


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "torch.ops.aten.from_file.default", "torch.ops.aten.__class__.default", "torch.load",
        "torch.ops.aten.relu.__init__", "torch.ops.prims.add.default", "torch.ops.aten.relu.out", "builtins.eval",
    ],
)  # fmt: skip
def test_only_known_operators_are_called_and_all_others_are_named_at_once(target, edited, opened):
    x = argument("self", as_tensor={"name": "x"})
    path = edited(lambda nodes: nodes.extend([call(target, "a", x), call("torch.ops.aten.bernoulli.default", "b", x)]))
    with pytest.raises(ConfigError, match="does not run") as caught:
        opened(path)
    assert target in str(caught.value)
    assert "bernoulli" in str(caught.value)


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        ("torch.ops.aten.full.default", [argument("size", as_ints=[10**6, 10**6]), argument("fill_value", as_int=0)]),
        (
            "torch.ops.aten.repeat.default",
            [argument("self", as_tensor={"name": "x"}), argument("repeats", as_ints=[10**6, 10**6])],
        ),
        ("torch.ops.aten.arange.default", [argument("end", as_int=10**12)]),
        (
            "torch.ops.aten.expand.default",
            [argument("self", as_tensor={"name": "p_fc1_bias"}), argument("size", as_ints=[10**12, 5])],
        ),
    ],
    ids=["full", "repeat", "arange", "expand"],
)
def test_a_value_that_no_machine_holds_is_refused_before_it_is_made(target, inputs, edited, opened):
    runner = opened(edited(lambda nodes: nodes.insert(0, call(target, "huge", *inputs))))
    with pytest.raises(ConfigError, match="elements are made"):
        runner({"x": torch.zeros(2, 6)})


def test_a_recurrent_operator_with_states_of_another_size_is_refused(edited, opened):
    state = {"name": "p_fc1_weight"}
    wrong = call(
        "torch.ops.aten.rnn_tanh.input", "r", argument("input", as_tensor={"name": "x"}), argument("hx", as_tensor=state),
        argument("params", as_tensors=[state, state]), argument("has_biases", as_bool=False),
        argument("num_layers", as_int=1), argument("dropout", as_float=0.0), argument("train", as_bool=False),
        argument("bidirectional", as_bool=False), argument("batch_first", as_bool=True),
    )  # fmt: skip
    runner = opened(edited(lambda nodes: nodes.insert(0, wrong)))
    with pytest.raises(ConfigError, match="rnn_tanh takes"):
        runner({"x": torch.zeros(2, 6)})


@pytest.mark.parametrize(
    "inputs",
    [
        [argument("self", as_tensor={"name": ["x"]})],
        [argument("self", as_custom_obj={"name": "x"})],
        [argument("self", as_tensor={"name": "x"}), argument("surprise", as_int=1)],
        [argument("self", as_int="1")],
        [argument("self", as_ints=[2**70])],
    ],
)
def test_arguments_that_are_none_are_refused(inputs, edited, opened):
    with pytest.raises(ConfigError, match="cannot be run"):
        opened(edited(lambda nodes: nodes.append(call("torch.ops.aten.relu.default", "a", *inputs))))


def test_a_value_that_nothing_made_is_refused(edited, opened):
    x = argument("self", as_tensor={"name": "nowhere"})
    with pytest.raises(ConfigError, match="nowhere"):
        opened(edited(lambda nodes: nodes.append(call("torch.ops.aten.relu.default", "a", x))))(
            {"x": torch.zeros(2, 6)}
        )


def test_inputs_of_another_shape_are_told_with_the_node(mlp, opened):
    runner = opened(mlp)
    with pytest.raises(ConfigError, match=r"the node 'linear'.*cannot run"):
        runner({"x": torch.zeros(2, 4)})
