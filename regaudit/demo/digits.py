"""Handwritten digits, 8 by 8: scikit-learn's where it is installed, else drawn here from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from regaudit.records import Array

TRAIN_ROWS: Final = 100  # too few for 4,810 weights
VAL_ROWS: Final = 1000
_SIDE: Final = 8
_BRIGHTEST: Final = 16.0  # of scikit-learn's digits
# Digits on a grid of 5 by 7, a number a row, its bits from left to right.
_GLYPHS: Final = (
    (14, 17, 17, 17, 17, 17, 14),
    (4, 12, 4, 4, 4, 4, 14),
    (14, 17, 1, 2, 4, 8, 31),
    (14, 17, 1, 6, 1, 17, 14),
    (2, 6, 10, 18, 31, 2, 2),
    (31, 16, 30, 1, 1, 17, 14),
    (6, 8, 16, 30, 17, 17, 14),
    (31, 1, 2, 4, 4, 8, 8),
    (14, 17, 17, 14, 17, 17, 14),
    (14, 17, 17, 15, 1, 2, 12),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Digits:
    """Images of shape (rows, 64) from 0 to 1, their digits, and where they are from."""

    train: tuple[Array, Array]
    val: tuple[Array, Array]
    source: str


def digits(seed: int) -> Digits:
    """Return a training set that is too small, and a validation set that is large enough to see it.

    Args:
        seed: Of the choice of rows, and of the drawing.
    """
    rng = np.random.default_rng(seed)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        x, y = drawn(rng, TRAIN_ROWS + VAL_ROWS)
        source = "digits that regaudit draws itself"
    else:
        x, y = load_digits(return_X_y=True)
        x, source = x / _BRIGHTEST, "scikit-learn's handwritten digits"
    rows = rng.permutation(len(x))
    train, val = rows[:TRAIN_ROWS], rows[TRAIN_ROWS : TRAIN_ROWS + VAL_ROWS]
    x = x.astype(np.float32)
    return Digits(train=(x[train], y[train]), val=(x[val], y[val]), source=source)


def drawn(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Return images of digits that are slanted, shifted, thick or thin and noisy.

    Args:
        rng: Where chance comes from.
        rows: How many.

    Returns:
        Images of shape (rows, 64) from 0 to 1, and their digits.
    """
    y = rng.integers(len(_GLYPHS), size=rows)
    return np.stack([_image(rng, _GLYPHS[each]) for each in y]).reshape(rows, -1), y


def _image(rng: np.random.Generator, glyph: tuple[int, ...]) -> Array:
    """Return one image: every lit point of the grid is a blot at its place after a random affine map."""
    lit = np.array([(r, c) for r, bits in enumerate(glyph) for c in range(5) if bits >> (4 - c) & 1], float)
    points = lit - (3.0, 2.0)
    points = points @ (np.diag(rng.normal((0.95, 1.1), 0.1)) + rng.normal(0, 0.1, (2, 2)))
    points += (_SIDE - 1) / 2 + rng.normal(0, 0.3, 2) + rng.normal(0, 0.15, points.shape)
    grid = np.stack(np.meshgrid(np.arange(_SIDE), np.arange(_SIDE), indexing="ij"), axis=-1)
    distance = np.square(grid[:, :, None] - points).sum(axis=-1).min(axis=-1)
    ink = np.exp(-distance / rng.uniform(0.4, 0.9)) * rng.uniform(0.7, 1.0)
    noisy = np.clip(ink + rng.normal(0, 0.1, ink.shape), 0, 1)
    return np.where(ink < 0.01, 0.0, noisy)  # paper is blank, as in scanned digits
