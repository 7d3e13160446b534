"""Blocks of GGML to numbers: 32 or 256 weights with their scales, as GGUF files store them.

Every decoder works on all blocks at once. Whether a scale or a minimum is multiplied first decides the last bit of a
float32: the order is that of GGML.

Source: ggml-common.h (layouts) and ggml-quants.c (formulas) of https://github.com/ggml-org/llama.cpp
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.records import Array

EXTRA = "gguf"  # the package, and our extra that brings it


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """How weights of one type are stored.

    Args:
        size: Weights in a block.
        nbytes: Bytes of a block.
        decode: Turns blocks, bytes of shape (n, nbytes), into float32 of shape (n, size); None where it is not known.
        noise: Error of rounding to this type, relative to the rms of the weights; 0 where it is not known.
    """

    size: int
    nbytes: int
    decode: Callable[[Array], Array] | None = None
    noise: float = 0.0


def read_blocks(read_at: Callable[[int, int], bytes], offset: int, dtype: str, start: int, stop: int) -> Array:
    """Return weights [start, stop) of an array of blocks that begins at byte `offset`, as float32.

    Args:
        read_at: `read_at(offset, count)` returns bytes.
        offset: Where block 0 begins.
        dtype: Key of `BLOCKS`, of a type that has a decoder.
        start: First weight.
        stop: One past the last weight.
    """
    block = BLOCKS[dtype]
    if start >= stop:
        return np.empty(0, np.float32)
    first, last = start // block.size, -(-stop // block.size)
    raw = read_at(offset + first * block.nbytes, (last - first) * block.nbytes)
    codes = np.frombuffer(raw, np.uint8).reshape(last - first, block.nbytes)
    assert block.decode is not None
    with np.errstate(all="ignore"):  # scales that are not finite come through as they are
        values = block.decode(codes).reshape(-1)
    return values[start - first * block.size : stop - first * block.size]


def _half(raw: Array) -> Array:
    """Return float16 numbers, shape (n, k), as float32."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _nibbles(raw: Array, run: int) -> Array:
    """Return 4-bit codes: of each `run` bytes first the low halves, then the high ones."""
    bytes_ = raw.reshape(len(raw), -1, 1, run)
    return (np.concatenate([bytes_ & 0xF, bytes_ >> 4], axis=2)).reshape(len(raw), -1)


