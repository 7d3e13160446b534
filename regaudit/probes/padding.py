"""Positions that only fill up a sequence: the attention mask says which, and they count in no measurement of activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.probes.base import Data, Tensor
    from regaudit.records import Array

MASK: Final = "attention_mask"  # as Hugging Face names it: 1 for a token, 0 for padding


def mask_of(ids: Array, pad: int | None) -> Array:
    """Return the attention mask of ids: 0 where a row ends, or else begins, with the id of padding.

    Args:
        ids: Shape (examples, positions).
        pad: The id; None where the model has none.

    Returns:
        The same shape; a row of padding alone is kept whole.
    """
    is_pad = ids == pad if pad is not None else np.zeros(ids.shape, bool)
    behind = np.logical_and.accumulate(is_pad[:, ::-1], axis=1)[:, ::-1]
    before = np.logical_and.accumulate(is_pad, axis=1)
    filled = np.where(behind.any(1, keepdims=True), behind, before)
    return np.where(filled & ~filled.all(1, keepdims=True), 0, 1).astype(np.int64)


def kept(batch: Mapping[str, Tensor]) -> Tensor | None:
    """Return which positions of a batch are no padding, shape (examples, positions); None where all are kept."""
    mask = batch.get(MASK)
    if mask is None or mask.ndim != 2:
        return None
    found = mask != 0
    return None if bool(found.all()) else found


def without_padding(tensor: Tensor, positions: Tensor | None) -> Tensor:
    """Return what a layer gave at the positions that are kept, (kept, …); all of it where it has no such positions.

    Args:
        tensor: Any shape; (examples, positions, …) where it has a row for each position.
        positions: As `kept` returns it.
    """
    return tensor[positions] if _fits(tensor, positions) else tensor


def silenced(output: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the model's output with 0 at padding, so that it adds nothing to a sum over outputs."""
    positions = kept(batch)
    if positions is None or not _fits(output, positions):
        return output
    return output * positions.reshape(*positions.shape, *[1] * (output.ndim - 2)).to(output.dtype)


def described(data: Data) -> tuple[str, ...]:
    """Return a sentence on how many positions are left out; () where none is."""
    positions = kept(data.inputs)
    if positions is None:
        return ()
    share = 1.0 - float(positions.double().mean())
    return (f"Padding ({MASK} 0), {share:.0%} of all positions, counts in no activation and no sensitivity.",)


def _fits(tensor: Tensor, positions: Tensor | None) -> bool:
    return positions is not None and tensor.ndim > 2 and tensor.shape[:2] == positions.shape
