import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regaudit.checkpoints.base import CONTAINS_CODE, UNSAFE_GLOBAL
from regaudit.checkpoints.sniff import look
from regaudit.checkpoints.torch_script import FORMAT, open_script
from regaudit.checkpoints.torch_script_code import behaviour, classes, plain_name
from regaudit.errors import CheckpointError
from regaudit.records import Axis, Use

pytestmark = pytest.mark.filterwarnings("ignore")  # torch calls its own TorchScript deprecated


class Network(nn.Module):
    note: torch.Tensor

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.25))
        self.skip = nn.Identity()
        self.rnn = nn.LSTM(4, 5)
        self.fc1 = nn.Linear(5, 6)
        self.fc2 = nn.Linear(6, 6)
        self.head = nn.Linear(6, 5, bias=False)
        self.head.weight = nn.Parameter(torch.ones(5, 6))
        self.register_buffer("kept", torch.ones(2))
        self.note = torch.zeros(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(self.skip(self.features(x)).transpose(1, 2))
        y = F.relu(self.fc1(y))
        y = F.dropout(y, 0.125, self.training)
        z = self.fc2(y)
        return self.head(torch.tanh(z) + z)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture
def saved(tmp_path):
    """Save a program, open it with regaudit, close afterwards."""
    opened = []

    def save(program, name="model.pt"):
        program.save(str(tmp_path / name))
        assert FORMAT.claims(look(tmp_path / name))
        opened.append(open_script(tmp_path / name))
        return opened[-1]

    yield save
    for each in opened:
        each.close()


def values(checkpoint, tensor):
    return checkpoint.read(tensor, 0, tensor.size).reshape(tensor.shape)


def assert_same(checkpoint, state):
    assert {each.name for each in checkpoint.tensors} == set(state)
    for tensor in checkpoint.tensors:
        np.testing.assert_array_equal(values(checkpoint, tensor), state[tensor.name].numpy())


def test_a_scripted_network_gives_its_state_dict(network, saved):
    checkpoint = saved(torch.jit.script(network))
    assert_same(checkpoint, network.state_dict())
    assert checkpoint.format == "TorchScript"


def test_a_traced_network_gives_its_state_dict(network, saved):
    checkpoint = saved(torch.jit.trace(network, torch.ones(2, 3, 7)))
    assert_same(checkpoint, network.state_dict())
    modules = {each.name: each for each in checkpoint.modules}
    assert modules["fc1"].type == "torch.nn.modules.linear.Linear"
    assert modules["fc1"].activation == "relu"


def test_tensors_that_are_plain_attributes_are_apart(network, saved):
    assert [each.name for each in saved(torch.jit.script(network)).apart] == ["note"]


def test_modules_tell_class_constants_and_activation(network, saved):
    modules = {each.name: each for each in saved(torch.jit.script(network)).modules}
    assert modules["features.0"].type == "torch.nn.modules.conv.Conv1d"
    assert modules["features.1"].settings["eps"] == 1e-5
    assert modules["rnn"].type == "torch.nn.modules.rnn.LSTM"
    bent = {name: each.activation for name, each in modules.items() if each.activation}
    assert bent == {"features.1": "relu", "fc1": "relu"}  # fc2's output is used twice


def test_dropout_is_declared_from_modules_and_functions(network, saved):
    declared = saved(torch.jit.script(network)).declared
    assert [(each.target, each.value) for each in declared] == [("", 0.125), ("features.3", 0.25)]


def test_the_program_is_remarked_and_nothing_else(network, saved):
    assert [each.kind for each in saved(torch.jit.script(network)).remarks] == [CONTAINS_CODE]


def test_a_frozen_program_gives_its_constants_with_their_use(saved):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    checkpoint = saved(torch.jit.freeze(torch.jit.script(model)))
    assert checkpoint.format == "TorchScript, frozen"
    kernels = [each for each in checkpoint.tensors if each.use is Use.KERNEL]
    assert [each.axes for each in kernels] == [(Axis.OUT, Axis.IN)] * 2
    assert [each.type for each in checkpoint.modules] == ["Linear", "Linear"]
    assert {each.layer for each in checkpoint.tensors} == {"linear", "linear_1"}
    for tensor, name in zip(kernels, ("0.weight", "2.weight"), strict=True):
        np.testing.assert_array_equal(values(checkpoint, tensor), model.state_dict()[name].numpy())


def test_quantised_weights_are_remarked(saved):
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), {nn.Linear})
    checkpoint = saved(torch.jit.script(model))
    assert "LayerNorm" in " ".join(each.type for each in checkpoint.modules)
    assert any("quantised" in each.text for each in checkpoint.remarks)


def rezip(path, change):
    with zipfile.ZipFile(path) as old:
        members = change({name: old.read(name) for name in old.namelist()})
    with zipfile.ZipFile(path, "w") as new:
        for name, raw in members.items():
            new.writestr(name, raw)


