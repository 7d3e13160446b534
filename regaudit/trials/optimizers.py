"""The optimizers of a recipe on a stack of networks: torch's own rules, written for plain tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.trials.recipe import BETAS, EPSILON

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.config import Trying
    from regaudit.probes.base import Tensor


def stepper(trying: Trying, weights: Tensor) -> Callable[[Tensor, Tensor, Tensor], None]:
    """Return a function `(weights, slope, rate)` that makes one step in place; it may use the slope up.

    Args:
        trying: Optimizer, learning rate, momentum and weight decay.
        weights: Of the shape that will be stepped, (members, parameters); the rate is (members, 1), on the learning rate.

    Source: torch.optim.SGD, Adam, AdamW (torch 2.13).
    """
    return (_sgd if trying.optimizer == "sgd" else _adam)(trying, weights)


def _sgd(trying: Trying, weights: Tensor) -> Callable[[Tensor, Tensor, Tensor], None]:
    import torch

    velocity = torch.zeros_like(weights)

    def step(weights: Tensor, slope: Tensor, rate: Tensor) -> None:
        if trying.weight_decay:
            slope.add_(weights, alpha=trying.weight_decay)
        velocity.mul_(trying.momentum).add_(slope)
        weights.addcmul_(velocity, rate, value=-trying.lr)

    return step


def _adam(trying: Trying, weights: Tensor) -> Callable[[Tensor, Tensor, Tensor], None]:
    import torch

    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    count = 0

    def step(weights: Tensor, slope: Tensor, rate: Tensor) -> None:
        nonlocal count
        count += 1
        if trying.weight_decay and trying.optimizer == "adamw":
            weights.mul_(1 - trying.lr * trying.weight_decay * rate)
        elif trying.weight_decay:
            slope.add_(weights, alpha=trying.weight_decay)
        first.lerp_(slope, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
        scale = second.sqrt().div_((1 - BETAS[1] ** count) ** 0.5).add_(EPSILON)
        weights.addcmul_(first / scale, rate, value=-trying.lr / (1 - BETAS[0] ** count))

    return step
