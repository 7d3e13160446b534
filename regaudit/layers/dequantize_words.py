"""Weights packed in 32-bit words: GPTQ, AWQ, compressed-tensors and MLX; and rows of 8-bit integers.

Sources: AutoGPTQ and GPTQModel (nn_modules/qlinear), AutoAWQ (utils/packing_utils), compressed-tensors
(compressors/quantized_compressors), bitsandbytes (Linear8bitLt), MLX (mlx.core.dequantize).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from regaudit.checkpoints import limits
from regaudit.layers.dequantize_base import WORDS, Packed, Unpacked, affine, by_column, by_row, require, sizes
from regaudit.layers.dequantize_codes import WORD, unpack, unpack_awq, unpack_columns

if TYPE_CHECKING:
    from regaudit.layers.dequantize_base import Rows
    from regaudit.layers.values import Values
    from regaudit.records import Array

_GPTQ_BITS, _MLX_BITS = (2, 3, 4, 8), (2, 3, 4, 5, 6, 8)
_GEMV = ("gemv", "GEMV")
_PACKED_BITS = (4, 8, 2, 3, 5, 6)  # of compressed-tensors; the first that fits, where nothing is declared


def gptq_or_awq(packed: Packed) -> Unpacked:
    """Return the kernel of a layer that keeps `qweight`, `qzeros` and `scales`.

    GPTQ packs codes along the inputs, AWQ along the outputs: the shapes tell them apart. AWQ's second form says so.
    """
    if packed.settings.get("version") in _GEMV:
        return _awq_gemv(packed)
    words, zeros = packed.matrix("qweight", *WORDS), packed.matrix("qzeros", *WORDS)
    scales = packed.matrix("scales")
    return (_awq if words.shape[1] * 8 == scales.shape[1] else _gptq)(packed, words, zeros, scales)


def _gptq(packed: Packed, words: Values, zeros: Values, scales: Values) -> Unpacked:
    """Return scale · (code - zero), stored (in, out): codes packed along the inputs, zeros along the outputs.

    The first version of the format stores each zero less 1. `g_idx` gives the group of each input (act-order).
    """
    groups, outputs = scales.shape
    bits = WORD * zeros.shape[1] // outputs
    inputs = words.shape[0] * WORD // max(bits, 1)
    is_fit = words.shape == (inputs * bits // WORD, outputs) and zeros.shape == (groups, outputs * bits // WORD)
    require(bits in _GPTQ_BITS and is_fit, sizes(words, zeros, scales))
    version = packed.settings.get("checkpoint_format", "gptq")
    require(version in ("gptq", "gptq_v2"), f"its form is {version!r:.40}")  # a tuple: an untrusted list has no hash
    one_less = np.uint8(version == "gptq")
    run, run_words = WORD // math.gcd(WORD, bits), bits // math.gcd(WORD, bits)

    def codes(start: int, stop: int) -> Array:
        first, last = start // run, -(-stop // run)
        return unpack(words.rows(first * run_words, last * run_words), bits)[start - first * run :][: stop - start]

    def zero(start: int, stop: int) -> Array:
        return (unpack_columns(zeros.rows(start, stop), bits) + one_less) & np.uint8((1 << bits) - 1)

    index = group_index(packed, inputs, groups, "g_idx")
    values, steps = affine(
        (words, zeros, scales, *packed.present("g_idx")), (inputs, outputs), codes, by_row(scales.rows, index),
        zeros=by_row(zero, index),
    )  # fmt: skip
    note = f"GPTQ, {bits} bits, {groups:,} groups of inputs: scale · (code - zero), stored (in, out)"
    return Unpacked(leaf="kernel", values=values, steps=steps, note=note)


def _awq(packed: Packed, words: Values, zeros: Values, scales: Values) -> Unpacked:
    """Return scale · (code - zero), stored (in, out): codes and zeros packed along the outputs, out of order."""
    (inputs, columns), (groups, outputs) = words.shape, scales.shape
    require(zeros.shape == (groups, columns), sizes(words, zeros, scales))
    version = packed.settings.get("version", "gemm")
    require(isinstance(version, str) and version.lower() == "gemm", f"its version is {version!r:.40}, not gemm")
    index = group_index(packed, inputs, groups, "g_idx")
    values, steps = affine(
        (words, zeros, scales, *packed.present("g_idx")), (inputs, outputs), lambda a, b: unpack_awq(words.rows(a, b)),
        by_row(scales.rows, index), zeros=by_row(lambda a, b: unpack_awq(zeros.rows(a, b)), index),
    )  # fmt: skip
    note = f"AWQ, 4 bits, {groups:,} groups of inputs: scale · (code - zero), stored (in, out)"
    return Unpacked(leaf="kernel", values=values, steps=steps, note=note)


def _awq_gemv(packed: Packed) -> Unpacked:
    """Return scale · (code - zero), stored (out, in): codes packed along the inputs, in order.

    Scales and zeros of a row are padded to whole words, and to more of them for small groups.
    """
    words, zeros, scales = packed.matrix("qweight", *WORDS), packed.matrix("qzeros", *WORDS), packed.matrix("scales")
    outputs, inputs = words.shape[0], words.shape[1] * 8
    length = packed.settings.get("group_size", packed.settings.get("q_group_size"))
    require(type(length) is int and 0 < length <= inputs, f"its group_size is {length!r:.40}")
    groups = -(-inputs // int(length or 1))
    is_fit = zeros.shape[0] == outputs and scales.shape == (outputs, zeros.shape[1] * 8) and groups <= scales.shape[1]
    require(is_fit, sizes(words, zeros, scales))
    require(inputs <= limits.QUANT_INPUTS.value, limits.QUANT_INPUTS.excess(f"{inputs:,} inputs", needed=inputs))
    index = np.arange(inputs) // int(length or 1)
    values, steps = affine(
        (words, zeros, scales), (outputs, inputs), lambda a, b: unpack_columns(words.rows(a, b), 4),
        by_column(scales.rows, index), zeros=by_column(lambda a, b: unpack_columns(zeros.rows(a, b), 4), index),
    )  # fmt: skip
    note = f"AWQ (gemv), 4 bits, {groups:,} groups of inputs: scale · (code - zero)"
    return Unpacked(leaf="weight", values=values, steps=steps, note=note)


def pack_quantized(packed: Packed) -> Unpacked:
    """Return scale · (code - zero), stored (out, in): signed codes packed along the inputs, zeros along the outputs."""
    words, scales = packed.matrix("weight_packed", *WORDS), packed.matrix("weight_scale")
    shape = packed.whole_numbers("weight_shape", 2)
    outputs, groups = scales.shape
    require(shape is not None and words.shape[0] == outputs, sizes(words, scales))
    inputs = 0 if shape is None or int(shape[0]) != outputs else int(shape[1])
    bits, is_stream = _packing(packed, inputs, words.shape[1])
    half = np.int16(1 << (bits - 1))

    def codes(start: int, stop: int) -> Array:
        return unpack_columns(words.rows(start, stop), bits, is_stream=is_stream)[:, :inputs].astype(np.int16) - half

    index = group_index(packed, inputs, groups, "weight_g_idx")
    zeros = _packed_zeros(packed, (outputs, groups), bits, is_stream=is_stream)
    companions = packed.present("weight_shape", "weight_zero_point", "weight_g_idx")
    values, steps = affine(
        (words, scales, *companions), (outputs, inputs), codes, by_column(scales.rows, index),
        zeros=by_column(zeros, index) if zeros else None,
    )  # fmt: skip
    note = f"compressed-tensors, {bits} bits, {groups:,} groups of inputs: scale · (code - zero)"
    return Unpacked(leaf="weight", values=values, steps=steps, note=note)


def _packing(packed: Packed, inputs: int, words: int) -> tuple[int, bool]:
    """Return how many bits a code has, and whether one may straddle two words, as newer versions pack them."""
    groups = packed.settings.get("config_groups")
    kinds = (
        [each.get("weights") for each in groups.values() if isinstance(each, dict)] if isinstance(groups, dict) else []
    )
    declared = [kind.get("num_bits") for kind in kinds if isinstance(kind, dict)]
    likely = [n for n in declared if type(n) is int and 0 < n <= 8]
    fitting = (
        (bits, is_stream)
        for bits in (*likely, *_PACKED_BITS)
        for is_stream in (True, False)
        if words == (-(-inputs * bits // WORD) if is_stream else -(-inputs // (WORD // bits)))
    )
    bits, is_stream = next(fitting, (0, True))
    require(inputs > 0 and bits > 0, f"{words:,} words in a row do not hold {inputs:,} inputs")
    return bits, is_stream


def _packed_zeros(packed: Packed, shape: tuple[int, int], bits: int, *, is_stream: bool) -> Rows | None:
    if "weight_zero_point" not in packed.parts:
        return None
    stored = packed.matrix("weight_zero_point", "I8", "I32")
    if stored.dtype == "I8" and stored.shape == shape:
        return stored.rows
    # A run of codes that begins and ends with a word.
    run, run_words = (WORD // math.gcd(WORD, bits), bits // math.gcd(WORD, bits)) if is_stream else (WORD // bits, 1)
    needed = -(-shape[0] * bits // WORD) if is_stream else -(-shape[0] // run)
    require(stored.shape == (needed, shape[1]), sizes(stored))
    half = np.int16(1 << (bits - 1))

    def rows(start: int, stop: int) -> Array:
        first, last = start // run, -(-stop // run)
        block = unpack(stored.rows(first * run_words, min(last * run_words, needed)), bits, is_stream=is_stream)
        return block[start - first * run :][: stop - start].astype(np.int16) - half

    return rows


def mlx(packed: Packed) -> Unpacked:
    """Return scale · code + bias, stored (out, in), codes packed along the inputs."""
    words = packed.matrix("weight", *WORDS)
    scales, biases = packed.matrix("scales"), packed.matrix("biases")
    length = packed.settings.get("group_size", 64)
    inputs = scales.shape[1] * length if type(length) is int and length > 0 else 1
    bits = WORD * words.shape[1] // inputs
    is_fit = words.shape == (scales.shape[0], inputs * bits // WORD) and biases.shape == scales.shape
    require(bits in _MLX_BITS and inputs <= limits.QUANT_INPUTS.value and is_fit, sizes(words, scales, biases))
    index = np.arange(inputs) // length
    values, steps = affine(
        (words, scales, biases), (words.shape[0], inputs), lambda a, b: unpack_columns(words.rows(a, b), bits),
        by_column(scales.rows, index), offsets=by_column(biases.rows, index),
    )  # fmt: skip
    note = f"MLX, {bits} bits, groups of {length} inputs: scale · code + bias"
    return Unpacked(leaf="weight", values=values, steps=steps, note=note)


def int8(packed: Packed) -> Unpacked:
    """Return scale · (code - zero), stored (out, in), with scales for the tensor, each row, or groups of columns."""
    weight, scale = packed.matrix("weight", "I8"), packed.part("weight_scale")
    zero = packed.part("weight_zero_point", "I8", "I32") if "weight_zero_point" in packed.parts else None
    values, steps = affine(
        (weight, scale, *packed.present("weight_zero_point")), weight.shape, weight.rows, _grid(scale, weight.shape),
        zeros=_grid(zero, weight.shape) if zero else None,
    )  # fmt: skip
    return Unpacked(leaf="weight", values=values, steps=steps, note="8-bit integers: scale · (code - zero)")


def bitsandbytes_8bit(packed: Packed) -> Unpacked:
    """Return code · SCB / 127, stored (out, in), with SCB the largest weight of each row."""
    weight, largest = packed.matrix("weight", "I8"), packed.part("SCB")
    form = packed.whole_numbers("weight_format", 1)
    require(largest.size == weight.shape[0], sizes(weight, largest))
    require(form is None or form[0] == 0, "its rows are reordered for a GPU")
    values, steps = affine(
        (weight, largest, *packed.present("weight_format")), weight.shape, weight.rows,
        lambda a, b: largest.flat(a, b)[:, None] / np.float32(127),
    )  # fmt: skip
    note = "bitsandbytes, 8 bits: code · the largest weight of its row / 127"
    return Unpacked(leaf="weight", values=values, steps=steps, note=note)


def group_index(packed: Packed, inputs: int, groups: int, suffix: str) -> Array:
    """Return the group of each input: as the file says, or neighbours together.

    Raises:
        Unfit: The groups and the inputs do not fit, or the file names a group that is not there.
    """
    require(inputs <= limits.QUANT_INPUTS.value, limits.QUANT_INPUTS.excess(f"{inputs:,} inputs", needed=inputs))
    index = packed.whole_numbers(suffix, inputs)
    if index is None:
        length = -(-inputs // groups)
        require((groups - 1) * length < inputs, f"{groups:,} groups for {inputs:,} inputs")
        return np.arange(inputs) // length
    require(index.min() >= 0 and index.max() < groups, f"{suffix} names a group that is not among the {groups:,}")
    return index.astype(np.int64)


def _grid(scale: Values, shape: tuple[int, ...]) -> Rows:
    """Return what one number, one for each row, or one for each row and group of columns says of every row."""
    down, across = scale.shape if scale.ndim == 2 else (scale.size, 1)
    is_fit = scale.ndim <= 2 and down in {1, shape[0]} and shape[1] % across == 0
    require(is_fit, f"scales of shape {scale.shape} for a kernel of shape {shape}")

    def rows(start: int, stop: int) -> Array:
        first, last = (start, stop) if down > 1 else (0, 1)
        block = scale.flat(first * across, last * across).reshape(last - first, across)
        return np.repeat(block, shape[1] // across, axis=1)

    return rows
