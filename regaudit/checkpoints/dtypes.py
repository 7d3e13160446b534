"""Stored bytes to numbers, for every dtype of safetensors; other formats spell theirs the same way.

numpy has no bfloat16 and no 8-bit or 4-bit floats: bfloat16 is a float32 without its low half, and the small
ones are looked up in a table of all their codes (7 to 10 times faster than converting them one by one).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.records import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Dtype:
    """How elements of one dtype are stored: bits each, the numpy type of the raw codes, and what they decode to."""

    bits: int
    raw: str
    decode: Callable[[Array], Array]
    is_float: bool = True


def nbytes(dtype: str, size: int) -> int:
    """Return the bytes that `size` elements take; 4-bit elements are packed two to a byte."""
    return (DTYPES[dtype].bits * size + 7) // 8


def decode(dtype: str, raw: bytes | Array) -> Array:
    """Return the numbers in `raw`, little-endian codes of one dtype (see `Checkpoint.read` for the result types).

    An array of bytes is not used elsewhere: the numbers may lie in its memory.
    """
    kind = DTYPES[dtype]
    return kind.decode(np.frombuffer(raw, kind.raw))


def read_span(read_at: Callable[[int, int], bytes | Array], offset: int, dtype: str, start: int, stop: int) -> Array:
    """Return elements [start, stop) of an array stored contiguously from byte `offset`, decoded.

    Args:
        read_at: `read_at(offset, count)` returns bytes, or a fresh array of them.
        offset: Where element 0 begins.
        dtype: Key of `DTYPES`.
        start: First element.
        stop: One past the last element.
    """
    bits = DTYPES[dtype].bits
    first = start * bits // 8
    raw = read_at(offset + first, (stop * bits + 7) // 8 - first)
    lead = start - first * 8 // bits  # 1 where a 4-bit element is the second in its byte
    return decode(dtype, raw)[lead : lead + stop - start]


def is_packed(dtype: str) -> bool:
    """Return whether numbers of a dtype are no weights as they are, but codes of them (integers)."""
    return dtype in DTYPES and not DTYPES[dtype].is_float


def largest_finite(dtype: str) -> float | None:
    """Return the largest finite value of a float dtype; None for integers, bool and complex."""
    return _LARGEST.get(dtype)


def _same(codes: Array) -> Array:
    return codes if codes.flags.writeable else codes.copy()


def _to_float32(codes: Array) -> Array:
    return codes.astype(np.float32)


def _bfloat16(codes: Array) -> Array:
    return np.left_shift(codes, 16, dtype=np.uint32).view(np.float32)


def _small_float(exponent_bits: int, mantissa_bits: int, bias: int, special: str) -> Callable[[Array], Array]:
    """Return a decoder by table. `special`: ieee, fn (no infinities, all ones is NaN), fnuz (0x80 is NaN), none."""

    @cache
    def table() -> Array:
        codes = np.arange(1 << (1 + exponent_bits + mantissa_bits))
        sign = np.where(codes >> (exponent_bits + mantissa_bits), -1.0, 1.0)
        exponent = (codes >> mantissa_bits) & ((1 << exponent_bits) - 1)
        mantissa = (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
        value = sign * np.where(
            exponent == 0, mantissa * 2.0 ** (1 - bias), (1 + mantissa) * 2.0 ** (exponent - float(bias))
        )
        top = exponent == (1 << exponent_bits) - 1
        if special == "ieee":
            value = np.where(top, np.where(mantissa == 0, sign * np.inf, np.nan), value)
        elif special == "fn":
            value = np.where(top & (mantissa == mantissa.max()), np.nan, value)
        elif special == "fnuz":
            value = np.where(codes == len(codes) // 2, np.nan, value)
        return value.astype(np.float32)

    return lambda codes: np.take(table(), codes)


def _exponent_only(codes: Array) -> Array:
    return np.exp2(np.where(codes == 255, np.nan, codes - 127.0)).astype(np.float32)


def _packed(decode_nibble: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a decoder for two codes to a byte, the first in the low half."""
    return lambda codes: decode_nibble(np.stack([codes & 0xF, codes >> 4], axis=-1).reshape(-1))


DTYPES: dict[str, Dtype] = {
    "F64": Dtype(bits=64, raw="<f8", decode=_same),
    "F32": Dtype(bits=32, raw="<f4", decode=_same),
    "F16": Dtype(bits=16, raw="<f2", decode=_to_float32),
    "BF16": Dtype(bits=16, raw="<u2", decode=_bfloat16),
    "F8_E4M3": Dtype(bits=8, raw="u1", decode=_small_float(4, 3, 7, "fn")),
    "F8_E5M2": Dtype(bits=8, raw="u1", decode=_small_float(5, 2, 15, "ieee")),
    "F8_E4M3FNUZ": Dtype(bits=8, raw="u1", decode=_small_float(4, 3, 8, "fnuz")),
    "F8_E5M2FNUZ": Dtype(bits=8, raw="u1", decode=_small_float(5, 2, 16, "fnuz")),
    "F8_E8M0": Dtype(bits=8, raw="u1", decode=_exponent_only),
    "F4": Dtype(bits=4, raw="u1", decode=_packed(_small_float(2, 1, 1, "none"))),
    "C64": Dtype(bits=64, raw="<c8", decode=_same, is_float=False),
    "C128": Dtype(bits=128, raw="<c16", decode=_same, is_float=False),
    "I64": Dtype(bits=64, raw="<i8", decode=_same, is_float=False),
    "I32": Dtype(bits=32, raw="<i4", decode=_same, is_float=False),
    "I16": Dtype(bits=16, raw="<i2", decode=_same, is_float=False),
    "I8": Dtype(bits=8, raw="i1", decode=_same, is_float=False),
    "U64": Dtype(bits=64, raw="<u8", decode=_same, is_float=False),
    "U32": Dtype(bits=32, raw="<u4", decode=_same, is_float=False),
    "U16": Dtype(bits=16, raw="<u2", decode=_same, is_float=False),
    "U8": Dtype(bits=8, raw="u1", decode=_same, is_float=False),
    "BOOL": Dtype(bits=8, raw="u1", decode=lambda codes: codes != 0, is_float=False),
}

_LARGEST = {
    "F64": float(np.finfo(np.float64).max),
    "F32": float(np.finfo(np.float32).max),
    "F16": 65504.0,
    "BF16": float(np.float32(3.3895314e38)),
    "F8_E4M3": 448.0,
    "F8_E5M2": 57344.0,
    "F8_E4M3FNUZ": 240.0,
    "F8_E5M2FNUZ": 57344.0,
    "F8_E8M0": 2.0**127,
    "F4": 6.0,
}
