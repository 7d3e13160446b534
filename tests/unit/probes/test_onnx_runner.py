"""ONNX graphs written byte by byte, run by torch; the same networks in torch are the second opinion."""

import struct

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regaudit.checkpoints.onnx import open_onnx
from regaudit.errors import ConfigError
from regaudit.layers import group
from regaudit.probes.observing import observe
from regaudit.probes.runners.onnx import open_model
from regaudit.probes.runners.onnxruntime import with_outputs

FLOAT, INT64 = 1, 7


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def put(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def constant(name, values):
    array = values.detach().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
    kind = INT64 if array.dtype.kind == "i" else FLOAT
    return b"".join(put(1, n) for n in array.shape) + put(2, kind) + put(8, name) + put(9, array.tobytes())


def attribute(name, value):
    if isinstance(value, list):
        return put(1, name) + b"".join(put(7 if isinstance(n, float) else 8, n) for n in value)
    return put(1, name) + put({int: 3, float: 2, str: 4}[type(value)], value)


def node(op, inputs, outputs, **attributes):
    raw = b"".join(put(1, "" if n == "_" else n) for n in inputs.split()) + b"".join(put(2, n) for n in outputs.split())
    return raw + put(4, op) + b"".join(put(5, attribute(name, value)) for name, value in attributes.items())


def value(name, shape, kind=FLOAT):
    dims = b"".join(put(1, put(2, "n") if n is None else put(1, n)) for n in shape)
    return put(1, name) + put(2, put(1, put(1, kind) + put(2, dims)))


def model(nodes, constants, shape, *, kind=FLOAT, opset=17):
    inner = b"".join(put(1, each) for each in nodes)
    inner += b"".join(put(5, constant(name, each)) for name, each in constants.items())
    inner += put(11, value("x", shape, kind)) + put(12, value("y", [None]))
    return put(1, 8) + put(7, inner) + put(8, put(1, "") + put(2, opset))


@pytest.fixture
def opened(tmp_path):
    """Open a model of some nodes."""

    def open_(nodes, constants, shape, **options):
        path = tmp_path / "m.onnx"
        # A file without weights is no checkpoint: one that nothing takes.
        path.write_bytes(model(nodes, {"unused": torch.zeros(2, 2), **constants}, shape, **options))
        closing.append(open_onnx(path))
        return open_model(closing[-1], group(closing[-1]).layers, "cpu")

    closing = []
    yield open_
    for each in closing:
        each.close()


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def test_a_dense_network_has_the_values_and_gradients_of_torch(opened):
    torch.manual_seed(0)
    first, second, x = nn.Linear(4, 3), nn.Linear(3, 2), draw(5, 2, 4)
    weights = {
        "a.weight": first.weight.T.contiguous(),
        "a.bias": first.bias,
        "b.w": second.weight.T,
        "b.bias": second.bias,
    }
    nodes = [node("MatMul", "x a.weight", "p"), node("Add", "a.bias p", "z"), node("Relu", "z", "r"),
             node("MatMul", "r b.w", "q"), node("Add", "q b.bias", "y")]  # fmt: skip
    runner = opened(nodes, weights, [None, 2, 4])
    output, seen = observe(runner, {"x": x})
    expected = second(first(x).relu())
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(seen["a"].linear, first(x))
    torch.testing.assert_close(seen["a"].activity, first(x).relu())
    assert [(each.layer, each.kernel, each.bias) for each in runner.places] == [
        ("a", "a.weight", "a.bias"), ("b", "b.w", "b.bias"),
    ]  # fmt: skip
    output.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(runner.network.get_parameter("a.weight").grad, first.weight.grad.T)


def test_a_convolutional_network(opened):
    torch.manual_seed(0)
    conv, norm, x = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(4).eval(), draw(3, 2, 7, 7)
    norm.running_mean.normal_()
    state = {f"conv.{k}": v for k, v in conv.state_dict().items()} | {
        f"bn.{k}": v for k, v in norm.state_dict().items() if v.ndim
    }
    nodes = [node("Conv", "x conv.weight conv.bias", "c", pads=[1, 1, 1, 1], strides=[2, 2], group=2),
             node("BatchNormalization", "c bn.weight bn.bias bn.running_mean bn.running_var", "n"),
             node("LeakyRelu", "n", "r", alpha=0.2), node("MaxPool", "r", "m", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
             node("GlobalAveragePool", "m", "g"), node("Flatten", "g", "y")]  # fmt: skip
    runner = opened(nodes, state, [None, 2, 7, 7])
    y = F.max_pool2d(F.pad(F.leaky_relu(norm(conv(x)), 0.2), (0, 1, 0, 1), value=-torch.inf), 2, 1).mean((2, 3))
    torch.testing.assert_close(runner({"x": x}), y)
    assert [(each.layer, each.channel_axis) for each in runner.places] == [("conv", 1)]
    assert set(dict(runner.network.named_buffers())) >= {"bn.running_mean", "bn.running_var"}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_operators_in_both_directions(kind, opened):
    torch.manual_seed(0)
    module, x = getattr(nn, kind)(3, 4, bidirectional=True), draw(6, 2, 3)
    order = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}[kind]  # ONNX's gates among torch's

    def stacked(name):
        return torch.stack([torch.cat([torch.cat(
            [getattr(module, f"{part}_l0{end}").chunk(len(order))[k] for k in order]) for part in name])
            for end in ("", "_reverse")])  # fmt: skip

    weights = {"w": stacked(["weight_ih"]), "r": stacked(["weight_hh"]), "b": stacked(["bias_ih", "bias_hh"])}
    options = {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes = [node(kind, "x w r b", "o", hidden_size=4, direction="bidirectional", **options),
             node("Transpose", "o", "t", perm=[0, 2, 1, 3]), node("Reshape", "t shape", "y")]  # fmt: skip
    runner = opened(nodes, {**weights, "shape": [0, 0, -1]}, [6, None, 3])
    torch.testing.assert_close(runner.network(x), module(x)[0])


X = draw(2, 3, 4)
# Operator, its other inputs, attributes, opset, and what it gives.
CASES = [
    ("Softmax", {}, {}, 12, lambda x: x.flatten(1).softmax(-1).reshape(x.shape)),
    ("Softmax", {}, {}, 13, lambda x: x.softmax(-1)),
    ("Squeeze", {}, {"axes": [0]}, 11, None),
    ("Clip", {}, {"min": -0.5, "max": 0.5}, 6, lambda x: x.clamp(-0.5, 0.5)),
    ("Clip", {"low": -0.5, "high": 0.5}, {}, 13, lambda x: x.clamp(-0.5, 0.5)),
    ("Slice", {}, {"starts": [1], "ends": [3], "axes": [2]}, 9, lambda x: x[:, :, 1:3]),
    ("Slice", {"s": [-1], "e": [-100], "a": [1], "t": [-1]}, {}, 13, lambda x: x.flip(1)),
    ("Pad", {}, {"pads": [0, 1, 0, 0, 0, 2], "value": 3.0}, 10, lambda x: F.pad(x, (0, 2, 1, 0), value=3.0)),
    ("Pad", {"p": [0, 1, 1, 0, 1, 1]}, {"mode": "reflect"}, 13, lambda x: F.pad(x[None], (1, 1, 1, 1), "reflect")[0]),
    ("ReduceMean", {}, {"axes": [1], "keepdims": 0}, 13, lambda x: x.mean(1)),
    ("ReduceSum", {"a": [-1]}, {}, 13, lambda x: x.sum(-1, keepdim=True)),
    ("Unsqueeze", {"a": [0, 4]}, {}, 13, lambda x: x[None, ..., None]),
    ("Gather", {"i": [0, -1]}, {"axis": 2}, 13, lambda x: x[:, :, [0, -1]]),
    ("Expand", {"s": [2, 1, 1, 1]}, {}, 13, lambda x: x.expand(2, 2, 3, 4)),
    ("Tile", {"s": [1, 2, 1]}, {}, 13, lambda x: x.repeat(1, 2, 1)),
    ("Reshape", {"s": [0, -1]}, {}, 13, lambda x: x.flatten(1)),
    ("HardSigmoid", {}, {}, 13, lambda x: (0.2 * x + 0.5).clamp(0, 1)),
    ("Selu", {}, {}, 13, torch.selu),
    ("CumSum", {"a": 1}, {"exclusive": 1}, 13, lambda x: x.cumsum(1) - x),
    (
        "Resize",
        {"_": [], "s": [1.0, 1.0, 2.0]},
        {"mode": "linear"},
        13,
        lambda x: F.interpolate(x, scale_factor=2, mode="linear"),
    ),
    ("TopK", {"k": [2]}, {}, 13, lambda x: x.topk(2).values),
    ("Trilu", {}, {"upper": 0}, 14, torch.tril),
    ("Mod", {"m": 0.7}, {"fmod": 1}, 13, lambda x: x.fmod(0.7)),
]


@pytest.mark.parametrize(("op", "others", "attributes", "opset", "expected"), CASES)
def test_operators_of_each_version(op, others, attributes, opset, expected, opened):
    runner = opened([node(op, " ".join(["x", *others]), "y", **attributes)],
                    {name: each for name, each in others.items() if name != "_"}, [None, 3, 4], opset=opset)  # fmt: skip
    if expected is None:
        with pytest.raises(ConfigError, match="longer than 1"):
            runner({"x": X})
    else:
        torch.testing.assert_close(runner({"x": X}), expected(X))


def test_an_embedding_is_a_layer_of_ids(opened):
    table = draw(7, 3)
    runner = opened([node("Gather", "emb.weight x", "y")], {"emb.weight": table}, [None, 2], kind=INT64)
    ids = torch.tensor([[1, 6], [0, 2]])
    torch.testing.assert_close(runner({"x": ids}), table[ids])
    assert [each.layer for each in runner.places] == ["emb"]


def test_a_graph_for_one_batch_size_runs_on_any(opened):
    kernel = draw(3, 4)
    nodes = [node("MatMul", "x k.weight", "p"), node("Reshape", "p s", "y")]
    runner = opened(nodes, {"k.weight": kernel, "s": [2, 4, 1]}, [2, 3])
    x = torch.randn(5, 3)
    torch.testing.assert_close(runner({"x": x}), (x @ kernel)[..., None])
    assert "exactly 2 examples" in runner.notes[0]


@pytest.mark.parametrize(("op", "shape"), [("Expand", [10**6, 10**6, 1, 1, 1]), ("Tile", [10**6, 10**6, 1])])
def test_a_value_that_no_machine_holds_is_refused_before_it_is_made(op, shape, opened):
    runner = opened([node(op, "x s", "y")], {"s": shape}, [None, 3, 4])
    with pytest.raises(ConfigError, match="elements are made"):
        runner({"x": X})


def test_operators_that_are_not_known_are_named_with_both_ways_out(opened, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"Det.*regaudit\[onnx\].*--model") as caught:
        opened([node("Det", "x", "a"), node("GRU", "x w r", "y", hidden_size=1)], {}, [None, 3, 3])
    assert "GRU (reset before the product)" in str(caught.value)


def test_onnxruntime_runs_the_rest_without_gradients(opened):
    pytest.importorskip("onnxruntime")
    x, kernel = draw(2, 3, 3), draw(3, 3)
    nodes = [node("MatMul", "x k.weight", "z"), node("Relu", "z", "a"), node("Det", "a", "y")]
    runner = opened(nodes, {"k.weight": kernel}, [None, 3, 3])
    output, seen = observe(runner, {"x": x})
    torch.testing.assert_close(output, (x @ kernel).relu().det(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen["k"].linear, x @ kernel)
    torch.testing.assert_close(seen["k"].activity, (x @ kernel).relu())
    assert (runner.kind, runner.is_differentiable) == ("onnxruntime", False)
    assert "Det" in runner.notes[0]


def test_outputs_are_added_behind_a_graph():
    added = with_outputs(b"model", ["a", "bc"])
    assert added == b"model" + put(7, put(12, put(1, "a")) + put(12, put(1, "bc")))
