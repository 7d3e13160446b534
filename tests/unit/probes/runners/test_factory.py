"""The user's code builds the network, the checkpoint's tensors go into it; whatever does not fit is one clear error."""

import re
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from regaudit.checkpoints import open_checkpoint
from regaudit.config import Probing
from regaudit.errors import ConfigError
from regaudit.layers import group
from regaudit.probes.observing import observe
from regaudit.probes.runners import open_runner

MLP = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
"""


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def opened(tmp_path):
    def opened(tensors, source=MLP, name="build", **options):
        save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "model.safetensors")
        (tmp_path / "model.py").write_text(source)
        with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
            layers = group(checkpoint).layers
            probing = Probing(model=f"{tmp_path}/model.py:{name}", **options)
            return open_runner(checkpoint, layers, probing, "cpu")

    return opened


def mlp():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def test_the_model_runs_with_the_tensors_of_the_file(opened):
    net, x = mlp(), torch.randn(3, 4)
    runner = opened(net.state_dict())
    torch.testing.assert_close(runner({"x": x}), net(x), rtol=0, atol=0)
    assert (runner.kind, runner.ran_code, runner.notes) == ("factory", True, ())
    assert runner.names == {name: name for name in net.state_dict()}
    assert [place.layer for place in runner.places] == ["0", "2"]
    assert runner.inputs[0].shape == (None, 4)
    assert all(p.is_leaf and p.requires_grad and p.dtype is torch.float32 for p in runner.network.parameters())
    assert not runner.network.training


def test_parameters_can_be_replaced(opened):
    runner = opened(mlp().state_dict())
    x, params = torch.randn(3, 4), {k: v * 2 for k, v in runner.network.named_parameters()}
    output = torch.func.functional_call(runner.network, params, (x,))
    seen = observe(runner, {"x": x}, params)
    torch.testing.assert_close(output, seen[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64])
def test_other_dtypes_become_float32(opened, dtype):
    net, x = mlp(), torch.randn(3, 4)
    runner = opened({k: v.to(dtype) for k, v in net.state_dict().items()})
    expected = mlp()
    expected.load_state_dict({k: v.to(dtype).float() for k, v in net.state_dict().items()})
    torch.testing.assert_close(runner({"x": x}), expected(x))


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "model._orig_mod.", "state_dict.net."])
def test_prefixes_are_stripped(opened, prefix):
    net, x = mlp(), torch.randn(3, 4)
    runner = opened({prefix + k: v for k, v in net.state_dict().items()})
    torch.testing.assert_close(runner({"x": x}), net(x))
    assert len(runner.places) == 2


def test_a_prefix_of_the_models_own_is_added(opened):
    source = MLP.replace(
        "def build():\n    return ",
        "class Net(nn.Module):\n  def __init__(self):\n    super().__init__()\n    self.net = ",
    )
    source += "\n  def forward(self, x):\n    return self.net(x)\n"
    net, x = mlp(), torch.randn(3, 4)
    runner = opened(net.state_dict(), source, "Net")
    torch.testing.assert_close(runner({"x": x}), net(x))
    assert runner.notes == ("Names of the file were matched with 'net.' in front.",)


def test_a_second_set_of_weights_is_said(opened):
    net, other, x = mlp(), mlp(), torch.randn(3, 4)
    tensors = {f"a.{k}": v for k, v in net.state_dict().items()} | {f"b.{k}": v for k, v in other.state_dict().items()}
    runner = opened(tensors)
    torch.testing.assert_close(runner({"x": x}), net(x))
    assert "would fit as well" in runner.notes[0]
    assert {each.reason for each in runner.skips} == {"its kernel is not in the model that runs"}


def test_kernels_in_keras_layout_are_transposed(opened):
    source = MLP.replace("nn.Sequential(", "nn.Sequential(OrderedDict(fc=").replace(
        ", nn.ReLU(), nn.Linear", ", act=nn.ReLU(), head=nn.Linear"
    )
    source = source.replace("6, 2))", "6, 2)))").replace(
        "from torch", "from collections import OrderedDict\nfrom torch"
    )
    net, x = mlp(), torch.randn(3, 4)
    tensors = {
        "fc/kernel": net[0].weight.T, "fc/bias": net[0].bias, "head/kernel": net[2].weight.T, "head/bias": net[2].bias,
    }  # fmt: skip
    runner = opened({k: v.detach() for k, v in tensors.items()}, source)
    torch.testing.assert_close(runner({"x": x}), net(x))
    assert "were transposed" in runner.notes[0]


def test_weight_norm_is_put_in_as_its_product(opened):
    net, x = mlp(), torch.randn(3, 4)
    state = net.state_dict()
    kernel = state.pop("0.weight")
    norm = kernel.norm(dim=1, keepdim=True)
    runner = opened(state | {"0.weight_g": norm, "0.weight_v": 3 * kernel})
    torch.testing.assert_close(runner({"x": x}), net(x))
    assert {place.layer: place.kernel for place in runner.places} == {"0": "0.weight", "2": "2.weight"}


def test_a_parametrized_network_takes_the_pieces(opened):
    source = MLP.replace("nn.Linear(4, 6)", "nn.utils.parametrizations.weight_norm(nn.Linear(4, 6))")
    net, x = mlp(), torch.randn(3, 4)
    nn.utils.parametrizations.weight_norm(net[0])
    runner = opened(net.state_dict(), source)
    output, seen = observe(runner, {"x": x})
    torch.testing.assert_close(output, net(x))
    torch.testing.assert_close(seen["0"].linear, net[0](x))
    assert seen["0"].place.kernel == ""


def test_tied_weights_need_to_be_there_once(opened):
    source = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.emb.weight
    def forward(self, ids):
        return self.head(self.emb(ids))
"""
    table = torch.randn(7, 4)
    runner = opened({"emb.weight": table}, source, "Net")
    ids = torch.arange(3)[:, None]
    torch.testing.assert_close(runner({"x": ids}), table[ids] @ table.T)
    assert (runner.inputs[0].name, runner.inputs[0].dtype) == ("ids", "I64")


