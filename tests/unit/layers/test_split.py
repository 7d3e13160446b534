import numpy as np
import pytest

from regaudit.records import Axis, Role, Use


def kernels(found):
    return {layer.name: layer.get(Use.KERNEL).load(0, layer.get(Use.KERNEL).shape[0]) for layer in found.layers}


def biases(found):
    pairs = ((layer.name, layer.get(Use.BIAS)) for layer in found.layers)
    return {name: bias.load(0, bias.shape[0]) for name, bias in pairs if bias}


@pytest.mark.parametrize("leaf", ["attn.qkv", "self_attn.qkv_proj", "attn.Wqkv", "to_qkv"])
def test_query_key_and_value_are_cut_one_after_the_other(checked, checkpoint, numbers, leaf):
    arrays = {f"{leaf}.weight": numbers(12, 4), f"{leaf}.bias": numbers(12)}
    found = checked(checkpoint(arrays))
    whole, bias = arrays[f"{leaf}.weight"], arrays[f"{leaf}.bias"]
    for k, part in enumerate(("query", "key", "value")):
        np.testing.assert_array_equal(kernels(found)[f"{leaf}[{part}]"], whole[4 * k : 4 * k + 4])
        np.testing.assert_array_equal(biases(found)[f"{leaf}[{part}]"], bias[4 * k : 4 * k + 4])
    assert [layer.part for layer in found.layers] == ["query", "key", "value"]
    assert found.roles[f"{leaf}.weight"] == (Role.ATTENTION, leaf)


def test_gpt2_is_cut_along_the_last_axis(checked, checkpoint, numbers):
    arrays = {"h.0.attn.c_attn.weight": numbers(4, 12), "h.0.attn.c_attn.bias": numbers(12)}
    found = checked(checkpoint(arrays))
    np.testing.assert_array_equal(kernels(found)["h.0.attn.c_attn[key]"], arrays["h.0.attn.c_attn.weight"][:, 4:8])
    np.testing.assert_array_equal(biases(found)["h.0.attn.c_attn[key]"], arrays["h.0.attn.c_attn.bias"][4:8])
    assert found.layers[0].get(Use.KERNEL).axes == (Axis.IN, Axis.OUT)


def test_torch_attention_is_cut_with_its_bias(checked, checkpoint, numbers):
    arrays = {
        "mha.in_proj_weight": numbers(12, 4),
        "mha.in_proj_bias": numbers(12),
        "mha.out_proj.weight": numbers(4, 4),
    }
    found = checked(checkpoint(arrays))
    np.testing.assert_array_equal(kernels(found)["mha.in_proj_weight[value]"], arrays["mha.in_proj_weight"][8:])
    np.testing.assert_array_equal(biases(found)["mha.in_proj_weight[value]"], arrays["mha.in_proj_bias"][8:])


GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 8}


def test_shared_key_and_value_heads_are_smaller(model):
    found = model({"self_attn.qkv_proj.weight": (16, 8)}, config=GROUPED)
    assert {name: k.shape for name, k in kernels(found).items()} == {
        "self_attn.qkv_proj[query]": (8, 8),
        "self_attn.qkv_proj[key]": (4, 8),
        "self_attn.qkv_proj[value]": (4, 8),
    }


@pytest.mark.parametrize("model_type", ["gpt_neox", "bloom", "falcon"])
def test_interleaved_heads_are_gathered(checked, checkpoint, numbers, model_type):
    heads, dim, width = 3, 2, 6
    whole = numbers(heads * 3 * dim, width)
    name = "h.0.attention.query_key_value"
    config = {"model_type": model_type, "num_attention_heads": heads, "hidden_size": width}
    found = checked(checkpoint({f"{name}.weight": whole, f"{name}.bias": whole[:, 0].copy()}, config=config))
    by_head = whole.reshape(heads, 3, dim, width)
    for k, part in enumerate(("query", "key", "value")):
        np.testing.assert_array_equal(kernels(found)[f"{name}[{part}]"], by_head[:, k].reshape(-1, width))
        np.testing.assert_array_equal(biases(found)[f"{name}[{part}]"], by_head[:, k, :, 0].reshape(-1))


