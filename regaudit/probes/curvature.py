"""The diagonal of the generalised Gauss-Newton matrix: the curvature of the loss by each weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.measures.base import plural, require

if TYPE_CHECKING:
    import torch

    from regaudit.probes.base import Data, Loss, Tensor
    from regaudit.probes.per_example import PerExample

EXACT_OUTPUTS: Final = 16  # up to which every output gets its own pass
PROJECTIONS: Final = 8  # random signs for each example otherwise
MOST_OUTPUTS: Final = 256  # whose Hessian, for each example, is factored in milliseconds


def diagonal(gradients: PerExample, data: Data, loss: Loss, *, seed: int, batch_size: int) -> dict[str, Tensor]:
    """Return h = (1/N)·Σ_n diag(J_nᵀ·H_n·J_n), H_n the Hessian of example n's loss by the outputs, its negative part cut.

    Unlike the empirical Fisher, the mean of squared gradients, it does not vanish where a model fits its data.

    Args:
        gradients: Of each example, by the parameters that are asked for.
        data: With labels.
        loss: One number for each example.
        seed: Of the projections, where the outputs are many.
        batch_size: Examples that are run at once.

    Returns:
        For each name a tensor of the parameter's shape, ≥ 0.

    Raises:
        NotMeasurable: The outputs are too many.

    Source: Schraudolph 2002; Martens 2020, https://arxiv.org/abs/1412.1193.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    parameters = dict(gradients.runner.network.named_parameters())
    total = {name: torch.zeros_like(parameters[name], requires_grad=False) for name in gradients.names}
    for batch, labels in data.batches(min(batch_size, gradients.rows)):
        traced = gradients.traced(batch)
        for weights in factors(loss, traced.outputs.detach(), labels, generator):
            for name, each in traced.products(weights).items():
                total[name] += each.square().sum(0) / len(data)
    return total


def factors(loss: Loss, outputs: Tensor, labels: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Return vectors s with Σ s·sᵀ = H for each example, exactly or in the mean; each of shape (examples, outputs)."""
    import torch

    size = outputs[0].numel()
    require(size <= MOST_OUTPUTS, f"{plural(size, 'output')} an example: the curvature is taken up to {MOST_OUTPUTS}")
    roots = _roots(loss, outputs, labels)
    if size <= EXACT_OUTPUTS:
        return [each for each in roots.unbind(2) if bool(each.any())]
    signs = torch.randint(0, 2, (PROJECTIONS, len(outputs), size, 1), generator=generator).to(roots) * 2 - 1
    return list((roots @ signs).squeeze(-1) / PROJECTIONS**0.5)


def _roots(loss: Loss, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return S with S·Sᵀ = H, the Hessian of each example's loss by its outputs: shape (examples, outputs, outputs)."""
    import torch

    hessian = _hessian(loss, outputs, labels)
    exact = hessian.cpu().double()
    values, vectors = torch.linalg.eigh((exact + exact.transpose(1, 2)) / 2)
    # Rounding leaves eigenvalues of either sign where H has none: cross entropy has one for each constant shift.
    values = torch.where(values > 1e-6 * values.amax(1, keepdim=True), values, torch.zeros_like(values)).clamp(min=0)
    return (vectors * values.sqrt()[:, None]).to(hessian)


def _hessian(loss: Loss, outputs: Tensor, labels: Tensor) -> Tensor:
    import torch

    with torch.enable_grad():
        free = outputs.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss.per_example(free, labels).sum(), free, create_graph=True)
        flat = gradient.reshape(len(free), -1)
        if not flat.requires_grad:
            return torch.zeros(*flat.shape, flat.shape[1]).to(flat)
        rows = [
            torch.autograd.grad(each.sum(), free, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
            for each in flat.unbind(1)
        ]
    return torch.stack([each.reshape(len(free), -1) for each in rows], 1)
