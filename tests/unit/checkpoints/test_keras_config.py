import numpy as np
import pytest

from regaudit.checkpoints.base import CONTAINS_CODE
from regaudit.checkpoints.keras_config import as_number, class_name, plain_settings, read_network, snake_case
from regaudit.checkpoints.keras_declared import code_in_layers, in_layers, in_training
from regaudit.checkpoints.keras_graph import connect, modules


def layer(kind, name, *, inputs=None, **settings):
    entry = {"class_name": kind, "config": {"name": name, **settings}}
    if inputs is not None:
        entry |= {"name": name, "inbound_nodes": inputs}
    return entry


def sequential(*layers, name="net"):
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def functional(*layers, first, last, name="graph"):
    return {
        "class_name": "Functional",
        "config": {"name": name, "layers": list(layers), "input_layers": first, "output_layers": last},
    }


def network(model):
    root = read_network(model, named=True)
    connect(root)
    return root


def declared(one, *, name="d", kind="Dense", **settings):
    found = in_layers(network(sequential(layer(kind, name, **settings))), "config.json")
    assert {d.target for d in found} <= {f"{one}/{name}"}
    return [(d.site, d.kind, d.value) for d in found]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Dense", "dense"), ("Conv2D", "conv2d"), ("Conv2DTranspose", "conv2d_transpose"), ("PReLU", "p_re_lu"),
        ("LSTM", "lstm"), ("GRUCell", "gru_cell"), ("StackedRNNCells", "stacked_rnn_cells"), ("ReLU", "re_lu"),
        ("SpatialDropout1D", "spatial_dropout1d"), ("RMSNormalization", "rms_normalization"),
    ],
)  # fmt: skip
def test_classes_are_stored_in_snake_case(name, expected):
    assert snake_case(name) == expected


@pytest.mark.parametrize("number", [1e-4, 0.001, 0.01, 3e-7, 0.1, 2.5, 1e-30, 0.0, -0.02])
def test_numbers_that_keras_rounded_are_told_as_they_were_written(number):
    assert as_number(float(np.float32(number))) == number
    assert as_number(number) == number


@pytest.mark.parametrize("value", [None, "0.1", True, [], {}, float("nan"), float("inf"), 10**400])
def test_what_is_no_finite_number_is_none(value):
    assert as_number(value) is None


