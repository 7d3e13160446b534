"""What a trial trains: the recipe, one training, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from regaudit.probes.arms import Arm


RESUME: Final = "resume"  # from the trained weights
RETRAIN: Final = "retrain"  # from new initial values

BETAS: Final = (0.9, 0.999)  # torch's defaults of Adam and AdamW
EPSILON: Final = 1e-8
PEAK: Final = (
    4.0  # short annealed trainings at a tenth of the steps ranked 30 penalties best among those that were tried
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training to be done.

    Args:
        arm: The penalty.
        start: resume or retrain.
        seed: Of the initial values, of the order of batches and of dropout.
        steps: How many.
        fold: Which rows it learns from: 0 for the user's own split, others exchange rows of training and validation data.
        is_annealed: Whether the learning rate begins at `PEAK` times the recipe's and falls to 0 along a cosine: what a short
            training needs to come as far as a long one.
    """

    arm: Arm
    start: str
    seed: int
    steps: int
    fold: int = 0
    is_annealed: bool = False

    def rate(self, step: int) -> float:
        """Return the factor on the recipe's learning rate at a step, from 0 on."""
        return PEAK * 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.is_annealed else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of one training.

    Args:
        job: What was trained.
        losses: Loss of each row that it was judged on; () where it diverged.
        train_loss: Mean loss of the rows that it learned from, without the penalty; None where it diverged.
    """

    job: Job
    losses: tuple[float, ...]
    train_loss: float | None

    @property
    def loss(self) -> float:
        """Mean loss of the rows that it was judged on, infinite where it diverged."""
        return sum(self.losses) / len(self.losses) if self.losses else math.inf


def run_of(job: Job, losses: list[float], train_loss: float) -> Run:
    """Return a run; one whose losses are not all finite has diverged."""
    if all(map(math.isfinite, (*losses, train_loss))):
        return Run(job=job, losses=tuple(losses), train_loss=train_loss)
    return Run(job=job, losses=(), train_loss=None)
