import numpy as np
import pytest

from regaudit.records import Role


def arrays(shapes):
    """Return arrays from `{name: (dtype, shape)}`."""
    return {name: np.ones(shape, dtype) for name, (dtype, shape) in shapes.items()}


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "blocking", "reason"),
    [
        ("bn.num_batches_tracked", "int64", (), False, "counter"),
        ("embeddings.position_ids", "int64", (1, 8), False, "ids"),
        ("h.0.attn.bias", "float32", (1, 1, 4, 4), False, "causal mask"),
        ("h.0.attn.masked_bias", "float32", (), False, "mask"),
        ("rotary_emb.inv_freq", "float32", (4,), False, "rotary"),
        ("alphas_cumprod", "float32", (10,), False, "noise"),
        ("attn.relative_position_index", "int64", (4, 4), False, "positions"),
        ("stft.forward_basis_buffer", "float32", (4, 1, 4), False, "fixed filter"),
        ("self_attn.k_scale", "float32", (1,), False, "quantised activations"),
        ("dense/kernel/adam_m", "float32", (4, 4), False, "optimizer"),
        ("keep", "bool", (4, 4), False, "mask"),
        ("seen", "int32", (4,), False, "counters"),
        ("vocab_map", "int64", (4, 2), False, "ids"),
        ("fc.weight", "int8", (4, 4), True, "quantised or ids"),
        ("w.weight", "complex64", (4, 4), True, "complex"),
        ("empty.weight", "float32", (0, 4), False, "no elements"),
    ],
)
def test_what_is_no_weight_is_skipped_with_a_reason(checked, checkpoint, name, dtype, shape, blocking, reason):
    found = checked(checkpoint(arrays({name: (dtype, shape)})))
    (skip,) = found.skipped
    assert (skip.tensor, skip.blocking) == (name, blocking)
    assert reason in skip.reason
    assert found.roles[name] == (Role.BUFFER, "")


def test_an_unknown_dtype_stops_the_audit(checked, checkpoint):
    (skip,) = checked(checkpoint(arrays({"fc.weight": ("uint8", (4, 4))}), dtypes={"fc.weight": "Q9_X"})).skipped
    assert skip.blocking
    assert "Q9_X" in skip.reason


PACKED = {
    "gptq": ({"l.qweight": ("int32", (4, 16)), "l.qzeros": ("int32", (1, 2)), "l.scales": ("float16", (1, 16)), "l.g_idx": ("int32", (32,))},
             "l.qweight", "GPTQ, 4 bits"),
    "bnb4": ({"l.weight": ("uint8", (64, 1)), "l.weight.absmax": ("float32", (8,)), "l.weight.quant_map": ("float32", (16,)),
              "l.weight.quant_state.bitsandbytes__nf4": ("uint8", (78,))}, "l.weight", "bitsandbytes, 4 bits"),
    "compressed": ({"l.weight_packed": ("int32", (8, 2)), "l.weight_scale": ("float32", (8, 1)), "l.weight_shape": ("int64", (2,))},
                   "l.weight_packed", "compressed-tensors"),
    "mlx": ({"l.weight": ("uint32", (8, 2)), "l.scales": ("float16", (8, 1)), "l.biases": ("float16", (8, 1))}, "l.weight", "MLX"),
    "keras": ({"l/kernel": ("int8", (8, 8)), "l/kernel_scale": ("float32", (8,))}, "l/kernel", "Keras 8-bit"),
    "mxfp4": ({"e.up_blocks": ("uint8", (2, 8, 1, 15)), "e.up_scales": ("uint8", (2, 8, 1))}, "e.up_blocks", "MXFP4"),
}  # fmt: skip


@pytest.mark.parametrize(("shapes", "weight", "scheme"), PACKED.values(), ids=PACKED)
def test_packed_integers_are_never_measured(checked, checkpoint, shapes, weight, scheme):
    found = checked(checkpoint(arrays(shapes)))
    assert found.layers == ()
    assert [skip.tensor for skip in found.skipped if skip.blocking] == [weight]
    (reason,) = [skip.reason for skip in found.skipped if skip.blocking]
    assert scheme in reason
    assert "packed integers are not weights" in reason
    assert {role for role, _ in found.roles.values()} == {Role.QUANTIZED}


def test_the_bias_of_a_packed_layer_is_still_measured(checked, checkpoint):
    found = checked(checkpoint(arrays(PACKED["mxfp4"][0] | {"e.up_bias": ("float32", (8,))})))
    assert [layer.name for layer in found.layers] == ["e.up_bias"]


def test_an_integer_only_model_has_no_layers(checked, checkpoint):
    found = checked(checkpoint(arrays({"a": ("int64", (3, 3)), "b": ("uint8", (5,)), "c": ("bool", ())})))
    assert found.layers == ()
    assert len(found.skipped) == 3


def test_tied_tensors_are_measured_once_under_the_first_name(by_name, checked, checkpoint):
    opened = checkpoint(
        arrays(
            {
                "emb.weight": ("float32", (8, 4)),
                "head.weight": ("float32", (8, 4)),
                "model.out.weight": ("float32", (8, 4)),
            }
        ),
        shares={"head.weight": "emb.weight", "model.out.weight": "head.weight"},
    )
    found = checked(opened)
    assert by_name(found)["emb"].tied_to == ("head", "model.out")
    assert found.roles["head.weight"] == (Role.EMBEDDING, "emb")
    assert [(skip.reason, skip.blocking) for skip in found.skipped] == [
        ("same storage as emb.weight, measured there", False)
    ] * 2


def test_a_first_name_outside_the_model_ties_nothing(checked, checkpoint):
    found = checked(checkpoint(arrays({"w.weight": ("float32", (3, 2))}), shares={"w.weight": "optimizer.w"}))
    assert found.skipped == ()


def test_equal_shapes_are_no_proof_of_a_tie(model):
    found = model({"emb.weight": (8, 4), "lm_head.weight": (8, 4)}, config={"tie_word_embeddings": True})
    assert len(found.layers) == 2


def test_factors_of_other_updates_than_lora_are_not_measured(checked, checkpoint):
    shapes = {
        "unet_a.hada_w1_a": ("float32", (8, 4)),
        "unet_a.hada_t1": ("float32", (4, 4, 3, 3)),
        "unet_b.lokr_w1": ("float32", (4, 4)),
        "unet_b.lokr_w2_b.default": ("float32", (4, 8)),
        "unet_b.alpha": ("float32", ()),
    }
    found = checked(checkpoint(arrays(shapes)))
    assert found.layers == ()
    assert {skip.tensor: skip.blocking for skip in found.skipped} == dict.fromkeys(shapes, True) | {
        "unet_b.alpha": False
    }
