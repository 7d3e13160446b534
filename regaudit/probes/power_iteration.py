"""The largest singular value of a Jacobian that is known only by its products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

    from regaudit.probes.base import Tensor
    from regaudit.probes.coordinates import Around

STEPS: Final = 20  # the estimate is then within 1% for σ₂/σ₁ ≤ 0.9, and never above σ₁

_NO_SECOND_DERIVATIVE: Final = "is not implemented"  # "derivative for aten::… is not implemented", as torch words it


def spectral_norms(around: Around, generator: torch.Generator) -> Tensor | None:
    """Return ‖J(x)‖₂ at every example of a batch, all at once.

    v ← JᵀJv/‖JᵀJv‖, with J·v from a second derivative: Jᵀu is linear in u, so its derivative by u along v is J·v.

    Args:
        around: The model near the batch.
        generator: Of the starting vectors.

    Returns:
        Shape (examples,): ‖J·v‖ of the last v, at most the norm. None where an operation of the model has no second
        derivative.

    Raises:
        RuntimeError: The model cannot be run.
    """
    try:
        return _iterated(around, generator)
    except RuntimeError as error:
        if _NO_SECOND_DERIVATIVE in str(error):
            return None
        raise


def _iterated(around: Around, generator: torch.Generator) -> Tensor:
    import torch

    start = around.start.detach().requires_grad_()
    output = around.function(start)
    dual = torch.zeros_like(output).requires_grad_()
    (back,) = torch.autograd.grad(
        (output * dual).sum(), start, create_graph=True, allow_unused=True, materialize_grads=True
    )
    if not back.requires_grad:
        return torch.zeros(len(start))
    v = _unit(torch.randn(start.shape, generator=generator).to(start))
    for _ in range(STEPS):
        v = _unit(_forward(back, dual, v, output, start))
    return _product(back, dual, v).norm(dim=1).detach()


def _forward(back: Tensor, dual: Tensor, v: Tensor, output: Tensor, start: Tensor) -> Tensor:
    """Return JᵀJv."""
    import torch

    (found,) = torch.autograd.grad((output * _product(back, dual, v)).sum(), start, retain_graph=True)
    return found


def _product(back: Tensor, dual: Tensor, v: Tensor) -> Tensor:
    """Return J·v."""
    import torch

    (found,) = torch.autograd.grad((back * v).sum(), dual, retain_graph=True)
    return found


def _unit(v: Tensor) -> Tensor:
    """Return rows of length 1; a row of zeros stays."""
    return v / v.norm(dim=1, keepdim=True).clamp(min=1e-30)
