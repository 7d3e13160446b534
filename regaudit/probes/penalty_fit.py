"""How well the gradient of one penalty explains the data gradient that is left, on some of the model's coordinates.

At a trained optimum u = -∇L equals λ∇R; what is left of u besides is the noise of the last steps. Noise is large where the
gradients of single examples are large, so fits are weighted: coordinate by coordinate, or along the principal directions
of the examples' gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.records import Array

NEAR_ZERO: Final = 0.05  # of its tensor's rms: below it a weight under L1 hovers around 0 (our choice)
FLOOR: Final = 1e-3  # of the mean noise, so that coordinates without any don't decide alone (our choice)
DAMPING: Final = 0.1  # of the largest principal direction; .1 told most of .001 to 1 on 30 small networks
TINY: Final = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coordinates:
    """The gradients on the chosen coordinates; P coordinates, N examples.

    Args:
        pull: u = -∇L of the mean loss over all examples, shape (P,).
        rows: Gradients of single examples, shape (N, P).
        weights: w, shape (P,).
        rms: Root mean square of the tensor that each coordinate is of, shape (P,).
    """

    pull: Array
    rows: Array
    weights: Array
    rms: Array

    @property
    def near_zero(self) -> Array:
        """Whether each weight is all but zero beside its tensor."""
        near: Array = np.abs(self.weights) < NEAR_ZERO * self.rms
        return near

    @property
    def noise(self) -> Array:
        """Variance of the mean gradient over other samples of the examples, shape (P,), with a floor."""
        variance = self.rows.var(0) / len(self.rows)
        noise: Array = variance + FLOOR * variance.mean() + TINY
        return noise

    def principal(self) -> tuple[Array, Array]:
        """Return orthonormal principal directions of the examples' gradients, (k, P), and their energies, (k,)."""
        n, p = self.rows.shape
        if p <= n:
            energies, vectors = np.linalg.eigh(self.rows.T @ self.rows)
            return vectors.T, np.maximum(energies, 0.0)
        energies, vectors = np.linalg.eigh(self.rows @ self.rows.T)
        kept = energies > 1e-10 * max(energies[-1], TINY)
        energies, vectors = energies[kept], vectors[:, kept]
        return (vectors / np.sqrt(energies)).T @ self.rows, energies


def cosine(a: Array, b: Array, precision: Array | float = 1.0) -> float:
    """Return Σpab/√(Σpa²·Σpb²); 0 where one of them is 0."""
    across, left, right = (float((precision * x).sum()) for x in (a * b, a * a, b * b))
    return across / np.sqrt(left * right) if left > 0 and right > 0 else 0.0


def slope(pull: Array, direction: Array) -> float:
    """Return the least-squares λ of pull = λ·direction; 0 where there is no direction."""
    square = float(direction @ direction)
    return float(pull @ direction) / square if square > 0 else 0.0


def slope_error(rows: Array, direction: Array) -> float:
    """Return the standard error of the slope over samples of the examples."""
    square = float(direction @ direction)
    return (
        float((rows @ direction).std(ddof=1)) / (np.sqrt(len(rows)) * square) if square > 0 and len(rows) > 1 else 0.0
    )


def shares(pull: Array, directions: Mapping[str, Array]) -> dict[str, float]:
    """Return how much of ‖pull‖² each direction alone can explain, beside all the others.

    The drop of the residual of non-negative least squares when the direction is taken up last.

    Args:
        pull: To explain.
        directions: By name.
    """
    names = list(directions)
    columns = {name: each / (np.linalg.norm(each) + TINY) for name, each in directions.items()}
    target = pull / (np.linalg.norm(pull) + TINY)
    whole = residual(target, [columns[name] for name in names])
    return {name: residual(target, [columns[n] for n in names if n != name]) - whole for name in names}


def residual(target: Array, columns: list[Array]) -> float:
    """Return min ‖target - Σ c·column‖² over c ≥ 0, by every subset of the few columns."""
    gram = np.array([[a @ b for b in columns] for a in columns])
    along = np.array([a @ target for a in columns])
    best = 0.0
    for count in range(1, len(columns) + 1):
        for chosen in combinations(range(len(columns)), count):
            index = list(chosen)
            solution = np.linalg.lstsq(gram[np.ix_(index, index)], along[index], rcond=1e-10)[0]
            if (solution >= 0).all():
                best = max(best, float(along[index] @ solution))
    return max(0.0, float(target @ target) - best)
