"""Which examples each replica of a training takes, and which it is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regaudit.probes.base import Tensor

# Where the validation rows are this many standard errors harder, or easier, than held-out training rows, they are of
# another distribution: a few in a thousand by chance.
SHIFTED = 3.0
_FOLDS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Rows of the pooled data, training rows first: what to learn from, and what to be judged on."""

    train: Tensor
    held: Tensor
    on_val: bool


def crossed(train: int, val: int, replicas: int, seed: int) -> tuple[Split, ...]:
    """Return the user's own split, and others of the same size in which rows change places.

    Every third replica, the first among them, learns from all training rows and is judged on the validation rows. The
    others leave out as many training rows, in turn, and learn from validation rows in their stead. Without validation
    rows the replicas are folds of a cross-validation.

    Args:
        train: Number of training rows.
        val: Number of validation rows; 0 for none.
        replicas: How many splits.
        seed: Of the order.

    Returns:
        The splits, all with as many rows as the first.

    Source: Geisser, 1975 (cross-validation).
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(train, generator=generator)
    held = min(val, train // 2) if val else train // _FOLDS
    splits: list[Split] = []
    turn = 0
    for replica in range(replicas):
        if val and replica % _FOLDS == 0:
            splits.append(Split(train=torch.arange(train), held=torch.arange(train, train + val), on_val=True))
            continue
        turned = order.roll(-turn * held)
        extra = train + torch.randperm(val, generator=generator)[:held] if val else turned[:0]
        splits.append(Split(train=torch.cat([turned[held:], extra]), held=turned[:held], on_val=False))
        turn += 1
    return tuple(splits)


def same(train: int, val: int, replicas: int) -> tuple[Split, ...]:
    """Return the user's own split for every replica: where validation rows are of another distribution.

    Args:
        train: Number of training rows.
        val: Number of validation rows.
        replicas: How many.
    """
    import torch

    own = Split(train=torch.arange(train), held=torch.arange(train, train + val), on_val=True)
    return (own,) * replicas


def is_shifted(ours: Tensor, theirs: Tensor) -> bool:
    """Return whether validation rows are harder, or easier, than held-out training rows beyond chance.

    Args:
        ours: Losses of validation rows, of models that were trained on as many rows as those of `theirs`.
        theirs: Losses of held-out training rows.

    Source: Welch, 1947 (difference of two means).
    """
    if not len(ours) or not len(theirs):
        return False
    variance = ours.var() / len(ours) + theirs.var() / len(theirs)
    return bool((ours.mean() - theirs.mean()).abs() > SHIFTED * variance.sqrt())
