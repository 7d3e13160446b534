import json
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regaudit.checkpoints.base import CONTAINS_CODE, UNKNOWN_GLOBAL, UNREADABLE_TENSOR, UNSAFE_GLOBAL
from regaudit.checkpoints.sniff import look
from regaudit.checkpoints.torch_export import FORMAT, open_export
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat
from regaudit.records import Axis, Use


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, bias=False)
        self.bn = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.25)
        self.own = nn.Parameter(torch.randn(4, 5))
        self.shift = nn.Parameter(torch.zeros(5))
        self.fc = nn.Linear(5, 6)
        self.head = nn.Linear(6, 6)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.head.weight
        self.register_buffer("hidden", torch.ones(6), persistent=False)

    def forward(self, x):
        y = self.drop(F.relu(self.bn(self.conv(x)))).mean(2)
        y = F.dropout(torch.addmm(self.shift, y, self.own), 0.125, self.training)
        return self.tied(self.head(torch.sigmoid(self.fc(y)) + self.hidden))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.pt2"
    torch.export.save(torch.export.export(network, (torch.ones(2, 3, 7),)), path)
    return path


@pytest.fixture
def edited(exported, tmp_path):
    """Return the file with members changed; a JSON member as its object."""

    def edit(**changes):
        path = tmp_path / "edited.pt2"
        with zipfile.ZipFile(exported) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                raw = old.read(name)
                for member, change in changes.items():
                    if name.endswith(_MEMBERS[member]):
                        raw = change(json.loads(raw) if name.endswith(".json") else raw)
                        raw = json.dumps(raw).encode() if isinstance(raw, dict) else raw
                if raw is not None:
                    new.writestr(name, raw)
        return path

    return edit


_MEMBERS = {
    "model": "models/model.json",
    "weights": "model_weights_config.json",
    "first": "weights/weight_0",
    "kind": "archive_format",
    "samples": "sample_inputs/model.pt",
}


def values(checkpoint, tensor):
    return checkpoint.read(tensor, 0, tensor.size).reshape(tensor.shape)


def assert_same(checkpoint, state, without=()):
    assert {each.name for each in checkpoint.tensors} == set(state)
    for tensor in checkpoint.tensors:
        if tensor.name not in without:
            np.testing.assert_array_equal(values(checkpoint, tensor), state[tensor.name].numpy())


def test_the_state_dict_is_read(network, exported):
    assert FORMAT.claims(look(exported))
    with open_export(exported) as checkpoint:
        assert_same(checkpoint, network.state_dict())
        assert {each.name: each.shares for each in checkpoint.tensors if each.shares} == {"tied.weight": "head.weight"}
        assert [each.name for each in checkpoint.apart] == ["hidden"]
        assert (checkpoint.format, checkpoint.remarks) == ("torch.export", ())


def test_modules_of_torch_are_told_as_one_and_operators_between_them_by_themselves(exported):
    with open_export(exported) as checkpoint:
        modules = {each.name: each for each in checkpoint.modules}
    assert modules["conv"].type == "torch.nn.modules.conv.Conv1d"
    assert modules["bn"].inputs == ("conv",)
    assert modules["bn"].settings["eps"] == 1e-5
    assert modules["relu"].type == "aten.relu"
    assert modules["own"].type == "Linear"
    assert modules["tied"].inputs == ("head",)


def test_an_activation_is_told_where_it_takes_the_output_alone(exported):
    with open_export(exported) as checkpoint:
        bent = {each.name: each.activation for each in checkpoint.modules if each.activation}
    assert bent == {"bn": "relu", "fc": "sigmoid"}


def test_the_graph_states_the_use_of_weights_that_no_class_of_torch_owns(exported):
    with open_export(exported) as checkpoint:
        stated = {each.name: (each.layer, each.use, each.axes) for each in checkpoint.tensors if each.layer}
    assert stated == {
        "own": ("own", Use.KERNEL, (Axis.IN, Axis.OUT)),
        "shift": ("own", Use.BIAS, (Axis.OUT,)),
    }


def test_dropout_is_declared_from_modules_and_functions(exported):
    with open_export(exported) as checkpoint:
        assert [(each.target, each.value) for each in checkpoint.declared] == [("drop", 0.25), ("dropout_1", 0.125)]


# --- Hostile files ----------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return (eval, ("1 / 0",))


@pytest.fixture
def evil(tmp_path):
    torch.save(Evil(), tmp_path / "evil.pt")
    return (tmp_path / "evil.pt").read_bytes()


def kinds(path):
    with open_export(path) as checkpoint:
        return [each.kind for each in checkpoint.remarks]


def test_a_pickled_weight_is_refused_and_the_others_are_read(network, evil, edited):
    def with_pickle(config):
        config["config"]["own"]["use_pickle"] = True
        return config

    with open_export(edited(weights=with_pickle, first=lambda _: evil)) as checkpoint:
        assert_same(checkpoint, network.state_dict(), without=["own"])
        assert [each.kind for each in checkpoint.remarks] == [UNREADABLE_TENSOR, UNSAFE_GLOBAL]
        assert "builtin" in checkpoint.remarks[1].text


