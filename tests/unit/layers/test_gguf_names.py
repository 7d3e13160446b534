"""Names that llama.cpp gives: roles, parts, orientation, the output, and what normalizes what."""

import numpy as np
import pytest

from regaudit.records import Axis, Confidence, Role, Use

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP
GEMMA = {
    "token_embd.weight": (100, 64), "output.weight": (100, 64), "output_norm.weight": (64,),
    "blk.0.attn_norm.weight": (64,), "blk.0.attn_q.weight": (64, 64), "blk.0.attn_k.weight": (32, 64),
    "blk.0.attn_v.weight": (32, 64), "blk.0.attn_v.bias": (32,), "blk.0.attn_output.weight": (64, 64),
    "blk.0.attn_q_norm.weight": (16,), "blk.0.attn_k_norm.weight": (16,), "blk.0.post_attention_norm.weight": (64,),
    "blk.0.ffn_gate.weight": (96, 64), "blk.0.ffn_up.weight": (96, 64), "blk.0.ffn_down.weight": (64, 96),
    "blk.0.post_ffw_norm.weight": (64,), "rope_freqs.weight": (8,),
}  # fmt: skip


def test_a_transformer(model, by_name):
    layers = by_name(found := model(GEMMA))
    kernels = {name: (each.role, each.part) for name, each in layers.items() if each.get(Use.KERNEL)}
    assert kernels == {
        "token_embd": (Role.EMBEDDING, ""), "output": (Role.DENSE, ""),
        "blk.0.attn_q": (Role.ATTENTION, "query"), "blk.0.attn_k": (Role.ATTENTION, "key"),
        "blk.0.attn_v": (Role.ATTENTION, "value"), "blk.0.attn_output": (Role.ATTENTION, ""),
        "blk.0.ffn_gate": (Role.DENSE, ""), "blk.0.ffn_up": (Role.DENSE, ""), "blk.0.ffn_down": (Role.DENSE, ""),
    }  # fmt: skip
    assert all(
        each.get(Use.KERNEL).axes == (OUT, IN) for n, each in layers.items() if n in kernels and n != "token_embd"
    )
    assert [name for name, each in layers.items() if each.is_output] == ["output"]
    assert {name: each.followed_by for name, each in layers.items() if each.followed_by} == {
        "blk.0.attn_q": "blk.0.attn_q_norm",
        "blk.0.attn_k": "blk.0.attn_k_norm",
        "blk.0.attn_output": "blk.0.post_attention_norm",
        "blk.0.ffn_down": "blk.0.post_ffw_norm",
    }
    assert [each.tensor for each in found.skipped] == ["rope_freqs.weight"]


@pytest.mark.parametrize("model_type", ["falcon", "bloom", "gptneox", "phi3"])
def test_fused_projections_lie_one_after_the_other(model, by_name, model_type):
    config = {"model_type": model_type, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    layers = by_name(model({"blk.0.attn_qkv.weight": (128, 64), "blk.0.attn_qkv.bias": (128,)}, config=config))
    assert {name: each.get(Use.KERNEL).shape for name, each in layers.items()} == {
        "blk.0.attn_qkv[query]": (64, 64),
        "blk.0.attn_qkv[key]": (32, 64),
        "blk.0.attn_qkv[value]": (32, 64),
    }
    assert layers["blk.0.attn_qkv[key]"].get(Use.BIAS).shape == (32,)


def test_experts_are_measured_apart(model, by_name):
    layers = by_name(model({"blk.0.ffn_down_exps.weight": (3, 64, 24), "blk.0.ffn_down_exps.bias": (3, 64),
                            "blk.0.ffn_gate_inp.weight": (3, 64), "blk.0.ffn_gate_inp_shexp.weight": (64,),
                            "blk.0.exp_probs_b.bias": (3,)}))  # fmt: skip
    expert = layers["blk.0.ffn_down_exps[expert 2]"]
    assert (expert.role, expert.confidence) == (Role.DENSE, Confidence.HIGH)
    assert (expert.get(Use.KERNEL).shape, expert.get(Use.KERNEL).axes) == ((64, 24), (OUT, IN))
    assert expert.get(Use.BIAS).shape == (64,)
    assert layers["blk.0.ffn_gate_inp_shexp"].get(Use.KERNEL).axes == (IN,)
    assert len(layers) == 5


def test_gate_and_up_are_cut_where_the_next_layer_takes_half(checkpoint, checked, by_name, numbers):
    up = numbers(192, 64)
    layers = by_name(checked(checkpoint({"blk.0.ffn_up.weight": up, "blk.0.ffn_down.weight": numbers(64, 96)})))
    assert list(layers) == ["blk.0.ffn_up[gate]", "blk.0.ffn_up[up]", "blk.0.ffn_down"]
    np.testing.assert_array_equal(layers["blk.0.ffn_up[up]"].get(Use.KERNEL).load(0, 96), up[96:])


def test_gate_and_up_that_are_apart_stay_whole(model, by_name):
    assert "blk.0.ffn_up" in by_name(model(GEMMA))


def test_state_space_models(model, by_name):
    shapes = {"ssm_in.weight": (256, 64), "ssm_conv1d.weight": (128, 4), "ssm_conv1d.bias": (128,), "ssm_a": (128, 16),
              "ssm_d": (128,), "ssm_dt.weight": (128, 4), "ssm_dt.bias": (128,)}  # fmt: skip
    layers = by_name(model({f"blk.0.{name}": shape for name, shape in shapes.items()}))
    assert layers["blk.0.ssm_conv1d"].role is Role.DEPTHWISE
    assert layers["blk.0.ssm_conv1d"].get(Use.KERNEL).axes == (OUT, TAP)
    assert layers["blk.0.ssm_dt"].part == "time step"
    assert {layers[f"blk.0.{name}"].role for name in ("ssm_a", "ssm_d")} == {Role.UNKNOWN}


def test_a_matrix_for_each_head_is_no_convolution(model, by_name):
    layer = by_name(model({"blk.0.attn_k_b.weight": (4, 16, 12)}))["blk.0.attn_k_b"]
    assert (layer.role, layer.get(Use.KERNEL).axes) == (Role.ATTENTION, ())