def _spread(raw: Array, run: int, bits: int) -> Array:
    """Return codes of 1 or 2 bits: of each `run` bytes first their lowest bits, then the next ones, and so on."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(-1, 1)
    return ((raw.reshape(len(raw), -1, 1, run) >> shifts) & ((1 << bits) - 1)).reshape(len(raw), -1)


def _bits(raw: Array) -> Array:
    """Return the bits of bytes, the lowest first."""
    return np.unpackbits(raw, axis=1, bitorder="little")


def _scaled(scales: Array, codes: Array) -> Array:
    """Return scale · code; each of the (n, k) scales is for an equal run of the (n, m) codes."""
    groups = codes.reshape(*scales.shape, -1)
    return (scales[..., None] * groups.astype(np.float32)).reshape(codes.shape)


def _shifted(scales: Array, codes: Array, minima: Array) -> Array:
    """Return scale · code - minimum, with a scale and a minimum for equal runs of codes."""
    product = _scaled(scales, codes).reshape(*scales.shape, -1)
    product -= minima[..., None]
    return product.reshape(codes.shape)


def _signed(codes: Array, zero: int) -> Array:
    return codes.astype(np.int8) - np.int8(zero)


def _q4_0(raw: Array) -> Array:
    return _scaled(_half(raw[:, :2]), _signed(_nibbles(raw[:, 2:], 16), 8))


def _q4_1(raw: Array) -> Array:
    return _shifted(_half(raw[:, :2]), _nibbles(raw[:, 4:], 16), -_half(raw[:, 2:4]))


def _q5_0(raw: Array) -> Array:
    codes = _nibbles(raw[:, 6:], 16) | _bits(raw[:, 2:6]) << 4
    return _scaled(_half(raw[:, :2]), _signed(codes, 16))


def _q5_1(raw: Array) -> Array:
    codes = _nibbles(raw[:, 8:], 16) | _bits(raw[:, 4:8]) << 4
    return _shifted(_half(raw[:, :2]), codes, -_half(raw[:, 2:4]))


def _q8_0(raw: Array) -> Array:
    return _scaled(_half(raw[:, :2]), raw[:, 2:].view(np.int8))


def _q2_k(raw: Array) -> Array:
    scale, minimum = _half(raw[:, 80:82]), _half(raw[:, 82:84])
    packed = raw[:, :16]
    return _shifted(scale * (packed & 0xF), _spread(raw[:, 16:80], 32, 2), minimum * (packed >> 4))


def _q3_k(raw: Array) -> Array:
    # The third bit is stored inverted: a code without it is 4 less.
    codes = _signed(_spread(raw[:, 32:96], 32, 2) | _spread(raw[:, :32], 32, 1) << 2, 4)
    low, high = _nibbles(raw[:, 96:104], 8), _spread(raw[:, 104:108], 4, 2)
    return _scaled(_half(raw[:, 108:110]) * _signed(low | high << 4, 32), codes)


def _scales_k4(raw: Array) -> tuple[Array, Array]:
    """Return eight 6-bit scales and eight 6-bit minima from 12 bytes."""
    first, second, rest = raw[:, :4], raw[:, 4:8], raw[:, 8:]
    scales = np.concatenate([first & 63, rest & 0xF | first >> 6 << 4], axis=1)
    minima = np.concatenate([second & 63, rest >> 4 | second >> 6 << 4], axis=1)
    return scales, minima


def _q4_k(raw: Array) -> Array:
    scales, minima = _scales_k4(raw[:, 4:16])
    return _shifted(_half(raw[:, :2]) * scales, _nibbles(raw[:, 16:], 32), _half(raw[:, 2:4]) * minima)


def _q5_k(raw: Array) -> Array:
    scales, minima = _scales_k4(raw[:, 4:16])
    codes = _nibbles(raw[:, 48:], 32) | _spread(raw[:, 16:48], 32, 1) << 4
    return _shifted(_half(raw[:, :2]) * scales, codes, _half(raw[:, 2:4]) * minima)


def _q6_k(raw: Array) -> Array:
    codes = _nibbles(raw[:, :128], 64) | _spread(raw[:, 128:192], 32, 2) << 4
    return _scaled(_half(raw[:, 208:210]) * raw[:, 192:208].view(np.int8), _signed(codes, 32))


def _q8_k(raw: Array) -> Array:
    return _scaled(np.ascontiguousarray(raw[:, :4]).view("<f4"), raw[:, 4:260].view(np.int8))


def _tq2_0(raw: Array) -> Array:
    return _scaled(_half(raw[:, 64:66]), _signed(_spread(raw[:, :64], 32, 2), 1))


# The 16 levels of IQ4: denser near zero, as weights are (kvalues_iq4nl).
_IQ4_LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)


def _iq4_nl(raw: Array) -> Array:
    return _scaled(_half(raw[:, :2]), _IQ4_LEVELS[_nibbles(raw[:, 2:], 16)])


def _iq4_xs(raw: Array) -> Array:
    low, high = _nibbles(raw[:, 4:8], 1), _spread(raw[:, 2:4], 1, 2)
    scales = _half(raw[:, :2]) * _signed(low | high << 4, 32)
    return _scaled(scales, _IQ4_LEVELS[_nibbles(raw[:, 8:], 16)])


# Twice the values of a 4-bit float, so that its scale of up to 2^128 can be halved and stays finite.
_MXFP4_LEVELS = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)


def _mxfp4(raw: Array) -> Array:
    scales = np.ldexp(np.float32(1), raw[:, :1].astype(np.int32) - 128)
    return _scaled(scales, _MXFP4_LEVELS[_nibbles(raw[:, 1:], 16)])


def _nvfp4(raw: Array) -> Array:
    # Scales are 8-bit floats without a sign: four bits of exponent, three of mantissa; 0x7F stands for 0.
    exponent, mantissa = (raw[:, :4] >> 3 & 0xF).astype(np.int32), (raw[:, :4] & 7).astype(np.float32)
    scales = np.ldexp(mantissa + 8 * (exponent > 0), np.maximum(exponent, 1) - 11)
    scales[raw[:, :4] == 0x7F] = 0
    return _scaled(scales.astype(np.float32), _MXFP4_LEVELS[_nibbles(raw[:, 4:], 8)])


def _trits(raw: Array, run: int, count: int) -> Array:
    """Return digits of base 3: of each `run` bytes the first digits, then the second ones, up to `count`.

    A byte is ceil(256 · 0.d₁d₂d₃d₄d₅ in base 3): times 3^k, its low byte begins with digit k + 1.
    """
    powers = (3 ** np.arange(count)).astype(np.uint8).reshape(-1, 1)
    shifted = raw.reshape(len(raw), -1, 1, run) * powers
    return (shifted.astype(np.uint16) * 3 >> 8).astype(np.uint8).reshape(len(raw), -1)


def _tq1_0(raw: Array) -> Array:
    digits = [_trits(raw[:, :32], 32, 5), _trits(raw[:, 32:48], 16, 5), _trits(raw[:, 48:52], 4, 4)]
    return _scaled(_half(raw[:, 52:54]), _signed(np.concatenate(digits, axis=1), 1))


def _by_package(dtype: str) -> Callable[[Array], Array] | None:
    """Return a decoder of the package gguf, which has the tables of the types below 4 bits; None without it."""
    if find_spec(EXTRA) is None:
        return None

    def decode(raw: Array) -> Array:
        quants = import_module(f"{EXTRA}.quants")
        return np.asarray(quants.dequantize(raw, import_module(EXTRA).GGMLQuantizationType[dtype]), np.float32)

    return decode


# `noise` was measured: 262,144 normal weights, rounded by llama.cpp's own quantisers without an importance matrix.
BLOCKS: dict[str, Block] = {
    "Q4_0": Block(size=32, nbytes=18, decode=_q4_0, noise=0.086),
    "Q4_1": Block(size=32, nbytes=20, decode=_q4_1, noise=0.078),
    "Q5_0": Block(size=32, nbytes=22, decode=_q5_0, noise=0.043),
    "Q5_1": Block(size=32, nbytes=24, decode=_q5_1, noise=0.038),
    "Q8_0": Block(size=32, nbytes=34, decode=_q8_0, noise=0.0054),
    "Q2_K": Block(size=256, nbytes=84, decode=_q2_k, noise=0.3),
    "Q3_K": Block(size=256, nbytes=110, decode=_q3_k, noise=0.15),
    "Q4_K": Block(size=256, nbytes=144, decode=_q4_k, noise=0.072),
    "Q5_K": Block(size=256, nbytes=176, decode=_q5_k, noise=0.036),
    "Q6_K": Block(size=256, nbytes=210, decode=_q6_k, noise=0.018),
    "Q8_K": Block(size=256, nbytes=292, decode=_q8_k, noise=0.007),
    "IQ4_NL": Block(size=32, nbytes=18, decode=_iq4_nl, noise=0.076),
    "IQ4_XS": Block(size=256, nbytes=136, decode=_iq4_xs, noise=0.077),
    "TQ2_0": Block(size=256, nbytes=66, decode=_tq2_0),
    "MXFP4": Block(size=32, nbytes=17, decode=_mxfp4),
    "TQ1_0": Block(size=256, nbytes=54, decode=_tq1_0),
    "NVFP4": Block(size=64, nbytes=36, decode=_nvfp4),
    # Codes of these are looked up in tables of hundreds of vectors, which the extra gguf brings.
    "IQ1_S": Block(size=256, nbytes=50, decode=_by_package("IQ1_S")),
    "IQ1_M": Block(size=256, nbytes=56, decode=_by_package("IQ1_M")),
    "IQ2_XXS": Block(size=256, nbytes=66, decode=_by_package("IQ2_XXS")),
    "IQ2_XS": Block(size=256, nbytes=74, decode=_by_package("IQ2_XS")),
    "IQ2_S": Block(size=256, nbytes=82, decode=_by_package("IQ2_S")),
    "IQ3_XXS": Block(size=256, nbytes=98, decode=_by_package("IQ3_XXS")),
    "IQ3_S": Block(size=256, nbytes=110, decode=_by_package("IQ3_S")),
}
NEEDS_EXTRA = frozenset(name for name in BLOCKS if name.startswith(("IQ1", "IQ2", "IQ3")))
READABLE = frozenset(name for name, block in BLOCKS.items() if block.decode)
