"""Flax, Orbax, JAX and MLX: where the same names and shapes mean other axes."""

from dataclasses import replace

import pytest
import safetensors.numpy

from regaudit.checkpoints import open_checkpoint
from regaudit.layers import group
from regaudit.records import Axis, Role, Use

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP


@pytest.fixture
def grouped(checkpoint, numbers, checked, by_name):
    def call(shapes, words, **fields):
        opened = checkpoint({name: numbers(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}, **fields)
        return by_name(checked(replace(opened, format=words)))

    return call


@pytest.mark.parametrize("words", ["Flax MessagePack", "Orbax", "pickled JAX arrays"])
@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (3, 3, 4, 8), (3, 3, 8, 4)])
def test_flax_stores_transposed_convolutions_in_out(grouped, words, shape):
    layers = grouped({"params/ConvTranspose_0/kernel": shape, "params/ConvTranspose_0/bias": shape[-1:]}, words)
    layer = layers["ConvTranspose_0"]
    assert layer.role is Role.CONV_TRANSPOSE
    assert layer.get(Use.KERNEL).axes == (TAP, TAP, IN, OUT)
    assert layer.get(Use.BIAS) is not None


def test_flax_with_transposed_kernels_is_seen_by_the_bias(grouped):
    shapes = {"params/ConvTranspose_0/kernel": (3, 3, 4, 8), "params/ConvTranspose_0/bias": (4,)}
    assert grouped(shapes, "Flax MessagePack")["ConvTranspose_0"].get(Use.KERNEL).axes == (TAP, TAP, OUT, IN)


@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (3, 3, 8, 4)])
def test_keras_stores_them_out_in(grouped, shape):
    shapes = {"conv2d_transpose/kernel": shape, "conv2d_transpose/bias": shape[-2:-1]}
    layer = grouped(shapes, "Keras weights")["conv2d_transpose"]
    assert (layer.role, layer.get(Use.KERNEL).axes) == (Role.CONV_TRANSPOSE, (TAP, TAP, OUT, IN))


def test_projections_over_heads(grouped):
    stem = "params/MultiHeadDotProductAttention_0"
    shapes = {f"{stem}/{name}/kernel": (16, 2, 8) for name in ("query", "key", "value")}
    shapes |= {f"{stem}/out/kernel": (2, 8, 16), f"{stem}/out/bias": (16,), "params/DenseGeneral_0/kernel": (16, 2, 8)}
    layers = grouped(shapes, "Flax MessagePack")
    assert {n.rpartition("/")[2]: (l.role, l.op, l.get(Use.KERNEL).axes) for n, l in layers.items()} == {
        "query": (Role.ATTENTION, "EinsumDense", (IN, OUT, OUT)),
        "key": (Role.ATTENTION, "EinsumDense", (IN, OUT, OUT)),
        "value": (Role.ATTENTION, "EinsumDense", (IN, OUT, OUT)),
        "out": (Role.ATTENTION, "EinsumDense", (IN, IN, OUT)),
        "DenseGeneral_0": (Role.DENSE, "EinsumDense", (IN, OUT, OUT)),
    }


def test_gemma_in_jax(grouped):
    shapes = {"attn/q_einsum/w": (4, 16, 8), "attn/kv_einsum/w": (2, 1, 16, 8), "attn/attn_vec_einsum/w": (4, 8, 16),
              "mlp/gating_einsum": (2, 16, 32), "mlp/linear": (32, 16)}  # fmt: skip
    layers = grouped(shapes, "Orbax")
    assert {name.rpartition("/")[2]: each.get(Use.KERNEL).axes for name, each in layers.items()} == {
        "q_einsum": (OUT, IN, OUT),
        "kv_einsum": (OUT, OUT, IN, OUT),
        "attn_vec_einsum": (IN, IN, OUT),
        "gating_einsum": (OUT, IN, OUT),
        "linear": (IN, OUT),
    }


@pytest.mark.parametrize(("gates", "op"), [("ifgo", "LSTM"), ("rzn", "GRU")])
def test_cells_of_linen_are_gates(grouped, gates, op):
    shapes = {f"params/Cell_0/{s}{g}/kernel": (3 if s == "i" else 8, 8) for s in "ih" for g in gates}
    shapes |= {f"params/Cell_0/h{g}/bias": (8,) for g in gates}
    layers = grouped(shapes, "Flax MessagePack")
    assert {each.role for each in layers.values()} == {Role.RECURRENT}
    assert {each.op for each in layers.values()} == {op}
    assert [each.part for each in layers.values()] == [f"gate {g}" for g in gates] * 2
    assert layers[f"Cell_0/h{gates[0]}"].get(Use.BIAS) is not None


