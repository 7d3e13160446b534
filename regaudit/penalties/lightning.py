"""The penalty in Lightning: added to each loss that it differentiates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regaudit.penalties.training import Penalties


def callback(penalty: Penalties) -> Any:  # noqa: ANN401
    """Return a `lightning.pytorch.Callback` that adds the penalty to the loss, just before it is differentiated.

    Lightning has divided the loss by `accumulate_grad_batches` by then, and multiplied it by the scale of mixed precision;
    the penalty gets the same factors. What the module logs is its own loss, without the penalty.

    Args:
        penalty: It sees the module, so names of layers begin with the names of its attributes.
    """
    from lightning.pytorch import Callback

    class PenaltyCallback(Callback):  # type: ignore[misc]  # known only where Lightning is installed
        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:  # noqa: ANN401
            loss += _factor(trainer, pl_module) * penalty(pl_module)

    return PenaltyCallback()


def _factor(trainer: Any, module: Any) -> float:  # noqa: ANN401
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    steps = trainer.accumulate_grad_batches if module.automatic_optimization else 1
    return float(scaler.get_scale() if scaler else 1.0) / steps