def test_pickled_sample_inputs_are_not_loaded(evil, edited):
    assert kinds(edited(samples=lambda _: evil)) == [UNSAFE_GLOBAL]


@pytest.mark.parametrize(
    ("guard", "found"),
    [
        ("L['x'].size()[0] >= 2", [CONTAINS_CODE]),
        ("isinstance(L['x'], torch.Tensor) and not (L['x'].stride()[1] == 0)", [CONTAINS_CODE]),
        ("__import__('os').system('true') == 0", [CONTAINS_CODE, UNSAFE_GLOBAL]),
        ("open('x').read() == ''", [CONTAINS_CODE, UNSAFE_GLOBAL]),
        ("(lambda: L)() == 0", [CONTAINS_CODE, UNSAFE_GLOBAL]),
        ("L['x'].fn['y']() == 0", [CONTAINS_CODE, UNSAFE_GLOBAL]),
    ],
)
def test_guards_are_code_that_is_not_run(guard, found, edited):
    assert kinds(edited(model=lambda model: {**model, "guards_code": [guard]})) == found


@pytest.mark.parametrize(
    ("expression", "found"),
    [("Mul(Integer(2), Symbol('s77', positive=True, integer=True))", []), ("exec('1 / 0')", [UNSAFE_GLOBAL])],
)
def test_symbolic_sizes_are_not_evaluated(expression, found, edited):
    sizes = {"as_expr": {"expr_str": expression, "hint": None}}
    assert kinds(edited(model=lambda model: {**model, "range_constraints": {"s77": sizes}})) == found


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("torch.ops.aten.relu.default", []),
        ("torch.ops.aten.from_file.default", [UNSAFE_GLOBAL]),
        ("torch.hub.load", [UNSAFE_GLOBAL]),
        ("os.system", [UNSAFE_GLOBAL]),
        ("torch.ops.my_kernels.fused.default", [UNKNOWN_GLOBAL]),
    ],
)
def test_operators_that_no_network_needs_are_told(target, found, edited):
    def change(model):
        model["graph_module"]["graph"]["nodes"][0]["target"] = target
        return model

    assert kinds(edited(model=change)) == found


def entry(**changes):
    def change(config):
        config["config"]["own"] = {**config["config"]["own"], **changes}
        return config

    return change


def layout(**changes):
    def change(config):
        config["config"]["own"]["tensor_meta"].update(changes)
        return config

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": lambda _: {"config": []}}, "must map names"),
        ({"weights": lambda _: {"config": {"a": 3}}}, "must hold path_name"),
        ({"weights": entry(path_name="../models/model.json")}, "no such member"),
        ({"weights": entry(path_name="weight_999")}, "no such member"),
        ({"weights": layout(sizes=[{"as_int": 4}, {"as_int": 6}])}, "reaches element"),
        ({"weights": layout(sizes=[{"as_int": -4}, {"as_int": 5}])}, "no short list of counts"),
        ({"weights": layout(sizes=[{"as_expr": {"expr_str": "s0"}}, {"as_int": 5}])}, "no number"),
        ({"weights": layout(strides=[{"as_int": 1}])}, "do not fit together"),
        ({"weights": layout(sizes=[{"as_int": 1 << 60}] * 3)}, "counts|elements"),
        ({"first": lambda raw: raw[:-1]}, "elements of 4"),
        ({"model": lambda _: b"[]"}, "an object was expected"),
    ],
)
def test_a_file_that_contradicts_itself_is_an_error(change, message, edited):
    with pytest.raises(CorruptCheckpoint, match=message):
        open_export(edited(**change))


def test_an_unknown_dtype_is_remarked(edited):
    assert kinds(edited(weights=layout(dtype=99))) == [UNREADABLE_TENSOR]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: {**model, "schema_version": {"major": 99, "minor": 0}},
        lambda model: {**model, "schema_version": 3},
        lambda model: {**model, "graph_module": "x"},
        lambda model: {**model, "graph_module": {"graph": {"nodes": [3, {}, {"target": "x", "inputs": 3}]}}},
        lambda _: {},
    ],
)
def test_a_graph_that_is_not_known_leaves_the_weights(change, network, edited):
    with open_export(edited(model=change)) as checkpoint:
        assert_same(checkpoint, network.state_dict())
        assert checkpoint.modules == ()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"serialized_exported_program.json": "{}", "version": "1"}, "of PyTorch before 2.8"),
        ({"m/archive_format": "pt2", "m/data/aotinductor/model/x.so": ""}, "compiled with AOTInductor"),
        ({"m/archive_format": "tar", "m/models/model.json": "{}"}, "of the format 'tar'"),
        ({"m/archive_format": "pt2", "m/models/model.json": "{}"}, "layout of another PyTorch"),
    ],
)
def test_other_layouts_are_named(members, message, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    assert FORMAT.claims(look(tmp_path / "a.pt2"))
    with pytest.raises(UnknownFormat, match=message):
        open_export(tmp_path / "a.pt2")


def test_a_file_cut_short_is_an_error(exported, tmp_path):
    raw = exported.read_bytes()
    for end in range(1, len(raw), 199):
        (tmp_path / "b.pt2").write_bytes(raw[:end])
        with pytest.raises(CheckpointError):
            open_export(tmp_path / "b.pt2")
