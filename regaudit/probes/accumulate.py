"""Sums over rows of activations, batch by batch: memory grows with the width of a layer, never with the data.

A row is one example at one position; its columns are the units. Sums are in double precision, and deviations are taken
from the first block's mean, so that a large mean costs no digits (Chan, Golub & LeVeque 1983).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import Array

    Tensor: TypeAlias = Any  # torch.Tensor

BLOCK: Final = 1 << 20  # elements that are held in double precision at once (8 MiB)
BINS: Final = 1 << 15  # magnitudes told apart: the upper 16 bits of a float32, without the sign
LARGEST: Final = 0x7F7F  # the bin of the largest finite numbers
WIDEST: Final = 512  # units whose second moments are kept (2 MiB a layer)


def blocks(tensor: Tensor, channel_axis: int) -> Iterator[Tensor]:
    """Yield a tensor as rows, in blocks of bounded size.

    Args:
        tensor: At least one axis; axis 0 over examples where there are two.
        channel_axis: The axis that runs over units.

    Yields:
        Shape (rows, units), in double precision; on the CPU where the device has no doubles.
    """
    whole = tensor.detach()
    whole = whole if whole.ndim > 1 else whole[None]
    step = max(1, BLOCK * len(whole) // max(whole.numel(), 1))
    for part in whole.split(step) if whole.numel() else ():
        rows = part.movedim(channel_axis, -1).reshape(-1, part.shape[channel_axis])
        yield (rows.cpu() if rows.device.type == "mps" else rows).double()


@dataclass(slots=True)
class Columns:
    """Per unit: mean, variance, range, and how often it is not 0."""

    rows: int = 0
    shift: Tensor = None
    first: Tensor = None
    second: Tensor = None
    low: Tensor = None
    high: Tensor = None
    active: Tensor = None

    def add(self, rows: Tensor) -> None:
        """Take in rows, shape (n, units), n ≥ 1."""
        if self.shift is None:
            self.shift = rows.mean(0)
            self.low, self.high = rows[0].clone(), rows[0].clone()
            self.first, self.second = self.shift * 0, self.shift * 0
            self.active = self.shift * 0
        away = rows - self.shift
        self.rows += len(rows)
        self.first += away.sum(0)
        self.second += (away * away).sum(0)
        self.low = self.low.minimum(rows.amin(0))
        self.high = self.high.maximum(rows.amax(0))
        self.active += rows.ne(0).sum(0)

    @property
    def means(self) -> Array:
        """The mean of each unit, shape (units,)."""
        return numbers(self.shift + self.first / self.rows)

    @property
    def variances(self) -> Array:
        """The variance of each unit over rows, divisor n, shape (units,)."""
        return np.maximum(numbers(self.second / self.rows - (self.first / self.rows) ** 2), 0.0)


@dataclass(slots=True)
class Pool:
    """Over all units and rows: sums of powers, magnitudes, zeros, and the sparsity of rows."""

    size: int = 0
    zeros: int = 0
    l1: float = 0.0
    l2: float = 0.0
    shift: float | None = None
    powers: list[float] = field(default_factory=lambda: [0.0] * 4)
    magnitudes: Tensor = None
    sparsity: float = 0.0
    sparse_rows: int = 0

    def add(self, rows: Tensor) -> None:
        """Take in rows, shape (n, units), n ≥ 1."""
        sizes = rows.abs()
        self.shift = float(rows.mean()) if self.shift is None else self.shift
        self.size += rows.numel()
        self.zeros += int(rows.eq(0).sum())
        self._add_norms(sizes.sum(1), (rows * rows).sum(1), rows.shape[1])
        away = rows - self.shift
        square = away * away
        for k, each in enumerate((away, square, square * away, square * square)):
            self.powers[k] += float(each.sum())
        counts = _binned(sizes)
        self.magnitudes = counts if self.magnitudes is None else self.magnitudes + counts

    def _add_norms(self, l1: Tensor, squares: Tensor, units: int) -> None:
        self.l1 += float(l1.sum())
        self.l2 += float(squares.sum())
        found = squares > 0
        if units > 1:
            root = math.sqrt(units)
            self.sparsity += float(((root - l1[found] / squares[found].sqrt()) / (root - 1)).sum())
            self.sparse_rows += int(found.sum())

    def central(self, power: int) -> float:
        """Return the central moment E(y - Ey)ᵏ for k = 2 or 4."""
        m1, m2, m3, m4 = (each / self.size for each in self.powers)
        if power == 2:
            return max(0.0, m2 - m1 * m1)
        return max(0.0, m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1**4)


@dataclass(slots=True)
class SecondMoments:
    """The covariance of units; of a seeded choice of them where there are many."""

    seed: int = 0
    chosen: Array | None = None
    rows: int = 0
    shift: Tensor = None
    first: Tensor = None
    second: Tensor = None

    def add(self, rows: Tensor) -> None:
        """Take in rows, shape (n, units), n ≥ 1."""
        import torch

        if self.chosen is None:
            self.chosen = _choice(rows.shape[1], self.seed)
        if len(self.chosen) < rows.shape[1]:
            rows = rows[:, torch.as_tensor(self.chosen, device=rows.device)]
        if self.shift is None:
            self.shift = rows.mean(0)
            self.first = self.shift * 0
            self.second = self.shift.outer(self.shift) * 0
        away = rows - self.shift
        self.rows += len(rows)
        self.first += away.sum(0)
        self.second += away.T @ away

    @property
    def covariance(self) -> Array:
        """E(y - Ey)(y - Ey)ᵀ of the chosen units, divisor n, shape (chosen, chosen)."""
        mean = self.first / self.rows
        return numbers(self.second / self.rows - mean.outer(mean))


def numbers(tensor: Tensor) -> Array:
    """Return a tensor as an array of doubles."""
    found: Array = tensor.detach().cpu().double().numpy()
    return found


def bin_of(magnitude: float) -> int:
    """Return the bin of a number ≥ 0."""
    with np.errstate(over="ignore", under="ignore"):
        return min(int(np.float32(magnitude).view(np.uint32)) >> 16, LARGEST)


def value_of(index: int) -> float:
    """Return the least number of a bin."""
    return float(np.uint32(index << 16).view(np.float32))


def _binned(sizes: Tensor) -> Tensor:
    import torch

    keys = (sizes.float().reshape(-1).view(torch.int32) >> 16).clamp(max=LARGEST)
    return torch.bincount(keys, minlength=BINS)


def _choice(units: int, seed: int) -> Array:
    if units <= WIDEST:
        return np.arange(units)
    return np.sort(np.random.default_rng(seed).choice(units, WIDEST, replace=False))
