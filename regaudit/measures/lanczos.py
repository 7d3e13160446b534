"""Estimates for matrices too large to decompose: σ₁ and the entropy of the spectrum, from products with few vectors.

`STEPS` steps of Lanczos on AᵀA from a few random vectors each give Gauss quadratures of the spectrum's density: the
largest node is never above σ₁², and sums over all singular values follow from the nodes and their weights.

Source: Golub & Meurant 2010, "Matrices, Moments and Quadrature"; Ubaru, Chen & Saad 2017, "Fast estimation of tr(f(A))
via stochastic Lanczos quadrature".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Estimate
from regaudit.records import Axis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regaudit.measures.blocks import Blocks
    from regaudit.measures.summary import Summary
    from regaudit.records import Array

SCOUTS: Final = 4  # random vectors that look for σ₁, and for directions that stand out
PROBES: Final = 12  # random vectors that look at the rest
SURE: Final = 1e-3  # of a node: its vector is an eigenvector, for a sum of which it is one term
ROUNDING: Final = 1e-14  # of the largest node: smaller ones are rounding of its products
STEPS: Final = 48  # for each; σ₁ of pure noise is then known to 0.2%, one above the noise to six digits
DOUBT: Final = 0.05  # probability that σ₁ is above its interval, or an estimate outside of its own
SPREAD: Final = (
    4.0  # standard errors: 99.8% of Student's t for twelve probes; quadrature adds a little to their scatter
)
LEAST_SPREAD: Final = (
    5e-3  # of the value: where twelve probes agree, their scatter says little of what they have in common
)
HELD: Final = 1 << 28  # elements: up to 1 GB is kept in memory, a larger matrix is read again in each step
CHUNK: Final = (
    1 << 17
)  # elements of the matrix at a time: a megabyte of float64 stays in a core's cache for both products


@dataclass(frozen=True, slots=True)
class Estimated:
    """What is known of a spectrum without its singular values, in the summary's unit.

    Args:
        largest: σ₁ and its 95% interval.
        effective_rank: exp(-Σ p ln p), p = σ/Σσ, and its interval.
    """

    largest: Estimate
    effective_rank: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class _Quadrature:
    """What Lanczos found from one vector: nodes (eigenvalues, ascending), weights (they add up to 1), vectors (n, k).

    `residuals` are the norms of AᵀA·v - node·v for the nodes' vectors v.
    """

    nodes: Array
    weights: Array
    residuals: Array
    vectors: Array


def estimated(blocks: Blocks, summary: Summary) -> Estimated:
    """Return estimates of a kernel's spectrum; the same ones each time.

    Directions that stand out are found first, and counted exactly: a probe that happens to meet one would else say that
    the spectrum is full of them.

    Args:
        blocks: The kernel, in the units of its summary.
        summary: Its summary: finite, not all zero.
    """
    pieces: Iterable[Array] = _Pieces(blocks)
    if summary.size <= HELD:
        pieces = list(pieces)
    width = next(iter(pieces)).shape[1]
    starts = np.random.default_rng(0).choice((-1.0, 1.0), (width, SCOUTS + PROBES))
    scouts = _quadratures(pieces, starts[:, :SCOUTS], np.empty((width, 0)))
    first = scouts[0]
    is_sure = first.residuals <= SURE * first.nodes
    apart, found = first.nodes[is_sure], np.linalg.qr(first.vectors[:, is_sure])[0]
    rest = starts[:, SCOUTS:] - found @ (found.T @ starts[:, SCOUTS:])
    probes = _quadratures(pieces, rest, found)
    sizes = np.einsum("ij,ij->j", rest, rest)
    return Estimated(_largest(scouts, width), _effective_rank(probes, sizes, apart))


class _Pieces:
    """The matrix A as pieces of its rows: W, or its transpose where the file has it so."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    def __iter__(self) -> Iterator[Array]:
        rows, size = self.blocks.parameter.shape[0], self.blocks.parameter.size
        step = max(1, CHUNK * rows // size)
        for start in range(0, rows, step):
            stored = self.blocks.canonical(start, min(start + step, rows))
            matrix = stored.reshape(len(stored), -1)
            piece = matrix if self.blocks.leading is Axis.OUT else matrix.T
            yield piece if self.blocks.unit == 1.0 else piece / np.float64(self.blocks.unit)


def _quadratures(pieces: Iterable[Array], starts: Array, apart: Array) -> list[_Quadrature]:
    """Return the quadrature from each start, on what is orthogonal to the columns of `apart`.

    Each vector is made orthogonal to all before it, twice: rounding would else find the largest value again and again.
    """
    width, count = starts.shape
    steps = max(1, min(STEPS, width - apart.shape[1]))
    sizes = np.sqrt(np.einsum("ij,ij->j", starts, starts))
    basis, diagonal, beside = (
        [starts / np.where(sizes > 0, sizes, np.inf)],
        np.zeros((steps, count)),
        np.zeros((steps, count)),
    )
    for k in range(steps):
        product = _product(pieces, basis[k])
        diagonal[k] = np.einsum("ij,ij->j", basis[k], product)
        for _ in range(2):
            product -= apart @ (apart.T @ product)
            for each in basis:
                product -= each * np.einsum("ij,ij->j", each, product)
        beside[k] = np.sqrt(np.einsum("ij,ij->j", product, product))
        beside[k][beside[k] <= ROUNDING * diagonal[0]] = 0.0  # the probe has seen all that it can
        basis.append(product / np.where(beside[k] > 0.0, beside[k], np.inf))
    return [_decomposed(diagonal[:, j], beside[:, j], [each[:, j] for each in basis[:-1]]) for j in range(count)]


def _decomposed(diagonal: Array, beside: Array, basis: list[Array]) -> _Quadrature:
    ended = np.flatnonzero(beside == 0.0)
    k = int(ended[0]) + 1 if len(ended) else len(diagonal)
    inner = beside[: k - 1]
    values, vectors = np.linalg.eigh(np.diag(diagonal[:k]) + np.diag(inner, 1) + np.diag(inner, -1))
    residuals = beside[k - 1] * np.abs(vectors[-1])
    return _Quadrature(np.maximum(values, 0.0), vectors[0] ** 2, residuals, np.stack(basis[:k], axis=1) @ vectors)


def _product(pieces: Iterable[Array], vectors: Array) -> Array:
    """Return AᵀA times vectors, shape (width, probes), in float64: a float32 product hides what is below 3e-4·σ₁."""
    total = np.zeros(vectors.shape)
    for piece in pieces:
        exact = piece.astype(np.float64)
        total += exact.T @ (exact @ vectors)
    return total


def _largest(scouts: list[_Quadrature], width: int) -> Estimate:
    """Return σ₁: at least the largest node; at most 1/√(1-ε) times it, but for a probability of `DOUBT`.

    One probe misses by more than ε·λ₁ with a probability below 1.648·√n·exp(-√ε(2k - 1)), all of them with its power.

    Source: Kuczyński & Woźniakowski 1992, "Estimating the largest eigenvalue by the power and Lanczos algorithms with a
    random start", theorem 4.2 (normal vectors; ours have signs, which is as good in practice).
    """
    value = math.sqrt(max(float(each.nodes[-1]) for each in scouts))
    steps = min(len(each.nodes) for each in scouts)
    miss = (math.log(1.648 * math.sqrt(width)) - math.log(DOUBT) / len(scouts)) / (2 * steps - 1)
    is_all = steps < STEPS  # the probe has seen every eigenvalue
    high = value if is_all else value / math.sqrt(1 - min(miss**2, 0.75))
    return Estimate(value=value, low=value * (1 - 1e-6), high=high * (1 + 1e-6))


def _effective_rank(probes: list[_Quadrature], sizes: Array, apart: Array) -> Estimate:
    """Return exp(H), H = ln Σσ - Σσ ln σ/Σσ; its standard error is that of the jackknife over probes."""
    least = ROUNDING * max(float(apart[-1]) if len(apart) else 0.0, *(float(each.nodes[-1]) for each in probes))
    exact = _sums(apart, np.ones(len(apart)), least)
    sums = np.array([_sums(a.nodes, a.weights * size, least) for a, size in zip(probes, sizes, strict=True)])
    total, n = np.add.reduce(sums), len(sums)
    value = _exp_entropy(exact + total / n)
    left_out = np.array([_exp_entropy(exact + (total - each) / (n - 1)) for each in sums])
    se = math.sqrt((n - 1) / n * float(np.add.reduce((left_out - left_out.mean()) ** 2)))
    spread = SPREAD * se + LEAST_SPREAD * value
    return Estimate(value=value, low=value - spread, high=value + spread)


def _sums(nodes: Array, weights: Array, least: float) -> Array:
    """Return Σσ and Σσ ln σ; zeros, as many as the longer side has, add nothing."""
    kept = nodes > least
    sigma, share = np.sqrt(nodes[kept]), weights[kept]
    return np.array([share.dot(sigma), share.dot(sigma * np.log(sigma))])


def _exp_entropy(sums: Array) -> float:
    return float(sums[0] * np.exp(-sums[1] / sums[0]))
