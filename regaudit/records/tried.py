"""What trials make: the outcomes of trainings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regaudit.records.vocabulary import Norm, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What training with one penalty led to, over all trainings of one kind; strengths in Keras' unit.

    Args:
        site: What the penalty acts on; `Site.NONE` for none at all, the control.
        norm: L1 or L2; None for no penalty.
        strength: λ of Σw² or Σ|w|; 0 for no penalty.
        estimand: retrain or resume.
        trainings: How many were made.
        steps: Of each.
        loss: Mean validation loss; None where a training diverged.
        loss_se: Its standard error over validation rows.
        gain: Loss of the control under the same seeds and batches minus `loss`; positive helps.
        gain_se: Standard error of the gain, over validation rows and seeds.
        train_loss: Mean training loss without the penalty.
    """

    site: Site
    norm: Norm | None
    strength: float
    estimand: str
    trainings: int
    steps: int
    loss: float | None
    loss_se: float | None = None
    gain: float | None = None
    gain_se: float | None = None
    train_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two models on the same rows: the model as it was given, and one trained with the penalty that won.

    Args:
        rows: How many.
        base: Mean loss of the model as it was given.
        winner: Mean loss with the winning penalty, over its trainings.
        gain: `base` minus `winner`; positive helps.
        gain_se: Its standard error, over rows and trainings.
    """

    rows: int
    base: float
    winner: float
    gain: float
    gain_se: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Penalties, measured by training with them.

    Args:
        recipe: How it was trained, in words.
        estimand: What the verdict answers: retrain or resume.
        budget: How much was allowed, in trainings of full length.
        cost: How much was trained.
        outcomes: Of each penalty and kind of training, the deciding ones first, best first.
        winner: The penalty with the best loss, or no penalty; None where nothing could be compared.
        is_change: Whether the winner is better than the model as it is beyond the noise.
        validation: The model as it is against the winner, on validation rows.
        strength_low: Least strength of the winner's site and norm that is not clearly worse.
        strength_high: And the largest.
        test: The same on test rows, once, at the end; None where none were given.
        verdict: Whole sentences, most telling first.
        warnings: Whole sentences on what limits the verdict.
        log: Path of the log of every training ("" if none).
        seed: Of everything random.
    """

    recipe: str
    estimand: str
    budget: float
    cost: float
    outcomes: tuple[Outcome, ...]
    winner: Outcome | None
    is_change: bool
    validation: Compared | None
    strength_low: float | None = None
    strength_high: float | None = None
    test: Compared | None = None
    verdict: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    log: str = ""
    seed: int = 0
