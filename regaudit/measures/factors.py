"""Balance of the two factors of a low-rank update, of which only the product matters.

B·A stays the same when B becomes B·G and A becomes G⁻¹·A. So AAᵀ - BᵀB is kept by gradient flow without a penalty and
decays under L2, at whose minimum it is 0: the penalty on the factors is then the nuclear norm of their product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ALL_ZERO, NOT_HERE, Measure, NotMeasurable, Value, require

if TYPE_CHECKING:
    from regaudit.measures.subject import Subject


def factor_imbalance(subject: Subject) -> Value:
    """Return ‖AAᵀ - BᵀB‖/(‖AAᵀ‖ + ‖BᵀB‖), Frobenius norms.

    Raises:
        NotMeasurable: The kernel is no product of two factors, or one of them is zero or not finite.
    """
    if len(subject.layer.factors) != 2:
        raise NotMeasurable(NOT_HERE)
    left, right = (each.load(0, each.shape[0]).astype(np.float64) for each in subject.layer.factors)
    rank = right.shape[0]
    left, right = left.reshape(-1, rank), right.reshape(rank, -1)
    largest = max(float(np.abs(left).max()), float(np.abs(right).max()))
    require(np.isfinite(largest), "a factor is not finite")
    require(bool(left.any()) and bool(right.any()), ALL_ZERO)
    a, b = (right / largest) @ (right / largest).T, (left / largest).T @ (left / largest)
    total = float(np.linalg.norm(a) + np.linalg.norm(b))
    require(total > 0, ALL_ZERO)
    return float(np.linalg.norm(a - b)) / total, f"rank {rank}"


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.factor_imbalance",
        formula="‖AAᵀ - BᵀB‖_F/(‖AAᵀ‖_F + ‖BᵀB‖_F) of an update B·A",
        range="[0, 1]",
        source="Kobayashi et al. 2024, arXiv:2410.23819; Srebro et al. 2005 (nuclear norm)",
        tells="Near 0 the loss with an L2 penalty on both factors is at its minimum: a nuclear norm on their product.",
        trap="B starts at 0, so a short fine-tuning stays near 1; a start of two very small factors is balanced without decay.",
        function=factor_imbalance,
    ),
)
