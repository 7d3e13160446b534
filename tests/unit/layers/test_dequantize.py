"""Packed weights against the formula that packed them, one code at a time."""

import json

import numpy as np
import pytest

from regaudit.layers import group, quantized
from regaudit.layers.dequantize_codes import unpack
from regaudit.layers.dequantize_noise import float_steps, level_widths
from regaudit.records import Axis, Use

INPUTS, OUTPUTS, GROUPS = 96, 64, 3
RNG = np.random.default_rng(0)


def pack(codes, bits, *, is_stream=True):
    """Return codes packed along axis 0 into 32-bit words, bit by bit."""
    step = bits if is_stream else None
    words = np.zeros(
        (-(-len(codes) * bits // 32) if is_stream else -(-len(codes) // (32 // bits)), codes.shape[1]), object
    )
    for k, row in enumerate(codes):
        at = k * step if step else k // (32 // bits) * 32 + k % (32 // bits) * bits
        for bit in range(bits):
            words[(at + bit) // 32] += (row.astype(object) >> bit & 1) << (at + bit) % 32
    return words.astype(np.uint32).view(np.int32)


def pack_columns(codes, bits, **options):
    return np.ascontiguousarray(pack(codes.T, bits, **options).T)


def codes_of(bits, *shape):
    return RNG.integers(0, 1 << bits, shape)


def scales_of(*shape):
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


def kernel(checkpoint, arrays, settings=None):
    """Return the one kernel that packed arrays stand for, and its notes; read whole and in pieces."""
    opened = checkpoint(arrays, config={"quantization_config": settings} if settings else {})
    made = quantized.dequantised(opened)
    assert not made.refused
    (found,) = made.kernels.values()
    whole, rows = found.values.whole(), found.values.shape[0]
    pieces = [found.values.rows(a, b) for a, b in ((0, 0), (0, 5), (5, 6), (6, rows))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert found.values.tensors
    assert set(found.values.tensors) == {name for name in arrays if name != "l.bias"}
    return found, whole


def refusal(checkpoint, arrays, settings=None):
    made = quantized.dequantised(checkpoint(arrays, config={"quantization_config": settings} if settings else {}))
    assert not made.kernels
    (reason,) = made.refused.values()
    return reason


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
def test_codes_come_out_as_they_were_packed(bits, is_stream):
    codes = codes_of(bits, 96, 3)
    np.testing.assert_array_equal(unpack(pack(codes, bits, is_stream=is_stream), bits, is_stream=is_stream)[:96], codes)


# --- GPTQ and AWQ ---------------------------------------------------------------------------------


def gptq(bits=4, *, one_less=1, order=None):
    codes, zeros, scales = (
        codes_of(bits, INPUTS, OUTPUTS),
        RNG.integers(1, 1 << bits, (GROUPS, OUTPUTS)),
        scales_of(GROUPS, OUTPUTS),
    )
    arrays = {
        "l.qweight": pack(codes, bits), "l.qzeros": pack_columns(zeros - one_less, bits), "l.scales": scales,
    }  # fmt: skip
    index = np.arange(INPUTS) // (INPUTS // GROUPS) if order is None else order
    if order is not None:
        arrays["l.g_idx"] = order.astype(np.int32)
    return arrays, scales[index] * (codes - zeros[index])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("order", [None, np.arange(INPUTS) // 32, RNG.permutation(INPUTS) % GROUPS])
def test_gptq_is_scale_times_code_less_zero(checkpoint, bits, version, order):
    arrays, expected = gptq(bits, one_less=int(version == "gptq"), order=order)
    found, whole = kernel(checkpoint, arrays, {"quant_method": "gptq", "checkpoint_format": version})
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, expected.astype(np.float32))
    assert found.name == "l.kernel"  # stored (in, out)
    assert f"GPTQ, {bits} bits, 3 groups" in found.notes[0]


def test_awq_packs_outputs_out_of_order(checkpoint):
    codes, zeros, scales = codes_of(4, INPUTS, OUTPUTS), codes_of(4, GROUPS, OUTPUTS), scales_of(GROUPS, OUTPUTS)
    order = [column + k for column in range(0, OUTPUTS, 8) for k in (0, 2, 4, 6, 1, 3, 5, 7)]
    arrays = {
        "l.qweight": pack_columns(codes[:, order], 4), "l.qzeros": pack_columns(zeros[:, order], 4), "l.scales": scales,
    }  # fmt: skip
    index = np.arange(INPUTS) // (INPUTS // GROUPS)
    found, whole = kernel(checkpoint, arrays, {"quant_method": "awq", "version": "GEMM"})
    np.testing.assert_array_equal(whole, (scales[index] * (codes - zeros[index])).astype(np.float32))
    assert "AWQ, 4 bits" in found.notes[0]
    assert "version" in refusal(checkpoint, arrays, {"version": "gemv_fast"})


@pytest.mark.parametrize("inputs", [INPUTS, INPUTS - 8])
def test_awq_gemv_packs_inputs_in_order_and_pads_its_groups(checkpoint, inputs):
    codes, zeros, scales = codes_of(4, OUTPUTS, inputs), codes_of(4, OUTPUTS, 16), scales_of(OUTPUTS, 16)
    arrays = {"l.qweight": pack_columns(codes, 4), "l.qzeros": pack_columns(zeros, 4), "l.scales": scales}
    expected = [
        [scales[row, k // 32] * np.float32(int(codes[row, k]) - int(zeros[row, k // 32])) for k in range(inputs)]
        for row in range(OUTPUTS)
    ]
    settings = {"quant_method": "awq", "version": "gemv", "group_size": 32}
    found, whole = kernel(checkpoint, arrays, settings)
    np.testing.assert_array_equal(whole, expected)
    assert found.name == "l.weight"
    for wrong in (None, 0, "32", inputs + 1, 4):
        assert refusal(checkpoint, arrays, settings | {"group_size": wrong})


# --- compressed-tensors ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("zero", ["none", "plain", "packed"])
@pytest.mark.parametrize("order", [None, RNG.permutation(INPUTS) % GROUPS])
def test_packed_rows_hold_signed_codes(checkpoint, is_stream, bits, zero, order):
    half = 1 << (bits - 1)
    codes, zeros, scales = codes_of(bits, 37, INPUTS), codes_of(bits, 37, GROUPS), scales_of(37, GROUPS)
    arrays = {
        "l.weight_packed": pack_columns(codes, bits, is_stream=is_stream), "l.weight_scale": scales,
        "l.weight_shape": np.array([37, INPUTS]),
    }  # fmt: skip
    if zero == "plain":
        arrays["l.weight_zero_point"] = (zeros - half).astype(np.int8)
    elif zero == "packed":
        arrays["l.weight_zero_point"] = pack(zeros, bits, is_stream=is_stream)
    index = np.arange(INPUTS) // (INPUTS // GROUPS) if order is None else order
    if order is not None:
        arrays["l.weight_g_idx"] = order.astype(np.int32)
    shift = half if zero == "none" else zeros[:, index]
    settings = {"config_groups": {"group_0": {"weights": {"num_bits": bits}}}}
    found, whole = kernel(checkpoint, arrays, settings)
    np.testing.assert_array_equal(whole, (scales[:, index] * (codes - shift)).astype(np.float32))
    assert found.name == "l.weight"


SCALES = {"tensor": (), "one": (1,), "rows": (6,), "columns of one": (6, 1), "groups": (6, 4), "inputs": (1, 32)}


@pytest.mark.parametrize("shape", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("has_zero", [True, False])
def test_rows_of_8_bit_integers_are_scaled(checkpoint, shape, has_zero):
    codes, scales = RNG.integers(-128, 128, (6, 32)).astype(np.int8), scales_of(*shape)
    arrays = {"l.weight": codes, "l.weight_scale": scales}
    zeros = RNG.integers(-9, 9, shape).astype(np.int8) if has_zero else np.zeros(shape, np.int8)
    if has_zero:
        arrays["l.weight_zero_point"] = np.asarray(zeros)

    def spread(x):
        return np.repeat(x.reshape(x.shape if x.ndim == 2 else (-1, 1)), 8 if shape == (6, 4) else 1, axis=1)

    _, whole = kernel(checkpoint, arrays)
    np.testing.assert_array_equal(whole, (spread(scales) * (codes - spread(np.asarray(zeros, int)))).astype(np.float32))


# --- bitsandbytes, MLX, Keras ---------------------------------------------------------------------

BLOCK = 16


def bitsandbytes(kind="nf4", *, is_nested=False, **changes):
    codes, levels = codes_of(4, 6, 33), np.sort(RNG.uniform(-1, 1, 16)).astype(np.float32)
    flat = codes.reshape(-1)
    blocks = -(-flat.size // BLOCK)
    state = {"quant_type": kind, "blocksize": BLOCK, "shape": [6, 33]}
    arrays = {"l.weight": (flat[::2] << 4 | flat[1::2]).astype(np.uint8).reshape(-1, 1), "l.weight.quant_map": levels}
    if is_nested:
        table, outer = RNG.uniform(-1, 1, 256).astype(np.float32), scales_of(-(-blocks // 4))
        inner = codes_of(8, blocks).astype(np.uint8)
        arrays |= {
            "l.weight.absmax": inner, "l.weight.nested_quant_map": table, "l.weight.nested_absmax": outer,
        }  # fmt: skip
        state |= {"nested_blocksize": 4, "nested_offset": 0.25}
        norms = table[inner] * outer[np.arange(blocks) // 4] + np.float32(0.25)
    else:
        norms = arrays["l.weight.absmax"] = scales_of(blocks)
    text = json.dumps(state | changes).encode()
    arrays[f"l.weight.quant_state.bitsandbytes__{kind}"] = np.frombuffer(text, np.uint8)
    return arrays, (levels[flat] * norms[np.arange(flat.size) // BLOCK]).reshape(6, 33)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("is_nested", [True, False])
def test_bitsandbytes_looks_levels_up(checkpoint, kind, is_nested):
    arrays, expected = bitsandbytes(kind, is_nested=is_nested)
    found, whole = kernel(checkpoint, arrays)
    np.testing.assert_array_equal(whole, expected)
    assert ("absmax of 8 bits" in found.notes[0]) is is_nested


def test_bitsandbytes_scales_rows_of_8_bits(checkpoint):
    codes, largest = RNG.integers(-127, 128, (8, 5)).astype(np.int8), scales_of(8)
    _, whole = kernel(checkpoint, {"l.weight": codes, "l.SCB": largest})
    np.testing.assert_allclose(whole, codes * largest[:, None] / 127, rtol=1e-6)
    reordered = {"l.weight": codes, "l.SCB": largest, "l.weight_format": np.array(2, np.uint8)}
    assert "reordered" in refusal(checkpoint, reordered)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_mlx_adds_a_bias_to_each_group(checkpoint, bits):
    codes, scales, biases = codes_of(bits, 8, 128), scales_of(8, 2), scales_of(8, 2)
    arrays = {"l.weight": pack_columns(codes, bits).view(np.uint32), "l.scales": scales, "l.biases": biases}
    expected = np.repeat(scales, 64, 1) * codes.astype(np.float32) + np.repeat(biases, 64, 1)
    np.testing.assert_array_equal(kernel(checkpoint, arrays, {"group_size": 64, "bits": bits})[1], expected)


@pytest.mark.parametrize("bits", [3, 4])
def test_stacked_experts_of_mlx_are_dequantised_and_measured_apart(checkpoint, bits):
    codes, scales, biases = codes_of(bits, 3, 8, 128), scales_of(3, 8, 2), scales_of(3, 8, 2)
    stem = "model.layers.0.mlp.switch_mlp.up_proj"
    arrays = {
        f"{stem}.weight": np.stack([pack_columns(each, bits).view(np.uint32) for each in codes]),
        f"{stem}.scales": scales, f"{stem}.biases": biases,
    }  # fmt: skip
    expected = np.repeat(scales, 64, 2) * codes.astype(np.float32) + np.repeat(biases, 64, 2)
    opened = checkpoint(arrays, config={"quantization": {"group_size": 64, "bits": bits}})
    made = quantized.dequantised(opened).kernels[f"{stem}.weight"]
    np.testing.assert_array_equal(made.values.whole(), expected)
    layers = group(opened).layers
    assert [layer.part for layer in layers] == ["expert 0", "expert 1", "expert 2"]
    for layer, expert in zip(layers, expected, strict=True):
        np.testing.assert_array_equal(layer.get(Use.KERNEL).load(0, 8), expert)


def test_stacked_rows_of_8_bit_integers_are_scaled(checkpoint):
    codes, scales = RNG.integers(-128, 128, (7, 4, 16)).astype(np.int8), scales_of(7, 4, 1)
    _, whole = kernel(checkpoint, {"l.weight": codes, "l.weight_scale": scales})
    np.testing.assert_array_equal(whole, codes * scales)
    assert refusal(checkpoint, {"l.weight": codes, "l.weight_scale": scales_of(7, 5, 1)})


E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6)


def gpt_oss(experts=2, outputs=6, inputs=64):
    blocks = RNG.integers(0, 256, (experts, outputs, inputs // 32, 16)).astype(np.uint8)
    scales = RNG.integers(110, 130, (experts, outputs, inputs // 32)).astype(np.uint8)
    expected = np.zeros((experts, outputs, inputs), np.float32)
    for e, o, i in np.ndindex(*expected.shape):
        code = int(blocks[e, o, i // 32, i % 32 // 2]) >> 4 * (i % 2) & 15
        expected[e, o, i] = (-1) ** (code >> 3) * E2M1[code & 7] * 2.0 ** (int(scales[e, o, i // 32]) - 127)
    return blocks, scales, expected


def test_mxfp4_of_gpt_oss_is_a_level_times_a_power_of_two(checkpoint):
    blocks, scales, expected = gpt_oss(experts=7)
    found, whole = kernel(checkpoint, {"l.up_proj_blocks": blocks, "l.up_proj_scales": scales})
    np.testing.assert_array_equal(whole, expected)
    assert found.name == "l.up_proj"
    assert "MXFP4" in found.notes[0]
    assert "rounding noise" in found.notes[1]
    for start, stop in ((0, 0), (1, 2), (31, 65), (63, 64), (70, 2688)):
        np.testing.assert_array_equal(found.values.flat(start, stop), expected.reshape(-1)[start:stop])


def test_gpt_oss_is_measured_expert_by_expert_gate_and_up_apart(checkpoint):
    stem = "model.layers.0.mlp.experts."
    up, down = gpt_oss(outputs=128), gpt_oss(outputs=64)
    arrays = {f"{stem}gate_up_proj_blocks": up[0], f"{stem}gate_up_proj_scales": up[1],
              f"{stem}down_proj_blocks": down[0], f"{stem}down_proj_scales": down[1],
              f"{stem}gate_up_proj_bias": scales_of(2, 128), f"{stem}down_proj_bias": scales_of(2, 64)}  # fmt: skip
    found = group(checkpoint(arrays, config={"model_type": "gpt_oss", "hidden_size": 64}))
    assert found.skipped == ()
    kernels = {layer.name.removeprefix(stem): layer.get(Use.KERNEL) for layer in found.layers}
    assert len(kernels) == 6
    np.testing.assert_array_equal(kernels["gate_up_proj[expert 1, up]"].load(0, 64), up[2][1][1::2])
    np.testing.assert_array_equal(kernels["gate_up_proj[expert 0, gate]"].load(0, 64), up[2][0][::2])
    np.testing.assert_array_equal(kernels["down_proj[expert 1]"].load(0, 64), down[2][1])
    assert all(kernel.axes == (Axis.OUT, Axis.IN) for kernel in kernels.values())


@pytest.mark.parametrize("shape", [(6,), (1, 6), (4, 6), (4, 1)])
def test_keras_divides_by_the_scale_of_each_output(checkpoint, shape):
    codes, scales = RNG.integers(-127, 128, (20, 4, 6)).astype(np.int8), scales_of(*shape)
    _, whole = kernel(checkpoint, {"l/kernel": codes, "l/kernel_scale": scales})
    np.testing.assert_array_equal(whole, codes / scales)


def test_keras_divides_a_table_by_the_scale_of_each_row(checkpoint):
    codes, scales = RNG.integers(-127, 128, (20, 20)).astype(np.int8), scales_of(20)
    _, whole = kernel(checkpoint, {"l/embeddings": codes, "l/embeddings_scale": scales})
    np.testing.assert_array_equal(whole, codes / scales[:, None])


def test_4_bit_integers_of_keras_are_not_taken_for_8_bit_ones(checkpoint):
    pairs = RNG.integers(-7, 8, (2, 40, 6)) & 0xF
    codes = (pairs[0] | pairs[1] << 4).astype(np.uint8).view(np.int8)
    assert "4 bits" in refusal(checkpoint, {"l/kernel": codes, "l/kernel_scale": scales_of(6)})


# --- Noise ----------------------------------------------------------------------------------------


def test_the_noise_floor_is_the_error_that_rounding_made(checkpoint):
    weights = RNG.standard_normal((64, 512)).astype(np.float32)
    scales = (np.abs(weights).max(axis=1, keepdims=True) / 127).astype(np.float32)
    codes = np.rint(weights / scales).astype(np.int8)
    found, whole = kernel(checkpoint, {"l.weight": codes, "l.weight_scale": scales})
    error = np.linalg.norm(whole - weights) / np.linalg.norm(weights)
    stated = float(found.notes[1].partition("about ")[2].partition(" %")[0]) / 100
    assert stated == pytest.approx(error, rel=0.05)


def test_a_level_is_as_wide_as_the_range_that_rounds_to_it():
    np.testing.assert_allclose(level_widths(np.array([4.0, 0, 1])), [3, 1, 2])


@pytest.mark.parametrize(
    ("x", "dtype", "step"),
    [
        (1.0, "F8_E4M3", 2**-3),
        (448.0, "F8_E4M3", 32),
        (0.0, "F8_E4M3", 2**-9),
        (2**-8, "F8_E4M3", 2**-9),
        (1.5, "F8_E5M2", 0.25),
    ],
)
def test_steps_of_floats_grow_with_the_number(x, dtype, step):
    assert float_steps(np.array([x, -x]), dtype).tolist() == [step, step]


# --- What does not fit ----------------------------------------------------------------------------


def without(arrays, *names):
    return {name: array for name, array in arrays.items() if name not in names}


GPTQ, NF4, NESTED = gptq()[0], bitsandbytes()[0], bitsandbytes(is_nested=True)[0]
STATE = "l.weight.quant_state.bitsandbytes__nf4"
REFUSED = {
    "no zeros": (without(GPTQ, "l.qzeros"), "qzeros is missing"),
    "zeros of another size": (GPTQ | {"l.qzeros": GPTQ["l.qzeros"][:2]}, "do not fit"),
    "words of floats": (GPTQ | {"l.qzeros": scales_of(3, 8)}, "qzeros holds F32"),
    "complex scales": (GPTQ | {"l.scales": scales_of(3, 64).astype(np.complex64)}, "scales holds C64"),
    "scales in a row": (GPTQ | {"l.scales": scales_of(192)}, "a matrix is due"),
    "order too short": (GPTQ | {"l.g_idx": np.zeros(9, np.int32)}, "g_idx has 9 entries"),
    "order of floats": (GPTQ | {"l.g_idx": np.zeros(96, np.float32)}, "integers are due"),
    "order leads out": (GPTQ | {"l.g_idx": np.full(96, 3, np.int32)}, "names a group"),
    "order leads out below": (GPTQ | {"l.g_idx": np.full(96, -1, np.int32)}, "names a group"),
    "no state": (without(NF4, STATE), "is missing"),
    "state is no JSON": (NF4 | {STATE: np.zeros(9, np.uint8)}, "quant_state"),
    "state without shape": (bitsandbytes(shape=None)[0], "no shape"),
    "shape of another size": (bitsandbytes(shape=[6, 34])[0], "do not hold"),
    "huge shape": (bitsandbytes(shape=[1 << 70, 1 << 70])[0], "do not hold"),
    "huge block": (bitsandbytes(blocksize=1 << 70)[0], "no blocksize"),
    "no block": (bitsandbytes(blocksize=0)[0], "no blocksize"),
    "levels": (NF4 | {"l.weight.quant_map": scales_of(15)}, "do not fit"),
    "absmax": (NF4 | {"l.weight.absmax": scales_of(3)}, "3 scales"),
    "no nested map": (without(NESTED, "l.weight.nested_quant_map"), "is missing"),
    "no nested offset": (bitsandbytes(is_nested=True, nested_offset=None)[0], "nested_offset"),
    "nested absmax": (NESTED | {"l.weight.nested_absmax": scales_of(1)}, "do not fit"),
    "rows of integers": ({"l.weight": np.ones((6, 4), np.int8), "l.weight_scale": scales_of(5)}, "scales of shape"),
    "blocks of another size": (
        {"l.up_blocks": np.ones((2, 3, 15), np.uint8), "l.up_scales": np.ones((2, 3), np.uint8)}, "do not fit",
    ),
    "blocks in a row": ({"l.up_blocks": np.ones((3, 16), np.uint8), "l.up_scales": np.ones(3, np.uint8)}, "do not fit"),
    "scales of floats": (
        {"l.up_blocks": np.ones((2, 3, 16), np.uint8), "l.up_scales": np.ones((2, 3), np.float32)}, "U8 are due",
    ),
    "unsigned rows": ({"l.weight": np.ones((6, 4), np.uint8), "l.weight_scale": scales_of(6)}, "I8 are due"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "words"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_the_reason(checkpoint, arrays, words):
    assert words in refusal(checkpoint, arrays)


@pytest.mark.parametrize("version", [["gptq"], {}, None, "marlin", 7])
def test_a_form_that_is_not_known_is_refused(checkpoint, version):
    assert "form" in refusal(checkpoint, GPTQ, {"checkpoint_format": version})


def test_a_kernel_of_the_same_name_is_not_overwritten(checkpoint):
    assert "there is l.kernel too" in refusal(checkpoint, GPTQ | {"l.kernel": scales_of(3, 3)})


def test_what_is_refused_is_skipped_and_what_is_made_is_not(checkpoint):
    from regaudit.layers.architecture import Architecture

    arrays = {f"a{name}": array for name, array in GPTQ.items()} | without(NF4, STATE)
    opened = checkpoint(arrays)
    made = quantized.dequantised(opened)
    skips = quantized.packed(opened.tensors, Architecture(), made)
    assert made.tensors == {name for name in arrays if name.startswith("al.")}
    assert set(skips) == set(arrays) - made.tensors
    assert [skip.tensor for skip in skips.values() if skip.blocking] == ["l.weight"]
    assert "is missing" in skips["l.weight"].reason
