"""All singular values of a kernel's canonical matrix, exact, from the Gram matrix of its smaller side.

The Gram matrix is summed in float64 over chunks of the longer side, so memory holds it, one chunk, and (only where
the file's rows run along the shorter side) the matrix as stored. Eigenvalues λ of the Gram matrix carry an error of
about 1e-16·λ₁, so σ = √λ one of 1e-16·σ₁²/(2σ): small singular values need an SVD of the matrix itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ORIENTATION_UNKNOWN, NotMeasurable, require
from regaudit.measures.blocks import BLOCK, Blocks
from regaudit.records import Axis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.measures.summary import Summary
    from regaudit.records import Array

AUTO_SIDE: Final = 4096  # smaller side: its Gram matrix takes 134 MB, its eigenvalues about 10 s on two cores
AUTO_WORK: Final = 1 << 39  # m²·(m+n), the cost of Gram matrix and eigenvalues: about half a minute on two cores
FAST_SIDE: Final = 2048  # smaller side: from there on an estimate costs less than all singular values
FULL_SIDE: Final = 16384  # a Gram matrix of 2.1 GB; beyond it memory is the limit, not patience
CHUNK_SIDE: Final = 1024  # of the longer side at a time: enough for BLAS to run at full speed
# Below this σ/σ₁ the Gram matrix gives fewer than six digits (error 1e-16/(2·1e-10) = 5e-7), and an SVD is made ...
GRAM_EXACT: Final = 1e-5
AUTO_SVD: Final = 1 << 20  # ... if the matrix has no more elements than this (about half a second)
FULL_SVD: Final = 1 << 26  # ... or, on demand, this (0.5 GB)
GRAM_RESOLVES: Final = 1e-6  # below it a singular value from the Gram matrix has no three digits


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Singular values of the (out, in·taps) matrix, in the summary's unit.

    Args:
        values: Descending, min(out, in·taps) of them.
        resolution: Values below this are rounding noise.
        is_exact: From an SVD, or so well conditioned that it makes no difference.
    """

    values: Array
    resolution: float = 0.0
    is_exact: bool = True

    @property
    def largest(self) -> float:
        """σ₁, the spectral norm."""
        return float(self.values[0])

    @property
    def rank(self) -> int:
        """Number of singular values that are not rounding noise."""
        return int(np.count_nonzero(self.values > self.resolution))


def singular_values(blocks: Blocks, summary: Summary, choice: str) -> Spectrum:
    """Return all singular values.

    Args:
        blocks: The kernel, in the units of its summary.
        summary: Its summary, without non-finite elements.
        choice: "full", or "off"; "auto" and "fast" where the matrix is not estimated.

    Returns:
        The spectrum; relative errors are below 1e-6 for values above `GRAM_EXACT`·σ₁, and for all where the matrix
        is small enough for an SVD.

    Raises:
        NotMeasurable: Spectra are off, the matrix is too large, or its orientation is unknown; or LAPACK gives up.
    """
    _require(blocks, choice)
    if min(blocks.matrix_shape) == 1:
        return Spectrum(np.array([math.sqrt(summary.squares)]))
    try:
        return _decomposed(blocks, summary, choice)
    except np.linalg.LinAlgError as error:
        raise NotMeasurable(f"the decomposition failed ({error})") from error


def is_estimated(blocks: Blocks, summary: Summary, choice: str) -> bool:
    """Return whether a spectrum is estimated, not computed.

    Args:
        blocks: The kernel.
        summary: Its summary.
        choice: "auto" estimates what takes minutes, "fast" what takes more than an estimate, "full" and "off" nothing.
    """
    if choice not in {"auto", "fast"} or not blocks.oriented or not summary.squares:
        return False
    m, n = sorted(blocks.matrix_shape)
    if choice == "fast":
        return m > FAST_SIDE
    return m > AUTO_SIDE or m * m * (m + n) > AUTO_WORK


def _decomposed(blocks: Blocks, summary: Summary, choice: str) -> Spectrum:
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(_gram(blocks))[::-1], 0.0))
    largest = float(values[0])
    if values[-1] >= GRAM_EXACT * largest:
        return Spectrum(values)
    if summary.size <= (FULL_SVD if choice == "full" else AUTO_SVD):
        values = np.linalg.svd(_scaled(_whole(blocks), blocks), compute_uv=False)
        return Spectrum(values, float(np.finfo(np.float64).eps) * max(blocks.matrix_shape) * largest)
    resolution = GRAM_RESOLVES * largest
    return Spectrum(np.where(values < resolution, 0.0, values), resolution, is_exact=False)


def _require(blocks: Blocks, choice: str) -> None:
    require(choice != "off", "spectra are switched off")
    require(blocks.oriented, ORIENTATION_UNKNOWN)
    m, n = sorted(blocks.matrix_shape)
    require(m <= FULL_SIDE, f"the smaller side of {m:,}×{n:,} is above {FULL_SIDE:,}: too large for memory")


def _gram(blocks: Blocks) -> Array:
    """Return the Gram matrix of the smaller side, float64."""
    out, fan_in = blocks.matrix_shape
    by_rows = out > fan_in or (out == fan_in and blocks.leading is Axis.OUT)
    gram = np.zeros(())
    for chunk in _chunks(blocks, by_rows=by_rows):
        gram = gram + (chunk.T @ chunk if by_rows else chunk @ chunk.T)
    return gram


def _chunks(blocks: Blocks, *, by_rows: bool) -> Iterator[Array]:
    """Yield the canonical matrix in float64 pieces, along its rows or along its columns."""
    if blocks.only is not None:
        yield blocks.only.values.reshape(blocks.matrix_shape).astype(np.float64)
        return
    smaller = min(blocks.matrix_shape)
    width = max(BLOCK // smaller, min(CHUNK_SIDE, smaller))
    if by_rows == (blocks.leading is Axis.OUT):
        rows = blocks.parameter.shape[0]
        step = max(1, width * smaller // (blocks.parameter.size // rows))
        for start in range(0, rows, step):
            chunk = blocks.canonical(start, min(start + step, rows))
            yield _scaled(chunk.reshape(chunk.shape[0], -1), blocks)
        return
    whole = _whole(blocks)
    for start in range(0, max(blocks.matrix_shape), width):
        yield _scaled(whole[start : start + width] if by_rows else whole[:, start : start + width], blocks)


def _whole(blocks: Blocks) -> Array:
    return blocks.canonical(0, blocks.parameter.shape[0]).reshape(blocks.matrix_shape)


def _scaled(stored: Array, blocks: Blocks) -> Array:
    exact = stored.astype(np.float64, order="C")
    if blocks.unit != 1.0:
        exact /= blocks.unit
    return exact
