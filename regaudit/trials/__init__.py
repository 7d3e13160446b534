"""Trials: measure penalties by training with them, instead of guessing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing, Trying
    from regaudit.records import Layer
    from regaudit.trials.measuring import Tried
    from regaudit.trials.runs import Told

__all__ = ["trial"]


def trial(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, trying: Trying, tell: Told) -> Tried:
    """Measure penalties by training the model of a checkpoint with them.

    Args:
        checkpoint: Open, with the trained weights.
        layers: Its layers, in network order.
        probing: The model's code, the data, the loss and the seed.
        trying: The recipe, the budget and the log.
        tell: Called whenever trainings are done.

    Returns:
        What ran, and what came of it.

    Raises:
        ConfigError: The data or the recipe cannot be used, or the log belongs to another trial.
        CheckpointError: What the model gives cannot be used.
    """
    from regaudit.trials.measuring import measure

    return measure(checkpoint, layers, probing, trying, tell)
