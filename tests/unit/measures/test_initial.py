"""Which initialisation is assumed, checked against what the framework really draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.measures.initial import initial_std
from regaudit.records import Axis, Role

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP
TORCH_MODULES = {
    "Linear": (lambda nn: nn.Linear(300, 400), "weight", (OUT, IN), Role.DENSE),
    "Conv2d": (lambda nn: nn.Conv2d(32, 64, 3), "weight", (OUT, IN, TAP, TAP), Role.CONV),
    "grouped Conv2d": (lambda nn: nn.Conv2d(256, 256, 5, groups=256), "weight", (OUT, IN, TAP, TAP), Role.DEPTHWISE),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(96, 32, 3), "weight", (IN, OUT, TAP, TAP), Role.CONV_TRANSPOSE),
    "Embedding": (lambda nn: nn.Embedding(500, 100), "weight", (IN, OUT), Role.EMBEDDING),
    "LSTM": (lambda nn: nn.LSTM(100, 200), "weight_ih_l0", (OUT, IN), Role.RECURRENT),
    "MultiheadAttention": (lambda nn: nn.MultiheadAttention(128, 4), "in_proj_weight", (OUT, IN), Role.ATTENTION),
}


@pytest.mark.parametrize("module", TORCH_MODULES)
def test_growth_of_what_torch_draws_is_one(make_layer, module):
    torch = pytest.importorskip("torch")
    make, name, axes, role = TORCH_MODULES[module]
    torch.manual_seed(0)
    weight = dict(make(torch.nn).named_parameters())[name].detach().numpy()
    if role is Role.RECURRENT:
        weight = weight[:200]  # one gate, as layers are split
    if name == "in_proj_weight":
        weight = weight[:128]
    audit = measure(
        make_layer(weight, axes=axes, role=role, op=module.split()[-1], tensors=(f"net.{name}",)), spectrum="off"
    )
    assert audit.value("kernel.growth") == pytest.approx(1.0, abs=0.02)


CASES = {
    "Dense is Keras": ((64, 32), (IN, OUT), {"role": Role.DENSE, "op": "Dense"}, math.sqrt(2 / 96)),
    "Conv2D is Keras": ((3, 3, 8, 16), (TAP, TAP, IN, OUT), {"role": Role.CONV, "op": "Conv2D"}, math.sqrt(2 / (9 * 24))),
    "a depthwise kernel as Keras counts fans": (
        (3, 3, 8, 1), (TAP, TAP, OUT, OUT), {"role": Role.DEPTHWISE, "op": "DepthwiseConv2D"}, math.sqrt(2 / (9 * 9)),
    ),
    "a kernel leaf is Keras": ((64, 32), (IN, OUT), {"role": Role.DENSE, "tensors": ("d1/kernel:0",)}, math.sqrt(2 / 96)),
    "a Keras embedding": ((99, 8), (IN, OUT), {"role": Role.EMBEDDING, "tensors": ("embedding/embeddings",)}, 0.05 / math.sqrt(3)),
    "a gate of a Keras LSTM": (
        (10, 20), (IN, OUT), {"role": Role.RECURRENT, "op": "LSTM", "part": "gate i", "tensors": ("lstm/kernel",)}, math.sqrt(2 / 90),
    ),
    "a recurrent gate of a Keras GRU": (
        (20, 20), (IN, OUT), {"role": Role.RECURRENT, "op": "GRU", "part": "gate z", "tensors": ("gru/recurrent_kernel",)}, 1 / math.sqrt(60),
    ),
    "a gate of a Keras LSTM cell": (
        (10, 20), (IN, OUT), {"role": Role.RECURRENT, "op": "LSTMCell", "part": "gate i", "tensors": ("l/lstm_cell/kernel",)}, math.sqrt(2 / 90),
    ),
    "a recurrent gate of a Keras ConvLSTM": (
        (3, 3, 6, 6), (TAP, TAP, IN, OUT),
        {"role": Role.RECURRENT, "op": "ConvLSTMCell", "part": "gate i", "tensors": ("l/cell/recurrent_kernel",)}, 1 / math.sqrt(54),
    ),
    "a Keras projection over heads": (
        (32, 4, 8), (IN, OUT, OUT), {"role": Role.ATTENTION, "op": "EinsumDense", "tensors": ("m/query/kernel",)}, math.sqrt(2 / 64),
    ),
    "Flax": ((64, 32), (IN, OUT), {"role": Role.DENSE, "op": "Dense", "tensors": ("params.Dense_0.kernel",)}, 1 / 8),
    "GPT-2": ((64, 32), (IN, OUT), {"role": Role.ATTENTION, "name": "transformer.h.0.attn.c_attn"}, 0.02),
    "Llama": ((64, 32), (OUT, IN), {"role": Role.DENSE, "name": "model.layers.3.mlp.up_proj"}, 0.02),
    "positions": ((64, 32), (IN, OUT), {"role": Role.POSITIONAL, "name": "pos_embed"}, 0.02),
    "declared": ((64, 32), (OUT, IN), {"role": Role.DENSE, "initial_std": 0.123}, 0.123),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_assumption_follows_the_evidence(make_layer, case):
    shape, axes, fields, expected = CASES[case]
    layer = make_layer(np.ones(shape), axes=axes, **fields)
    assert initial_std(layer, layer.parameters[0])[0] == pytest.approx(expected)


def test_the_detail_says_what_is_assumed(make_layer):
    audit = measure(make_layer(np.ones((10, 784)), op="Linear"))
    assert audit.detail("kernel.growth") == "assumes PyTorch's default U(±1/√fan_in), fan_in 784, fan_out 10"
    assert audit.value("kernel.initial_rms") == pytest.approx(1 / math.sqrt(3 * 784))


def test_a_better_fit_does_not_change_the_assumption(make_layer):
    """Weights grown to exactly another framework's size are grown, not differently initialised."""
    audit = measure(make_layer(np.random.default_rng(0).standard_normal((400, 400)) * math.sqrt(2 / 800), op="Linear"))
    assert audit.value("kernel.growth") == pytest.approx(math.sqrt(3), rel=0.01)


@pytest.mark.parametrize("role", [Role.ADAPTER, Role.UNKNOWN])
def test_some_roles_have_no_initial_size(make_layer, role):
    audit = measure(make_layer(np.ones((9, 9)), role=role))
    assert next(s.reason for s in audit.skips if s.measure == "kernel.growth") == f"says nothing of the role {role}"
