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