def test_fused_projections_become_columns(opened):
    source = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return q * k + v
"""
    layer, x = nn.Linear(8, 24), torch.randn(2, 8)
    runner = opened({f"qkv.{k}": v for k, v in layer.state_dict().items()}, source, "Net")
    assert [place.columns for place in runner.places] == [(0, 8), (8, 16), (16, 24)]
    _, seen = observe(runner, {"x": x})
    torch.testing.assert_close(seen["qkv[value]"].linear, layer(x)[:, 16:])


def test_torchs_attention_and_recurrent_layers(opened):
    source = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn, self.lstm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LSTM(8, 5, batch_first=True)
    def forward(self, x):
        return self.lstm(self.attn(x, x, x)[0])
"""
    attn, lstm, x = nn.MultiheadAttention(8, 2, batch_first=True), nn.LSTM(8, 5, batch_first=True), torch.randn(2, 3, 8)
    state = {f"attn.{k}": v for k, v in attn.state_dict().items()} | {
        f"lstm.{k}": v for k, v in lstm.state_dict().items()
    }
    runner = opened(state, source, "Net")
    output, seen = observe(runner, {"x": x})
    torch.testing.assert_close(output, lstm(attn(x, x, x)[0])[0])
    torch.testing.assert_close(seen["attn.out_proj"].linear, attn(x, x, x)[0])
    key = x @ attn.in_proj_weight[8:16].T + attn.in_proj_bias[8:16]
    torch.testing.assert_close(seen["attn.in_proj_weight[key]"].linear, key)
    assert len(runner.skips) == 8  # gates
    assert all("one step" in each.reason for each in runner.skips)


