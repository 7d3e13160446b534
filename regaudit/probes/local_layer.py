"""The data loss near one layer's weights as a quadratic, and its least sum with a penalty.

L(θ + δ) ≈ L(θ) - uᵀδ + ½·δᵀHδ, θ the kernel and bias of one layer, u = -∇L and H the Gauss-Newton matrix; exact for the
squared error of a linear model. Directions that the data leave open keep their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.records import Norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.records import Array

OPEN: Final = 1e-6  # of the mean curvature: what holds directions where the data have none (our choice)
STEPS: Final = 2000  # of proximal gradient; correlated inputs take hundreds
CLOSE: Final = 1e-8  # relative change of θ at which it has arrived
SMOOTH_STEPS: Final = 60  # of L-BFGS
TINY: Final = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Local:
    """One layer's quadratic.

    Args:
        theta: Kernel and bias, flat, shape (P,).
        pull: u, shape (P,).
        hessian: H, shape (P, P); shape (P,) where only its diagonal is known.
    """

    theta: Array
    pull: Array
    hessian: Array

    @property
    def diagonal(self) -> Array:
        """The diagonal of H with what holds open directions, all > 0."""
        h = self.hessian if self.hessian.ndim == 1 else np.diag(self.hessian)
        found: Array = h + OPEN * h.mean() + TINY
        return found

    def least(self, norm: Norm | None = None, strength: float = 0.0, chosen: Array | None = None) -> Array:
        """Return the θ of the least penalised loss.

        Args:
            norm: L1 or L2; None for no penalty.
            strength: λ.
            chosen: Which of the weights are penalised, shape (P,).
        """
        weight = np.zeros(len(self.theta)) if chosen is None else strength * chosen
        return self._soft(weight) if norm is Norm.L1 else self._ridge(2 * weight)

    def least_with(self, penalty: Callable[[Array], tuple[float, Array]], strength: float) -> Array:
        """Return the θ of the least loss with λ·R(θ) of any smooth R.

        Args:
            penalty: Takes θ, gives R(θ) and its gradient.
            strength: λ.
        """
        import torch

        scale = np.sqrt(self.diagonal)
        t = torch.tensor(self.theta * scale, requires_grad=True)
        search = torch.optim.LBFGS([t], max_iter=SMOOTH_STEPS, history_size=20, line_search_fn="strong_wolfe")

        def closure() -> float:
            theta = t.detach().numpy() / scale
            value, gradient = penalty(theta)
            delta = theta - self.theta
            force = self._times(delta) - self.pull
            t.grad = torch.from_numpy((force + strength * gradient) / scale)
            return float(0.5 * delta @ (force - self.pull) + strength * value)

        search.step(closure)  # type: ignore[no-untyped-call]
        found: Array = t.detach().numpy() / scale
        return found

    def _times(self, delta: Array) -> Array:
        """Return (H + what holds open directions)·δ."""
        across = np.zeros(()) if self.hessian.ndim == 1 else self.hessian @ delta - np.diag(self.hessian) * delta
        found: Array = across + self.diagonal * delta
        return found

    def _ridge(self, twice: Array) -> Array:
        """Return θ + (H + 2Λ)⁻¹·(u - 2Λθ)."""
        force = self.pull - twice * self.theta
        held = self.diagonal + twice
        if self.hessian.ndim == 1:
            single: Array = self.theta + force / held
            return single
        matrix = self.hessian.copy()
        matrix[np.diag_indices(len(matrix))] = held
        found: Array = self.theta + np.linalg.solve(matrix, force)
        return found

    def _soft(self, weight: Array) -> Array:
        """Return the lasso's solution by accelerated proximal gradient, scaled by the diagonal, restarted."""
        h = self.diagonal
        step = 1 / (h * self._largest())
        theta = ahead = self.theta
        momentum = 1.0
        for _ in range(STEPS):
            free = ahead + step * (self.pull - self._times(ahead - self.theta))
            new = np.sign(free) * np.maximum(np.abs(free) - step * weight, 0.0)
            if ((ahead - new) * h) @ (new - theta) > 0:
                momentum = 1.0  # it overshoots
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / following * (new - theta)
            moved, theta, momentum = np.abs(new - theta).max(), new, following
            if moved <= CLOSE * np.abs(theta).max():
                break
        return theta

    def _largest(self) -> float:
        """Return a bound of the largest eigenvalue of D^-½·H·D^-½, D the diagonal."""
        if self.hessian.ndim == 1:
            return 1.0
        root = np.sqrt(self.diagonal)
        scaled = np.abs(self.hessian) / np.outer(root, root)
        # of rows' absolute sums (Gershgorin) and the Frobenius norm the smaller; 1 + OPEN for what holds open directions
        return float(min(scaled.sum(1).max(), np.linalg.norm(scaled))) + OPEN
