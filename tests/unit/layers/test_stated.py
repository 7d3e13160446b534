"""What the file's own graph says goes before names and shapes."""

from dataclasses import replace

import numpy as np
import pytest

from regaudit.layers import group
from regaudit.records import Axis, Module, Role, Use

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP


@pytest.fixture
def grouped(checkpoint):
    def call(arrays, said, modules=()):
        plain = checkpoint(arrays)
        tensors = tuple(
            replace(t, layer=said[t.name][0], use=said[t.name][1], axes=said[t.name][2]) for t in plain.tensors
        )
        return {each.name: each for each in group(replace(plain, tensors=tensors, modules=modules)).layers}

    return call


def test_anonymous_arrays_get_their_layer_and_orientation(grouped):
    kernel, bias = np.ones((4, 6), "f4"), np.ones(6, "f4")
    said = {"onnx::MatMul_12": ("fc", Use.KERNEL, (IN, OUT)), "b7": ("fc", Use.BIAS, (OUT,))}
    layer = grouped(
        {"onnx::MatMul_12": kernel, "b7": bias}, said, (Module(name="fc", type="MatMul", activation="Relu"),)
    )["fc"]
    assert (layer.role, layer.op, layer.activation) == (Role.DENSE, "MatMul", "Relu")
    assert layer.get(Use.KERNEL).axes == (IN, OUT)
    assert layer.get(Use.BIAS).tensors == ("b7",)


def test_one_channel_per_group_is_depthwise(grouped):
    said = {"w": ("c", Use.KERNEL, (OUT, IN, TAP))}
    layer = grouped({"w": np.ones((8, 1, 3), "f4")}, said, (Module(name="c", type="Conv", settings={"group": 8}),))["c"]
    assert layer.role is Role.DEPTHWISE


def test_gates_are_cut_in_the_stated_order(grouped):
    kernel = np.repeat(np.arange(4, dtype="f4"), 2)[:, None] * np.ones((8, 3), "f4")
    layers = grouped(
        {"W": kernel},
        {"W": ("rnn", Use.KERNEL, (OUT, IN))},
        (Module(name="rnn", type="LSTM", settings={"gates": "iofc"}),),
    )
    assert list(layers) == ["rnn[gate i]", "rnn[gate o]", "rnn[gate f]", "rnn[gate c]"]
    assert [float(each.get(Use.KERNEL).load(0, 1)[0, 0]) for each in layers.values()] == [0, 1, 2, 3]


def test_normalizations_need_no_names(grouped):
    said = {"a": ("n", Use.SCALE, (OUT,)), "b": ("n", Use.OFFSET, (OUT,))}
    layer = grouped(
        {"a": np.ones(4, "f4"), "b": np.zeros(4, "f4")}, said, (Module(name="n", type="LayerNormalization"),)
    )["n"]
    assert layer.role is Role.NORM


def test_two_arrays_of_one_use_are_two_layers(grouped):
    said = dict.fromkeys(("a", "b"), ("fc", Use.KERNEL, (OUT, IN)))
    assert set(grouped({"a": np.ones((2, 2), "f4"), "b": np.ones((3, 2), "f4")}, said)) == {"fc", "fc#2"}


def test_one_network_is_the_same_by_names_and_by_its_graph(grouped, checkpoint, numbers):
    shapes = {"conv.weight": (8, 4, 3), "conv.bias": (8,), "rnn.weight_ih": (32, 8), "rnn.weight_hh": (32, 8),
              "fc.weight": (3, 8), "fc.bias": (3,)}  # fmt: skip
    arrays = {name: numbers(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    named = group(checkpoint(arrays)).layers
    exported = {
        "c": arrays["conv.weight"], "cb": arrays["conv.bias"], "W": arrays["rnn.weight_ih"],
        "R": arrays["rnn.weight_hh"], "m": np.ascontiguousarray(arrays["fc.weight"].T), "mb": arrays["fc.bias"],
    }  # fmt: skip
    said = {
        "c": ("conv", Use.KERNEL, (OUT, IN, TAP)), "cb": ("conv", Use.BIAS, (OUT,)),
        "W": ("rnn.weight_ih", Use.KERNEL, (OUT, IN)), "R": ("rnn.weight_hh", Use.KERNEL, (OUT, IN)),
        "m": ("fc", Use.KERNEL, (IN, OUT)), "mb": ("fc", Use.BIAS, (OUT,)),
    }  # fmt: skip
    modules = (
        Module(name="conv", type="Conv"),
        Module(name="rnn.weight_ih", type="LSTM", settings={"gates": "ifgo"}),
        Module(name="rnn.weight_hh", type="LSTM", settings={"gates": "ifgo"}),
        Module(name="fc", type="MatMul"),
    )
    stated = grouped(exported, said, modules)
    for each in named:
        other = stated[each.name]
        assert (other.role, other.part) == (each.role, each.part)
        np.testing.assert_array_equal(matrix(other), matrix(each))


def matrix(layer):
    """Return the kernel with its OUT axis first."""
    kernel = layer.get(Use.KERNEL)
    return np.moveaxis(kernel.load(0, kernel.shape[0]), kernel.axes.index(OUT), 0)


def test_an_estimator_is_a_dense_layer_with_one_output(grouped):
    said = {"coef_": ("coef_", Use.KERNEL, (IN,)), "intercept_": ("coef_", Use.BIAS, ())}
    arrays = {"coef_": np.ones(5, "f4"), "intercept_": np.ones((), "f4")}
    layer = grouped(arrays, said, (Module(name="coef_", type="Ridge"),))["coef_"]
    assert (layer.role, layer.op, layer.get(Use.KERNEL).axes) == (Role.DENSE, "Ridge", (IN,))
    assert layer.evidence == ("the file says how it is used: Ridge",)