def test_without_its_text_the_weights_are_still_read(network, tmp_path):
    torch.jit.script(network).save(str(tmp_path / "a.pt"))
    rezip(tmp_path / "a.pt", lambda members: {n: raw for n, raw in members.items() if not n.endswith(".py")})
    with open_script(tmp_path / "a.pt") as checkpoint:
        assert {each.name for each in checkpoint.tensors} == {*network.state_dict(), "note"}
        assert checkpoint.remarks == ()


def test_what_the_pickle_wants_to_call_is_told(network, tmp_path):
    torch.jit.script(network).save(str(tmp_path / "a.pt"))
    call = b"cposix\nsystem\nX\x02\x00\x00\x00id\x85R0"
    rezip(
        tmp_path / "a.pt",
        lambda members: {n: raw[:2] + call + raw[2:] if n.endswith("data.pkl") else raw for n, raw in members.items()},
    )
    with open_script(tmp_path / "a.pt") as checkpoint:
        assert [each.kind for each in checkpoint.remarks] == [UNSAFE_GLOBAL, CONTAINS_CODE]


def test_a_file_cut_short_is_an_error(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "a.pt"))
    raw = (tmp_path / "a.pt").read_bytes()
    for end in range(1, len(raw), 31):
        (tmp_path / "b.pt").write_bytes(raw[:end])
        with pytest.raises(CheckpointError):
            open_script(tmp_path / "b.pt")


def test_a_program_without_weights_is_an_error(tmp_path):
    torch.jit.script(nn.ReLU()).save(str(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match="without weights"):
        open_script(tmp_path / "a.pt")


# --- Text -------------------------------------------------------------------------------------------------------------


def test_marks_are_taken_from_names():
    assert plain_name("__torch__.torch.nn.modules.linear.___torch_mangle_12.Linear") == "torch.nn.modules.linear.Linear"


def test_classes_list_state_and_constants():
    found = classes(
        "class A(Module):\n"
        '  __parameters__ = ["w", ]\n'
        '  __buffers__ = ["m", ]\n'
        "  p : Final[float] = 0.10000000000000001\n"
        '  mode : Final[str] = "same"\n'
        "  n : Final[int] = open('x')\n"
        "  def forward(self: __torch__.A,\n"
        "    x: Tensor) -> Tensor:\n"
        "    return torch.relu(x)\n"
        "  def other(self: __torch__.A) -> int:\n"
        "    return 3\n"
    )
    assert found["A"].state == {"w", "m"}
    assert found["A"].settings == {"p": 0.1, "mode": "same"}
    assert found["A"].forward[-1] == "return torch.relu(x)"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["fc = self.fc", "a = (fc).forward(x, )", "return torch.relu(a)"], {"fc": "relu"}),
        (["fc = self.fc", "return torch.gelu((fc).forward(x, ))"], {"fc": "gelu"}),
        (['fc = getattr(self, "fc")', "act = self.act", "return (act).forward((fc).forward(x, ), )"], {"fc": "silu"}),
        (["fc = self.fc", "_0 = __torch__.torch.nn.functional.relu", "return _0((fc).forward(x, ), False, )"], {"fc": "relu"}),
        (["fc = self.fc", "d = self.drop", "a = (d).forward((fc).forward(x, ), )", "return torch.tanh(a)"], {"fc": "tanh"}),
        (["fc = self.fc", "a = (fc).forward(x, )", "b = torch.relu(a)", "return torch.add(a, b)"], {}),
        (["fc = self.fc", "a = torch.mul((fc).forward(x, ), 2)", "return torch.relu(a)"], {}),
        (["return my.relu((self.fc).forward(x, ))"], {}),
        (["fc = self.fc", "((((", "x" * 5000, "return torch.relu((fc).forward(x, ))"], {"fc": "relu"}),
    ],
)  # fmt: skip
def test_an_activation_takes_an_output_directly_and_alone(lines, found):
    children = {
        "fc": "__torch__.torch.nn.modules.linear.Linear",
        "act": "__torch__.torch.nn.modules.activation.___torch_mangle_3.SiLU",
        "drop": "__torch__.torch.nn.modules.dropout.Dropout",
    }
    assert behaviour(lines, children).activations == found


@pytest.mark.parametrize(
    ("lines", "rates"),
    [
        (["return torch.dropout(x, 0.5, False)"], [0.5]),
        (
            ["_0 = __torch__.torch.nn.functional.___torch_mangle_2.dropout", "return _0(x, 0.1, training, False, )"],
            [0.1],
        ),
        (["return torch.dropout(x, p, False)", "return torch.relu(x)", "return torch.dropout(x, 7., False)"], []),
    ],
)
def test_rates_of_dropout_functions_are_found(lines, rates):
    assert list(behaviour(lines, {}).dropout) == rates