REGULARIZERS = {
    "L2": ({"class_name": "L2", "config": {"l2": 9.999999747378752e-05}}, [("kernel", "l2", 1e-4)]),
    "both": ({"class_name": "L1L2", "config": {"l1": 0.1, "l2": 0.2}}, [("kernel", "l1", 0.1), ("kernel", "l2", 0.2)]),
    "Keras 2": ({"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}}, [("kernel", "l2", 0.01)]),
    "short l2": ("l2", [("kernel", "l2", 0.01)]),
    "short l1": ("l1", [("kernel", "l1", 0.01)]),
    "short l1_l2": ("l1_l2", [("kernel", "l1", 0.01), ("kernel", "l2", 0.01)]),
    "short L1L2": ("L1L2", []),
    "default": ({"class_name": "L2", "config": {}}, [("kernel", "l2", 0.01)]),
    "orthogonal": (
        {"class_name": "OrthogonalRegularizer", "config": {"factor": 0.5, "mode": "rows"}},
        [("kernel", "orthogonal", 0.5)],
    ),
    "orthogonal by name": ("orthogonal_regularizer", [("kernel", "orthogonal", 0.01)]),
    "custom": ({"class_name": "Mine", "config": {"l2": 1.0}}, [("kernel", "custom", None)]),
    "custom of a known name": (
        {"class_name": "L2", "registered_name": "Mine>L2", "config": {"l2": 1.0}},
        [("kernel", "custom", None)],
    ),
    "no number": ({"class_name": "L2", "config": {"l2": "much"}}, [("kernel", "l2", None)]),
    "none": (None, []),
}


@pytest.mark.parametrize(("value", "expected"), REGULARIZERS.values(), ids=REGULARIZERS.keys())
def test_every_spelling_of_a_regularizer_is_declared(value, expected):
    assert declared("net", kernel_regularizer=value) == expected


@pytest.mark.parametrize(
    ("key", "site"),
    [
        ("bias", "bias"), ("activity", "activity"), ("recurrent", "recurrent"), ("depthwise", "depthwise"),
        ("pointwise", "pointwise"), ("gamma", "scale"), ("beta", "offset"), ("embeddings", "kernel"), ("alpha", "scale"),
    ],
)  # fmt: skip
def test_the_site_is_what_the_penalty_acts_on(key, site):
    (one,) = in_layers(network(sequential(layer("Any", "d", **{f"{key}_regularizer": "l2"}))), "config.json")
    assert (one.site, one.unit, one.where) == (site, "keras", f"config.json: net/d.{key}_regularizer")


CONSTRAINTS = {
    "max norm": ({"class_name": "MaxNorm", "config": {"max_value": 3, "axis": 0}}, ("kernel", "max_norm", 3.0)),
    "by name": ("max_norm", ("kernel", "max_norm", 2.0)),
    "non negative": ({"class_name": "NonNeg", "config": {}}, ("kernel", "non_neg", None)),
    "unit norm": ("unit_norm", ("kernel", "unit_norm", None)),
    "both ends": (
        {"class_name": "MinMaxNorm", "config": {"min_value": 0.5, "max_value": 2.0, "rate": 0.9}},
        ("kernel", "min_max_norm", 2.0),
    ),
    "custom": ({"class_name": "Mine", "config": {}}, ("kernel", "custom", None)),
}


@pytest.mark.parametrize(("value", "expected"), CONSTRAINTS.values(), ids=CONSTRAINTS.keys())
def test_constraints_are_declared(value, expected):
    assert declared("net", kernel_constraint=value) == [expected]


NOISE = {
    "Dropout": ({"rate": 0.3}, [("inputs", "dropout", 0.3)]),
    "SpatialDropout2D": ({"rate": 0.2}, [("inputs", "dropout", 0.2)]),
    "AlphaDropout": ({"rate": 0.1}, [("inputs", "dropout", 0.1)]),
    "GaussianNoise": ({"stddev": 0.1}, [("inputs", "gaussian_noise", 0.1)]),
    "LSTM": (
        {"dropout": 0.1, "recurrent_dropout": 0.2},
        [("inputs", "dropout", 0.1), ("recurrent", "dropout", 0.2)],
    ),
    "MultiHeadAttention": ({"dropout": 0.15, "key_dim": 4}, [("attention", "dropout", 0.15)]),
    "GRU": ({"dropout": 0.0, "recurrent_dropout": 0.0}, []),
    "DropPath": ({"rate": 0.1}, [("inputs", "dropout", 0.1)]),
    "Resize": ({"rate": 0.1}, []),
    "ActivityRegularization": ({"l1": 0.01, "l2": 0.0}, [("activity", "l1", 0.01)]),
}


@pytest.mark.parametrize(("kind", "settings", "expected"), [(k, *v) for k, v in NOISE.items()], ids=NOISE.keys())
def test_dropout_and_noise_are_declared(kind, settings, expected):
    assert declared("net", kind=kind, **settings) == expected


def test_wrapped_layers_declare_their_own():
    bidirectional = layer("Bidirectional", "bi", layer=layer("LSTM", "rnn", kernel_regularizer="l2"))
    wrapped = layer("TimeDistributed", "td", layer=layer("Dense", "d", bias_regularizer="l1"))
    custom = layer("RNN", "own", cell=layer("GRUCell", "cell", recurrent_regularizer="l2"))
    inner = sequential(layer("Dense", "deep", kernel_regularizer="l1"), name="inner")
    found = in_layers(network(sequential(bidirectional, wrapped, custom, inner)), "config.json")
    assert [(d.target, d.site, d.kind) for d in found] == [
        ("net/bi/forward_rnn", "kernel", "l2"),
        ("net/bi/backward_rnn", "kernel", "l2"),
        ("net/td/d", "bias", "l1"),
        ("net/own/cell", "recurrent", "l2"),
        ("net/inner/deep", "kernel", "l1"),
    ]


def test_training_declares_decay_clipping_averaging_and_smoothing():
    optimizer = {
        "class_name": "AdamW",
        "config": {
            "learning_rate": 0.009999999776482582, "weight_decay": 0.02, "clipnorm": 1.0, "clipvalue": None,
            "use_ema": True, "ema_momentum": 0.99,
        },
    }  # fmt: skip
    loss = {"a": "mse", "b": {"class_name": "CategoricalCrossentropy", "config": {"label_smoothing": 0.1}}}
    found = in_training({"optimizer": optimizer, "loss": loss}, "config.json: compile_config")
    assert [(d.site, d.kind, d.value, d.unit) for d in found] == [
        ("parameters", "optimizer", None, ""),
        ("parameters", "decoupled_weight_decay", 0.02, "keras.AdamW"),
        ("gradient", "clip_norm", 1.0, ""),
        ("parameters", "ema", 0.99, ""),
        ("loss", "label_smoothing", 0.1, ""),
    ]
    assert found[1].note == "AdamW, learning rate 0.01"
    assert found[-1].where == "config.json: compile_config.loss.b"


def test_the_optimizer_within_a_loss_scale_is_found():
    inner = {"class_name": "SGD", "config": {"weight_decay": 0.1}}
    found = in_training(
        {"optimizer_config": {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": inner}}}, "t"
    )
    assert [d.value for d in found if d.kind == "decoupled_weight_decay"] == [0.1]


@pytest.mark.parametrize("training", [{}, {"optimizer": None}, {"optimizer": 3, "loss": 4}, {"loss": [[[]]]}])
def test_training_without_settings_declares_no_number(training):
    assert all(d.value is None for d in in_training(training, "t"))


def test_code_in_an_activation_is_found():
    activation = {"class_name": "__lambda__", "config": {"code": "abc"}}
    (remark,) = code_in_layers(network(sequential(layer("Dense", "d", activation=activation))), "config.json")
    assert (remark.kind, remark.where) == (CONTAINS_CODE, "config.json: net/d")


def keras_tensor(*history):
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 3], "keras_history": list(history)}}


def edges(model):
    return {m.name: m.inputs for m in modules(network(model))}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([[["x", 0, 0, {}]]], [[["a", 0, 0, {}], ["x", 0, 0, {}]]]),
        ([["x", 0, 0, {}]], [["a", 0, 0, {"y": ["x", 0, 0]}]]),
        (
            [{"args": [keras_tensor("x", 0, 0)], "kwargs": {"training": False}}],
            [{"args": [[keras_tensor("a", 0, 0), keras_tensor("x", 0, 0)]], "kwargs": {}}],
        ),
    ],
    ids=["Keras 2", "late Keras 2", "Keras 3"],
)
def test_inbound_nodes_tell_who_feeds_a_layer(one, two):
    model = functional(
        layer("InputLayer", "x", inputs=[]), layer("Dense", "a", inputs=one), layer("Add", "sum", inputs=two),
        first=[["x", 0, 0]], last=[["sum", 0, 0]],
    )  # fmt: skip
    assert edges(model) == {"x": (), "a": ("x",), "sum": ("a", "x")}


