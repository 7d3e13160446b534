import pytest

from regaudit.layers.names import addresses, join, natural, unwrapped


def places(*names):
    return {each.tensor: (each.module, each.leaf) for each in addresses(names)}


@pytest.mark.parametrize(
    ("name", "module", "leaf"),
    [
        ("fc.weight", "fc", "weight"),
        ("weight", "", "weight"),
        ("module._orig_mod.0.bias", "0", "bias"),
        ("_fsdp_wrapped_module.blocks.0._checkpoint_wrapped_module.fc.weight", "blocks.0.fc", "weight"),
        ("d1/kernel", "d1", "kernel"),
        ("bert/encoder/layer_0/output/dense/kernel:0", "bert/encoder/layer_0/output/dense", "kernel"),
        ("params.Dense_0.kernel", "Dense_0", "kernel"),
        ("batch_stats.BatchNorm_0.mean", "BatchNorm_0", "mean"),
        ("gauss_wide", "gauss_wide", ""),
        ("blocks.0.mixer.A_log", "blocks.0.mixer.A_log", ""),
        ("conv.parametrizations.weight.original0", "conv", "weight_g"),
        ("conv.parametrizations.weight.original1", "conv", "weight_v"),
        ("conv.parametrizations.weight.original", "conv", "weight_orig"),
        ("conv.parametrizations.weight.0._u", "conv", "weight_u"),
        ("parametrizations.weight.original0", "", "weight_g"),
        ("attn.in_proj_weight", "attn.in_proj_weight", "weight"),
        ("attn.in_proj_bias", "attn.in_proj_weight", "bias"),
        ("attn.q_proj_weight", "attn.q_proj", "weight"),
        ("base_model.model.h.0.c_attn.lora_A.weight", "h.0.c_attn", "lora_A@"),
        ("base_model.model.h.0.c_attn.lora_B.default.weight", "h.0.c_attn", "lora_B@default"),
        ("base_model.model.h.0.c_attn.base_layer.weight", "h.0.c_attn", "weight"),
        ("lora_unet_mid_to_q.lora_down.weight", "lora_unet_mid_to_q", "lora_A@"),
        ("unet.attn.processor.to_q_lora.up.weight", "unet.attn.processor.to_q", "lora_B@"),
        ("wte.lora_embedding_A", "wte", "lora_embedding_A@"),
        ("q.lora_magnitude_vector.default.weight", "q", "lora_magnitude_vector@default"),
        ("base_model.model.score.modules_to_save.default.weight", "score", "weight"),
        ("coefs_.1", "coefs_.1", "coef_"),
        ("intercepts_.1", "coefs_.1", "bias"),
        ("lstm.weight_hh_l0_reverse", "lstm", "weight_hh_l0_reverse"),
    ],
)
def test_a_name_has_a_module_and_a_leaf(name, module, leaf):
    assert places(name) == {name: (module, leaf)}


@pytest.mark.parametrize(
    ("kernel", "bias", "module"),
    [
        ("W1", "b1", "W1"),
        ("fc1_weight", "fc1_bias", "fc1"),
        ("e.gate_up_proj", "e.gate_up_proj_bias", "e.gate_up_proj"),
    ],
)
def test_pairs_without_a_path_are_one_module(kernel, bias, module):
    found = places(kernel, bias)
    assert found[kernel][0] == found[bias][0] == module
    assert found[bias][1] == "bias"


def test_a_collision_brings_the_prefix_back():
    found = places("fc.weight", "module.fc.weight", "_orig_mod.fc.weight")
    assert found["fc.weight"] == ("fc", "weight")
    assert found["module.fc.weight"] == ("module.fc", "weight")
    assert len(set(found.values())) == 3


@pytest.mark.parametrize(
    "name", ["", ".", "/", "..", "." * 10_000, "a\nb.weight", "\x1b[31m.weight", "weight", ":0", "module.", "lora_A.weight", "é.weight"]
)  # fmt: skip
def test_hostile_names_have_an_address(name):
    assert len(places(name, "x.weight")) == 2


def test_natural_order_counts():
    names = ["layer.10", "layer.2", "layer.1", "layer"]
    assert sorted(names, key=natural) == ["layer", "layer.1", "layer.2", "layer.10"]


def test_natural_order_takes_digits_of_other_scripts_as_text():
    assert sorted(["a²", "a1", "a٣"], key=natural)


def test_a_leaf_is_joined_with_the_separator_of_its_path():
    assert join("a/b", "kernel") == "a/b/kernel"
    assert join("a.b", "weight") == "a.b.weight"
    assert join("", "weight") == "weight"


def test_a_path_that_is_all_wrapper_stays():
    assert unwrapped("module.") == "module."
