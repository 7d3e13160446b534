"""The penalty of one array: λ₁·Σ|a| + λ₂·Σa²."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from regaudit.penalties.penalty import Penalty

    Tensor: TypeAlias = Any  # torch.Tensor


def penalised_sum(a: Tensor, penalty: Penalty) -> Tensor:
    """Return λ₁·Σ|a| + λ₂·Σa², differentiable.

    Args:
        a: Any shape; half precision is summed in float32, where squares don't overflow.
        penalty: With λ₁ and λ₂.

    Returns:
        One number, at least 0.

    Source: keras.regularizers.L1L2 (Keras 3.15).
    """
    a = a.float() if a.itemsize < 4 else a
    total = a.new_zeros(())
    if penalty.l1:
        total = total + penalty.l1 * a.abs().sum()
    if penalty.l2:
        total = total + penalty.l2 * a.square().sum()
    return total
