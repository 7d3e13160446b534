"""Statistics of a tensor as the file has it, whatever its dtype and meaning."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.blocks import BLOCK
from regaudit.records import Role, Tensor, TensorStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.records import Array

LARGEST: Final = sys.float_info.max
EXTREME: Final = 1e140  # beyond it (or below its inverse) squares of a block are summed in units of the largest element


@dataclass(slots=True)
class _Tally:
    """What has been seen of a tensor. `total` is a Python int for integers, so that their sum is exact."""

    total: float = 0
    norm: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    zeros: int = 0
    nonfinite: int = 0


def tensor_statistics(
    read: Callable[[Tensor, int, int], Array], tensor: Tensor, role: Role, layer: str
) -> TensorStatistics:
    """Return sum, norm, extremes, zeros and non-finite elements of one tensor, in bounded memory.

    Integers and bools are summed exactly before the sum is rounded to a double. Of complex numbers the sum and the
    extremes are those of the real part, the norm that of the modulus; one is 0 where both parts are. A sum or norm
    beyond the largest double is given as the largest double.

    Args:
        read: `Checkpoint.read`: decodes flat elements [start, stop) of a tensor.
        tensor: The tensor.
        role: What its layer does.
        layer: Name of its layer, or "".

    Returns:
        The statistics over finite elements; minimum and maximum are absent where there is none.
    """
    tally = _Tally()
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, tensor.size, BLOCK):
            _add(read(tensor, start, min(start + BLOCK, tensor.size)), tally)
    has_extremes = tally.low <= tally.high
    return TensorStatistics(
        tensor=tensor,
        role=role,
        layer=layer,
        sum=_bounded(tally.total),
        fro_norm=_bounded(tally.norm),
        minimum=float(tally.low) if has_extremes else None,
        maximum=float(tally.high) if has_extremes else None,
        zeros=tally.zeros,
        nonfinite=tally.nonfinite,
    )


def _add(x: Array, tally: _Tally) -> None:
    tally.zeros += x.size - int(np.count_nonzero(x))
    if x.dtype.kind in "fc":
        finite = np.isfinite(x)
        if not finite.all():
            tally.nonfinite += x.size - int(np.count_nonzero(finite))
            x = x[finite]
    if not x.size:
        return
    real = x.real
    tally.low, tally.high = min(tally.low, real.min().item()), max(tally.high, real.max().item())
    tally.total += _exact_sum(x) if x.dtype.kind in "iub" else _bounded(float(real.sum(dtype=np.float64)))
    tally.norm = math.hypot(tally.norm, _norm(x))


def _exact_sum(x: Array) -> int:
    """Return the sum of integers or bools: 64-bit ones in two halves, so that no block overflows."""
    if x.dtype.itemsize < 8:
        return int(x.sum(dtype=np.int64))
    return (int((x >> 32).sum(dtype=np.int64)) << 32) + int((x & 0xFFFFFFFF).sum(dtype=np.int64))


def _norm(x: Array) -> float:
    size = np.abs(x.astype(np.complex128 if x.dtype.kind == "c" else np.float64))
    largest = float(size.max())
    if largest == 0.0 or 1 / EXTREME < largest < EXTREME:
        return math.sqrt(float(size.dot(size)))
    size /= largest
    return largest * math.sqrt(float(size.dot(size)))


def _bounded(value: float) -> float:
    """Return a number as a finite double."""
    try:
        return max(-LARGEST, min(LARGEST, float(value)))
    except OverflowError:  # an int beyond every double
        return math.copysign(LARGEST, value)