def test_extra_tensors_are_a_note(opened):
    runner = opened(mlp().state_dict() | {"teacher.weight": torch.ones(3, 3)})
    assert runner.notes == ("1 tensors of the file are not in the model: 'teacher.weight'.",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("2.weight"), r"the model's '2.weight' \(2, 6\) is not in the file"),
        (lambda s: s.update({"2.weigth": s.pop("2.weight")}), r"'2.weight' \(2, 6\) .*the closest are '2.weigth'"),
        (
            lambda s: s.update({"0.weight": torch.ones(6, 5)}),
            r"'0.weight' has shape \(6, 4\), the file's '0.weight' \(6, 5\)",
        ),
        (
            lambda s: s.update({"0.weight": torch.ones(4, 6)}),
            r"'0.weight' has shape \(6, 4\), the file's '0.weight' \(4, 6\)",
        ),
        (lambda s: s.pop("0.bias"), "'0.bias'"),
    ],
)
def test_what_does_not_fit_is_an_error(opened, change, said):
    state = mlp().state_dict()
    change(state)
    with pytest.raises(ConfigError, match=said):
        opened(state)


def test_another_models_file_is_told_as_missing_not_as_renamed(opened):
    with pytest.raises(ConfigError, match=r"the model's '0.weight' \(6, 4\) is not in the file"):
        opened({"block.weight": torch.ones(3, 3), "block.bias": torch.ones(3)})


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("def build():\n    return open('/no/such')\n", "build", r"FileNotFoundError: .*/no/such.* \(model.py:2 build"),
        ("def build(width):\n    pass\n", "build", "TypeError: .*width.*without arguments"),
        ("def build():\n    return 3\n", "build", "returned int, expected a torch.nn.Module"),
        ("def make():\n    pass\n", "build", "has no 'build'; callables that it has: make"),
        ("build = 3\n", "build", "is int, expected a function"),
        ("import no_such_package\n", "build", "importing .*model.py raised ModuleNotFoundError"),
        ("def build(:\n", "build", "SyntaxError"),
        ("import sys\ndef build():\n    sys.exit(3)\n", "build", "SystemExit"),
    ],
)
def test_a_factory_that_fails_is_told(opened, source, name, said):
    with pytest.raises(ConfigError, match=re.compile(said, re.DOTALL)):
        opened(mlp().state_dict(), source, name)


@pytest.mark.parametrize("spec", ["no/such.py:build", "model.py", ":build", "no_such_module:build"])
def test_a_factory_that_is_not_there_is_told(opened, spec, tmp_path):
    save_file(mlp().state_dict(), tmp_path / "m.safetensors")
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint, pytest.raises(ConfigError):
        open_runner(checkpoint, (), Probing(model=spec), "cpu")


def test_what_lies_beside_the_file_can_be_imported_and_prints_go_to_stderr(opened, tmp_path, capsys):
    (tmp_path / "beside_it.py").write_text(MLP)
    before = list(sys.path)
    opened(mlp().state_dict(), "def build():\n    print('hello')\n    import beside_it\n    return beside_it.build()\n")
    assert sys.path == before
    assert capsys.readouterr() == ("", "hello\n")


def test_nothing_executable_says_what_would_be(opened, tmp_path):
    save_file(mlp().state_dict(), tmp_path / "m.safetensors")
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint:
        with pytest.raises(ConfigError, match=r"--model FILE\.py:build.*--activation relu"):
            open_runner(checkpoint, (), Probing(), "cpu")
        layers = group(checkpoint).layers
        runner = open_runner(checkpoint, layers, Probing(activation="relu"), "cpu")
    assert runner.kind == "stack"


def test_several_inputs_go_by_name(opened):
    source = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 1)
    def forward(self, left, right, scale=1.0):
        return {"other": right, "logits": self.fc(left - right) * scale}
"""
    layer = nn.Linear(4, 1)
    runner = opened({f"fc.{k}": v for k, v in layer.state_dict().items()}, source, "Net")
    left, right = torch.randn(2, 3, 4)
    assert [each.name for each in runner.inputs] == ["left", "right"]
    torch.testing.assert_close(runner({"right": right, "left": left}), layer(left - right))


def test_the_layers_of_a_large_float16_file_do_not_change_by_loading(opened):
    """More elements than are decoded at once."""
    source = "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.Linear(1100, 1000))\n"
    weight, bias = torch.randn(1000, 1100).half(), torch.randn(1000).half()
    runner = opened({"0.weight": weight, "0.bias": bias}, source)
    np.testing.assert_array_equal(runner.network[0].weight.detach().numpy(), weight.float().numpy())