def test_cells_of_nnx_are_cut(grouped):
    shapes = {
        "cell/dense_i/kernel/value": (3, 24),
        "cell/dense_h/kernel/value": (8, 24),
        "cell/dense_h/bias/value": (24,),
    }
    layers = grouped(shapes, "Orbax")
    assert list(layers) == [f"cell/dense_{side}[gate {gate}]" for side in "ih" for gate in "rzn"]
    assert all(each.get(Use.KERNEL).extent(OUT) == 8 for each in layers.values())


@pytest.mark.parametrize("prefix", ["", "state/"])
def test_statistics_join_their_normalization(grouped, prefix):
    shapes = {f"{prefix}params/BatchNorm_0/scale": (8,), f"{prefix}params/BatchNorm_0/bias": (8,),
              f"{prefix}batch_stats/BatchNorm_0/mean": (8,), f"{prefix}batch_stats/BatchNorm_0/var": (8,)}  # fmt: skip
    layer = grouped(shapes, "Orbax")[f"{prefix}BatchNorm_0"]
    assert [p.use for p in layer.parameters] == [Use.SCALE, Use.OFFSET, Use.MEAN, Use.VARIANCE]


@pytest.mark.parametrize(
    ("words", "config"),
    [("safetensors, MLX", {}), ("safetensors", {"quantization": {"group_size": 64, "bits": 4}})],
    ids=["metadata", "configuration"],
)
def test_mlx_stores_inputs_last(grouped, words, config):
    shapes = {"conv1.weight": (16, 3, 3, 3), "conv1.bias": (16,), "dw.weight": (16, 3, 3, 1), "c.weight": (8, 5, 16),
              "up.conv_transpose.weight": (4, 2, 2, 8), "fc.weight": (4, 8)}  # fmt: skip
    layers = grouped(shapes, words, config=config)
    assert {name: (each.role, each.get(Use.KERNEL).axes) for name, each in layers.items()} == {
        "conv1": (Role.CONV, (OUT, TAP, TAP, IN)),
        "dw": (Role.DEPTHWISE, (OUT, TAP, TAP, IN)),
        "c": (Role.CONV, (OUT, TAP, IN)),
        "up.conv_transpose": (Role.CONV_TRANSPOSE, (OUT, TAP, TAP, IN)),
        "fc": (Role.DENSE, (OUT, IN)),
    }


def test_recurrent_modules_of_mlx(grouped):
    layers = grouped({"lstm.Wx": (32, 4), "lstm.Wh": (32, 8), "lstm.bias": (32,)}, "safetensors, MLX")
    assert list(layers) == [f"lstm.{leaf}[gate {gate}]" for leaf in ("Wx", "Wh") for gate in "ifgo"]
    assert layers["lstm.Wx[gate i]"].get(Use.BIAS).shape == (8,)


def test_experts_of_mlx(grouped):
    layers = grouped({"mlp.switch_mlp.gate_proj.weight": (3, 8, 4)}, "safetensors, MLX")
    assert [each.get(Use.KERNEL).axes for each in layers.values()] == [(OUT, IN)] * 3


def test_elsewhere_nothing_changes(checkpoint, numbers):
    [layer] = group(checkpoint({"conv.weight": numbers(16, 3, 3, 3)})).layers
    assert layer.get(Use.KERNEL).axes == (OUT, IN, TAP, TAP)


def test_a_file_that_mlx_wrote_says_so(tmp_path, numbers):
    safetensors.numpy.save_file({"conv.weight": numbers(16, 3, 3, 4)}, tmp_path / "m.safetensors", {"format": "mlx"})
    with open_checkpoint(tmp_path / "m.safetensors") as opened:
        [layer] = group(opened).layers
    assert opened.format == "safetensors, MLX"
    assert layer.get(Use.KERNEL).axes == (OUT, TAP, TAP, IN)


def test_an_array_named_value_is_no_box(grouped):
    layers = grouped({f"attn/{name}": (16, 8) for name in ("query", "key", "value")}, "Orbax")
    assert {name: each.part for name, each in layers.items()} == {
        "attn/query": "query",
        "attn/key": "key",
        "attn/value": "value",
    }
