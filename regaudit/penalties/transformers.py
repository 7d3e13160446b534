"""The penalty in a Hugging Face Trainer: part of the training loss, not of the evaluation loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regaudit.penalties.training import Penalties


def trainer_class(penalty: Penalties, base: type[Any] | None = None) -> type[Any]:
    """Return a Trainer whose training loss has the penalty added, once for each optimizer step.

    Args:
        penalty: A term of the loss; a Trainer's own `weight_decay` is AdamW's, and stays.
        base: A class of Trainer; by default transformers' own.
    """
    from transformers import Trainer

    class PenaltyTrainer(base or Trainer):  # type: ignore[misc]  # known only where transformers is installed
        def compute_loss(
            self,
            model: Any,  # noqa: ANN401
            inputs: Any,  # noqa: ANN401
            return_outputs: bool = False,  # noqa: FBT001, FBT002, the signature of Trainer
            num_items_in_batch: Any = None,  # noqa: ANN401
        ) -> Any:  # noqa: ANN401
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)  # noqa: FBT003
            if model.training:
                loss = loss + penalty(model) / _parts(self, num_items_in_batch)
            return (loss, outputs) if return_outputs else loss

    return PenaltyTrainer


def _parts(trainer: Any, num_items_in_batch: Any) -> int:  # noqa: ANN401
    """Return by what the penalty of one batch of a step is divided, so that the step has it once.

    Trainer divides the mean loss of each batch by their number itself. It doesn't where the model has summed the losses and
    divided by the number of items in all of them.
    """
    is_scaled = getattr(trainer, "loss_is_scaled_for_ga", None)
    if is_scaled is None:
        is_counted = trainer.model_accepts_loss_kwargs and num_items_in_batch is not None
        is_scaled = is_counted or trainer.compute_loss_func is not None
    return int(trainer.current_gradient_accumulation_steps) if is_scaled else 1
