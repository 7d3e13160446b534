"""Weights in bytes, with levels or scales in an order of their own: bitsandbytes' 4 bits, MXFP4, and Keras' 8.

Sources: bitsandbytes (functional.dequantize_4bit, QuantState), Keras (quantizers.abs_max_quantize, Dense, Embedding).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from regaudit.checkpoints import limits
from regaudit.checkpoints.text import parse_object
from regaudit.errors import CheckpointError
from regaudit.layers.dequantize_base import Packed, Unfit, Unpacked, affine, require, sizes
from regaudit.layers.dequantize_noise import level_widths
from regaudit.layers.values import Values, computed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.layers.dequantize_base import Rows
    from regaudit.records import Array

STATES = ("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4")
_LEVELS, _NESTED_LEVELS = 16, 256
_SAMPLE = 1 << 16
_MX_BLOCK = 32
_MX_LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)  # E2M1


def bitsandbytes_4bit(packed: Packed) -> Unpacked:
    """Return level[code] · absmax of its block, in the order of the flat weight; of a byte the high half is first.

    With double quantisation an absmax is itself a code of 8 bits: level[code] · absmax of its block + offset.
    """
    weight, levels = packed.part("weight", "U8"), packed.part("weight.quant_map")
    state, source = _state(packed)
    shape, length = _shape(state), _block(state, "blocksize")
    size = math.prod(shape)
    require(weight.size == -(-size // 2), f"{weight.size:,} bytes do not hold the shape {shape}")
    require(levels.size == _LEVELS, sizes(levels))
    norms, scales = _norms(packed, state, -(-size // length))
    table = levels.whole().reshape(-1).astype(np.float32)

    def looked_up(numbers: Array) -> Values:
        def flat(start: int, stop: int) -> Array:
            raw = weight.flat(start // 2, -(-stop // 2))
            codes = np.stack([raw >> 4, raw & 0xF], axis=-1).reshape(-1)[start % 2 :][: stop - start]
            first = start // length
            with np.errstate(all="ignore"):
                factors = norms(first, -(-stop // length))[np.arange(start, stop) // length - first]
                return np.asarray(numbers[codes] * factors)

        names = tuple(name for each in (weight, levels, *scales, source) for name in each.tensors)
        return Values(tensors=names, dtype=weight.dtype, shape=shape, flat=flat)

    widths = level_widths(table).astype(np.float32)
    note = f"bitsandbytes, 4 bits, blocks of {length:,}: level · absmax{' of 8 bits' if len(scales) > 1 else ''}"
    return Unpacked(leaf="weight", values=looked_up(table), steps=looked_up(widths), note=note)


def _state(packed: Packed) -> tuple[Mapping[str, Any], Values]:
    key = next((key for key in STATES if key in packed.parts), STATES[0])
    stored = packed.part(key, "U8")
    problem = limits.QUANT_STATE_BYTES.excess(f"its quant_state has {stored.size:,} bytes", needed=stored.size)
    require(stored.size <= limits.QUANT_STATE_BYTES.value, problem)
    try:
        return parse_object(stored.whole().astype(np.uint8).tobytes(), "quant_state"), stored
    except CheckpointError as error:
        raise Unfit(f"its quant_state: {error.problem}") from error


def _shape(state: Mapping[str, Any]) -> tuple[int, ...]:
    shape = state.get("shape")
    is_shape = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and n > 0 for n in shape)
    require(is_shape, "its quant_state has no shape of two axes")
    return tuple(shape or ())


def _block(state: Mapping[str, Any], key: str) -> int:
    length = state.get(key)
    require(type(length) is int and 0 < length <= limits.QUANT_BLOCK.value, f"its quant_state has no {key}")
    return int(length or 0)


def _norms(packed: Packed, state: Mapping[str, Any], count: int) -> tuple[Rows, tuple[Values, ...]]:
    """Return the largest weight of each block, by flat position, and the arrays that it is stored in."""
    stored = packed.parts.get("weight.absmax")
    if stored is None or stored.dtype != "U8":
        stored = packed.part("weight.absmax")
        require(stored.size == count, f"{stored.size:,} scales, {count:,} are due")
        return stored.flat, (stored,)
    codes, outer, levels = stored, packed.part("weight.nested_absmax"), packed.part("weight.nested_quant_map")
    length, offset = _block(state, "nested_blocksize"), state.get("nested_offset")
    require(isinstance(offset, float), "its quant_state has no nested_offset")
    is_fit = codes.size == count and outer.size == -(-count // length) and levels.size == _NESTED_LEVELS
    require(is_fit, sizes(codes, outer, levels))
    table, shift = levels.whole().reshape(-1), np.float32(offset or 0.0)

    def flat(start: int, stop: int) -> Array:
        first = start // length
        factors = outer.flat(first, -(-stop // length))[np.arange(start, stop) // length - first]
        return np.asarray(table[codes.flat(start, stop)] * factors + shift)

    return flat, (codes, outer, levels)


def mxfp4(packed: Packed) -> Unpacked:
    """Return level · 2^(scale - 127), stored (experts, out, in): 32 inputs to a scale, the low half of a byte first.

    Source: OCP Microscaling Formats (MX) Specification 1.0 (2023), 5.3 and 6.3; gpt-oss, `*_blocks` and `*_scales`.
    """
    codes, scales = packed.part("_blocks", "U8"), packed.part("_scales", "U8")
    shape = (*scales.shape[:-1], scales.shape[-1] * _MX_BLOCK) if scales.ndim > 1 else ()
    require(codes.shape == (*scales.shape, _MX_BLOCK // 2) and shape, sizes(codes, scales))

    def looked_up(numbers: Array) -> Values:
        def flat(start: int, stop: int) -> Array:
            first, last = start // _MX_BLOCK, -(-stop // _MX_BLOCK)
            raw = codes.flat(first * _MX_BLOCK // 2, last * _MX_BLOCK // 2)
            nibbles = np.stack([raw & 0xF, raw >> 4], axis=-1).reshape(-1, _MX_BLOCK)
            with np.errstate(all="ignore"):
                factors = np.ldexp(np.float32(1), scales.flat(first, last).astype(np.int32) - 127)
                block = (numbers[nibbles] * factors[:, None]).reshape(-1)
            return np.asarray(block[start - first * _MX_BLOCK : stop - first * _MX_BLOCK])

        return Values(tensors=(*codes.tensors, *scales.tensors), dtype=codes.dtype, shape=shape, flat=flat)

    widths = level_widths(np.unique(_MX_LEVELS))
    steps = widths[np.searchsorted(np.unique(_MX_LEVELS), _MX_LEVELS)].astype(np.float32)
    note = f"MXFP4, 4-bit floats, blocks of {_MX_BLOCK}: level · 2^scale"
    return Unpacked(leaf="", values=looked_up(_MX_LEVELS), steps=looked_up(steps), note=note)


def keras(packed: Packed) -> Unpacked:
    """Return code / scale: one scale for each output of a kernel, or for each row of an embedding.

    Keras packs codes of 4 bits into bytes under the same names, and nothing beside them says so. But such a code is
    clipped to ±7, so that no half of a byte is 8, while in 8 bits one byte of eight has such a half.
    """
    leaf = "kernel" if "kernel" in packed.parts else "embeddings"
    codes, scale = packed.part(leaf, "I8"), packed.part(f"{leaf}_scale")
    require(not packed.parts.keys() & {"kernel_zero", "g_idx"}, "it has groups with zero points")
    require(codes.ndim > 1, sizes(codes))
    sample = codes.flat(0, min(codes.size, _SAMPLE)).view(np.uint8)
    require(((sample & 0xF == 8) | (sample >> 4 == 8)).any(), "it may be two codes of 4 bits to a byte")
    scales = _table_scales(scale, codes) if leaf == "embeddings" else _output_scales(scale, codes)

    def rows(start: int, stop: int) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(codes.rows(start, stop) / scales(start, stop), np.float32)

    def inverse(start: int, stop: int) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(np.float32(1) / scales(start, stop))

    _, steps = affine((codes, scale), codes.shape, codes.rows, inverse)
    values = computed((codes, scale), codes.shape, rows)
    return Unpacked(leaf=leaf, values=values, steps=steps, note="Keras, 8 bits: code / scale")


def _table_scales(scale: Values, table: Values) -> Rows:
    require(scale.size == table.shape[0], sizes(table, scale))
    return lambda a, b: scale.flat(a, b).reshape(-1, *[1] * (table.ndim - 1))


def _output_scales(scale: Values, kernel: Values) -> Rows:
    # Keras keeps the axes of the outputs; those of the inputs may be there with length 1, in front.
    kept = scale.shape[next((k for k, n in enumerate(scale.shape) if n != 1), scale.ndim) :]
    tail = kernel.shape[kernel.ndim - len(kept) :] if len(kept) < kernel.ndim else ()
    is_fit = len(kept) == len(tail) and all(n in {1, m} for n, m in zip(kept, tail, strict=True))
    require(is_fit, sizes(kernel, scale))
    return lambda a, b: scale.whole().reshape(kept)
