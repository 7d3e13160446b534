"""The gradient of an activity penalty by the parameters, as Keras defines the penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.probes.observing import observe
from regaudit.probes.per_example import mean_of
from regaudit.records import Norm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.probes.base import Data, Runner, Tensor


def activity_gradient(
    runner: Runner, data: Data, norm: Norm, *, layers: frozenset[str], names: tuple[str, ...], batch_size: int
) -> dict[str, Tensor]:
    """Return ∇R of R = Σ over layers and examples of Σ|y| or Σy², divided by the number of examples.

    Args:
        runner: The model.
        data: The examples.
        norm: L1 or L2.
        layers: Whose activity is penalised.
        names: Of parameters, each storage once.
        batch_size: Examples that are run at once.

    Returns:
        For each name a gradient of the parameter's shape; 0 where the penalty does not depend on it.

    Source: keras.layers.Layer(activity_regularizer), Keras 3.
    """

    def penalty(batch: Mapping[str, Tensor], _: Tensor | None, values: Mapping[str, Tensor]) -> Tensor:
        _, seen = observe(runner, batch, values)
        parts = [each.activity for name, each in seen.items() if name in layers]
        return sum(
            (each.abs().sum() if norm is Norm.L1 else each.square().sum() for each in parts),
            start=next(iter(values.values())).sum() * 0.0,
        )

    return mean_of(runner, data, penalty, names=names, batch_size=batch_size)