def test_any_rows_of_an_interleaved_part_can_be_read(model):
    config = {"model_type": "gpt_neox", "num_attention_heads": 3, "hidden_size": 6}
    found = model({"attention.query_key_value.weight": (18, 6)}, config=config)
    part = found.layers[1].get(Use.KERNEL)
    whole = part.load(0, 6)
    for start in range(6):
        for stop in range(start, 7):
            np.testing.assert_array_equal(part.load(start, stop), whole[start:stop])


def test_falcons_groups_hold_several_queries_for_one_key(checked, checkpoint, numbers):
    config = {
        "model_type": "falcon",
        "num_attention_heads": 4,
        "num_kv_heads": 2,
        "hidden_size": 8,
        "new_decoder_architecture": True,
    }
    whole = numbers(16, 8)
    found = checked(checkpoint({"h.self_attention.query_key_value.weight": whole}, config=config))
    groups = whole.reshape(2, 8, 8)
    np.testing.assert_array_equal(
        kernels(found)["h.self_attention.query_key_value[query]"], groups[:, :4].reshape(8, 8)
    )
    np.testing.assert_array_equal(
        kernels(found)["h.self_attention.query_key_value[value]"], groups[:, 6:].reshape(4, 8)
    )


@pytest.mark.parametrize(
    ("shapes", "config"),
    [
        ({"attention.query_key_value.weight": (12, 4)}, {}),
        ({"attn.qkv_proj.weight": (12, 4)}, {"model_type": "codegen"}),
        ({"attn.qkv_proj.weight": (14, 4)}, {}),
    ],
)
def test_an_unknown_order_is_not_cut_and_says_so(model, shapes, config):
    (layer,) = model(shapes, config=config).layers
    assert layer.part == ""
    assert "measured together" in layer.evidence[-1]


def test_an_input_projection_outside_attention_is_whole(model):
    assert [layer.name for layer in model({"mixer.in_proj.weight": (12, 4)}).layers] == ["mixer.in_proj"]


def test_gate_and_up_are_cut(checked, checkpoint, numbers):
    whole = numbers(10, 4)
    found = checked(checkpoint({"mlp.gate_up_proj.weight": whole}))
    np.testing.assert_array_equal(kernels(found)["mlp.gate_up_proj[gate]"], whole[:5])
    np.testing.assert_array_equal(kernels(found)["mlp.gate_up_proj[up]"], whole[5:])


EXPERTS = "mlp.experts.gate_up_proj"


def test_stacked_experts_are_layers_and_their_gates_are_cut(checked, checkpoint, numbers):
    up, down = numbers(3, 4, 10), numbers(3, 5, 4)
    found = checked(checkpoint({EXPERTS: up, f"{EXPERTS}_bias": up[:, 0].copy(), "mlp.experts.down_proj": down}))
    np.testing.assert_array_equal(kernels(found)[f"{EXPERTS}[expert 2, up]"], up[2][:, 5:])
    np.testing.assert_array_equal(biases(found)[f"{EXPERTS}[expert 2, up]"], up[2, 0, 5:])
    np.testing.assert_array_equal(kernels(found)["mlp.experts.down_proj[expert 1]"], down[1])
    assert {layer.get(Use.KERNEL).axes for layer in found.layers} == {(Axis.IN, Axis.OUT)}


def test_the_pair_of_stacked_kernels_tells_the_orientation(model):
    found = model({EXPERTS: (3, 10, 4), "mlp.experts.down_proj": (3, 4, 5)})
    assert {layer.get(Use.KERNEL).axes for layer in found.layers} == {(Axis.OUT, Axis.IN)}


