"""Probes: run the model on data, and measure what its layers do there.

A new probe is one file here that defines a `Probe`, and its entry in `PROBES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from regaudit.probes import activations, explanation, gradients, idle_inputs, response, sensitivity, stationarity
from regaudit.probes.session import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.measures.base import Measure
    from regaudit.probes.base import Probe
    from regaudit.probes.merging import Ran
    from regaudit.records import Layer

PROBES: Final[tuple[Probe, ...]] = (
    idle_inputs.IDLE_INPUTS,
    activations.ACTIVATIONS,
    sensitivity.SENSITIVITY,
    gradients.GRADIENTS,
    stationarity.STATIONARITY,
    response.RESPONSE,
    explanation.EXPLANATION,
)

FAMILIES: Final[tuple[tuple[str, tuple[Measure[Any], ...]], ...]] = (
    *activations.FAMILIES,
    *sensitivity.FAMILIES,
    *gradients.FAMILIES,
)

__all__ = ["FAMILIES", "PROBES", "probe"]


def probe(
    checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, progress: Callable[[int, int, str], None]
) -> Ran:
    """Run the model of a checkpoint on data, and every probe that its data and its runner allow.

    Args:
        checkpoint: Open, with the tensors to run.
        layers: Its layers, in network order.
        probing: What the user asked for.
        progress: Called as `progress(done, total, name)` before each probe.

    Returns:
        What ran, what was found, and the evidence level.

    Raises:
        ConfigError: The data cannot be used, the model does not run on them, or torch is not installed.
        CheckpointError: What the model gives cannot be used.
    """
    return run(checkpoint, layers, probing, PROBES, progress)