def test_the_graph_runs_through_nested_models():
    inner = sequential(layer("InputLayer", "i"), layer("Dense", "d"), layer("BatchNormalization", "bn"), name="inner")
    inner |= {"name": "inner", "inbound_nodes": [[["x", 0, 0, {}]]]}
    deep = functional(
        layer("InputLayer", "j", inputs=[]), layer("Dense", "e", inputs=[[["j", 0, 0, {}]]]),
        first=["j", 0, 0], last=["e", 0, 0], name="deep",
    )  # fmt: skip
    deep |= {"name": "deep", "inbound_nodes": [[["inner", 1, 0, {}]]]}
    model = functional(
        layer("InputLayer", "x", inputs=[]), inner, deep, layer("Dense", "out", inputs=[[["deep", 1, 0, {}]]]),
        first=["x", 0, 0], last=["out", 0, 0],
    )  # fmt: skip
    assert edges(model) == {
        "x": (), "inner": ("x",), "inner/i": ("x",), "inner/d": ("inner/i",), "inner/bn": ("inner/d",),
        "deep": ("inner/bn",), "j": ("inner/bn",), "e": ("j",), "out": ("e",),
    }  # fmt: skip


def test_a_chain_feeds_in_order_and_a_wrapper_hands_on():
    model = sequential(
        layer("Dense", "a"), layer("TimeDistributed", "td", layer=layer("Dense", "b")), layer("ReLU", "r")
    )
    assert edges(model) == {"net/a": (), "net/td": ("net/a",), "net/td/b": ("net/a",), "net/r": ("net/td/b",)}


def test_the_bare_list_of_early_keras_is_a_chain():
    assert [m.name for m in modules(network({"class_name": "Sequential", "config": [layer("Dense", "a")]}))] == [
        "sequential/a"
    ]


def test_settings_are_plain_values():
    config = {
        "name": "c", "filters": 4, "strides": [2, 2], "use_bias": False, "padding": "same", "kernel_regularizer": "l2",
        "epsilon": 0.0010000000474974513, "recurrent_activation": "sigmoid", "unknown": {"a": 1}, "seed": None,
        "kernel_initializer": {"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 0.05, "seed": None}},
    }  # fmt: skip
    assert plain_settings({k: v for k, v in config.items() if not k.endswith("_regularizer")}) == {
        "filters": 4, "strides": "2, 2", "use_bias": False, "padding": "same", "epsilon": 0.001,
        "recurrent_activation": "sigmoid", "kernel_initializer": "RandomNormal",
        "kernel_initializer.mean": 0.0, "kernel_initializer.stddev": 0.05,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("relu", "relu"), (None, ""), (3, ""),
        ({"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}}, "LeakyReLU"),
        ({"class_name": "function", "config": "gelu"}, "gelu"),
    ],
)  # fmt: skip
def test_activations_are_told_by_name(value, expected):
    assert class_name(value) == expected
