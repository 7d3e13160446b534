"""Numbers behind DequantizeLinear: the weights that the graph makes of them, element by element.

Source: ONNX, operator DequantizeLinear (opset 23).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable

    from regaudit.checkpoints.onnx_flow import Step
    from regaudit.checkpoints.onnx_tensors import Stored
    from regaudit.checkpoints.onnx_weights import Piece
    from regaudit.records import Array

_CODES = frozenset({"I8", "U8", "I16", "U16", "I4", "U4", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """What turns stored codes into weights: scale · (code - zero).

    Args:
        scale: One number, or one for each position of an axis.
        zero: As many; None for 0.
        axis: Of the stored tensor; None where one scale holds for all.
    """

    scale: Stored
    zero: Stored | None
    axis: int | None

    @property
    def key(self) -> Hashable:
        """Equal for grids that are the same."""
        return self.scale.place, self.zero and self.zero.place, self.axis

    def weights(self, codes: Array, shape: tuple[int, ...], start: int) -> Array:
        """Return the weights of elements [start, start + n), in C order of the stored tensor.

        Args:
            codes: As stored, 1-D of length n.
            shape: Of the stored tensor.
            start: Position of the first of them.
        """
        place = np.zeros(len(codes), np.int64)
        if self.axis is not None:
            place = np.arange(start, start + len(codes)) // math.prod(shape[self.axis + 1 :]) % shape[self.axis]
        with np.errstate(all="ignore"):  # what is not finite comes through as it is
            block = codes.astype(np.float32)
            if self.zero is not None:
                block -= self.zero.read(0, self.zero.size).astype(np.float32)[place]
            return np.asarray(block * self.scale.read(0, self.scale.size).astype(np.float32)[place])

    def step(self) -> float:
        """Return the rms distance between neighbouring integer codes; 0 where it is not finite."""
        with np.errstate(all="ignore"):
            rms = math.sqrt(np.square(self.scale.read(0, self.scale.size), dtype=np.float64).mean())
        return rms if math.isfinite(rms) else 0.0


def grid(step: Step, codes: Piece, scale: Piece | None, zero: Piece | None) -> Grid | None:
    """Return how a DequantizeLinear turns a tensor of the file into weights; None where that is not known.

    Scales for blocks along an axis (`block_size`) and scales that the graph computes are not.
    """
    is_zero_known = step.value(2) is None or zero is not None
    if scale is None or not scale.tensor.is_float or not is_zero_known or codes.tensor.dtype not in _CODES:
        return None
    size = scale.tensor.size
    if step.op != "DequantizeLinear" or step.integer("block_size") or (zero and zero.tensor.size != size) or not size:
        return None
    if size == 1:
        return Grid(scale=scale.tensor, zero=zero.tensor if zero else None, axis=None)
    place, axes = step.integer("axis", 1), codes.axes or ()
    stored = axes[place] if -len(axes) <= place < len(axes) else ()
    if len(stored) != 1 or codes.tensor.shape[stored[0]] != size:
        return None
    return Grid(scale=scale.tensor, zero=zero.tensor if zero else None, axis=stored[0])
