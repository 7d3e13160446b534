"""Codes of a few bits, packed in 32-bit words or in bytes, as the quantisation libraries pack them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from regaudit.records import Array

WORD = 32
_AWQ_COLUMNS = (0, 2, 4, 6, 1, 3, 5, 7)  # which of eight neighbours lies in each nibble, lowest first (AutoAWQ's gemm)


def unpack(words: Array, bits: int, *, is_stream: bool = True) -> Array:
    """Return the codes in 32-bit words along axis 0, lowest bits first; shape (codes, columns), uint8.

    Args:
        words: Shape (words, columns), any 32-bit integers.
        bits: Bits of a code, 1 to 8.
        is_stream: Whether a code may begin in one word and end in the next (GPTQ with 3 bits); otherwise the highest
            bits of a word that hold no whole code are empty (compressed-tensors).
    """
    words = words.view(np.uint32)
    if is_stream:
        position = np.arange(len(words) * WORD // bits) * bits
    else:
        each = WORD // bits
        word, place = np.divmod(np.arange(len(words) * each), each)
        position = word * WORD + place * bits
    word, shift = np.divmod(position, WORD)
    shift = shift.astype(np.uint32)
    codes = words[word] >> shift[:, None]
    (split,) = np.nonzero(shift + np.uint32(bits) > WORD)
    if split.size:
        codes[split] |= words[word[split] + 1] << (WORD - shift[split])[:, None]
    return (codes & np.uint32((1 << bits) - 1)).astype(np.uint8)


def unpack_columns(words: Array, bits: int, *, is_stream: bool = True) -> Array:
    """Return the codes in 32-bit words along axis 1; shape (rows, codes)."""
    return unpack(np.ascontiguousarray(words.T), bits, is_stream=is_stream).T


def unpack_awq(words: Array) -> Array:
    """Return the 4-bit codes in 32-bit words along axis 1, in the order of their columns."""
    codes = unpack_columns(words, 4)
    eights = codes.reshape(len(words), words.shape[1], 8)
    return eights[:, :, np.argsort(_AWQ_COLUMNS)].reshape(codes.shape)