def test_gpt_oss_alternates_gate_and_up(checked, checkpoint, numbers):
    up = numbers(2, 4, 10)
    arrays = {EXPERTS: up, "mlp.experts.down_proj": numbers(2, 5, 4)}
    found = checked(checkpoint(arrays, config={"model_type": "gpt_oss"}))
    np.testing.assert_array_equal(kernels(found)[f"{EXPERTS}[expert 0, gate]"], up[0][:, ::2])
    np.testing.assert_array_equal(kernels(found)[f"{EXPERTS}[expert 0, up]"], up[0][:, 1::2])


@pytest.mark.parametrize(("gates", "names"), [(4, "ifgo"), (3, "rzn")])
@pytest.mark.parametrize("place", ["_l0", "_l1_reverse", ""])
def test_torch_gates_are_cut_in_their_order(checked, checkpoint, numbers, gates, names, place):
    arrays = {
        f"rnn.weight_ih{place}": numbers(gates * 3, 5),
        f"rnn.weight_hh{place}": numbers(gates * 3, 3),
        f"rnn.bias_ih{place}": numbers(gates * 3),
        f"rnn.bias_hh{place}": numbers(gates * 3),
    }
    found = checked(checkpoint(arrays))
    for kind in ("ih", "hh"):
        for k, gate in enumerate(names):
            name = f"rnn.weight_{kind}{place}[gate {gate}]"
            np.testing.assert_array_equal(kernels(found)[name], arrays[f"rnn.weight_{kind}{place}"][3 * k : 3 * k + 3])
            np.testing.assert_array_equal(biases(found)[name], arrays[f"rnn.bias_{kind}{place}"][3 * k : 3 * k + 3])
    assert {layer.role for layer in found.layers} == {Role.RECURRENT}


def test_a_projected_lstm_keeps_its_projection_whole(model):
    shapes = {"weight_ih_l0": (28, 5), "weight_hh_l0": (28, 3), "weight_hr_l0": (3, 7)}
    found = kernels(model(shapes))
    assert found["weight_hr_l0"].shape == (3, 7)
    assert found["weight_hh_l0[gate o]"].shape == (7, 3)


def test_a_plain_rnn_has_no_gates(model):
    found = model({"rnn.weight_ih_l0": (3, 5), "rnn.weight_hh_l0": (3, 3)})
    assert {(layer.name, layer.op) for layer in found.layers} == {
        ("rnn.weight_ih_l0", "RNN"),
        ("rnn.weight_hh_l0", "RNN"),
    }


@pytest.mark.parametrize(("gates", "names"), [(4, "ifco"), (3, "zrh")])
def test_keras_gates_are_cut_along_the_last_axis(checked, checkpoint, numbers, gates, names):
    bias = numbers(2, gates * 3) if gates == 3 else numbers(gates * 3)
    arrays = {
        "r/cell/kernel": numbers(5, gates * 3),
        "r/cell/recurrent_kernel": numbers(3, gates * 3),
        "r/cell/bias": bias,
    }
    found = checked(checkpoint(arrays))
    for k, gate in enumerate(names):
        part = slice(3 * k, 3 * k + 3)
        np.testing.assert_array_equal(kernels(found)[f"r/cell/kernel[gate {gate}]"], arrays["r/cell/kernel"][:, part])
        np.testing.assert_array_equal(
            kernels(found)[f"r/cell/recurrent_kernel[gate {gate}]"], arrays["r/cell/recurrent_kernel"][:, part]
        )
        np.testing.assert_array_equal(
            biases(found)[f"r/cell/kernel[gate {gate}]"], bias.reshape(-1, gates * 3)[0, part]
        )
    if gates == 3:  # reset_after: the second row belongs to the hidden kernel
        np.testing.assert_array_equal(biases(found)["r/cell/recurrent_kernel[gate z]"], bias[1, :3])
