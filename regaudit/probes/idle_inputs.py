"""Inputs that the probe batch never sets: always zero, or ids that never come. Their weights had no gradient if training was alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.config import SYNTHETIC
from regaudit.probes.base import Probe, Probed
from regaudit.probes.observing import observe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.probes.base import Session, Tensor

EXAMPLES: Final = 2  # that are observed to see which layers take the model's own inputs
LARGEST_TABLE: Final = 1 << 20  # ids


def run(session: Session) -> Probed:
    """Name the unset inputs of every layer that takes one of the model's inputs as it is.

    Args:
        session: Inputs suffice; drawn ones say nothing.

    Returns:
        For each such layer the indices of its unset inputs.
    """
    import torch

    if session.train.source.startswith(SYNTHETIC):
        return Probed()
    inputs, _ = next(session.train.batches(EXAMPLES))
    with torch.no_grad():
        _, seen = observe(session.runner, inputs)
    found = {}
    for name, each in seen.items():
        origin = _origin(each.inputs, inputs)
        units = _width(session, each.place.kernel, is_table=origin and not inputs[origin].is_floating_point())
        if origin and units:
            found[name] = _unset(session.train.inputs[origin], units)
    return Probed(unused_inputs={name: idle for name, idle in found.items() if idle})


def _origin(taken: Tensor | None, inputs: Mapping[str, Tensor]) -> str:
    """Return the model's input that a layer takes, flattened or not; "" where it takes something else."""
    if taken is None:
        return ""
    for name, given in inputs.items():
        is_alike = taken.dtype == given.dtype and taken.numel() == given.numel() and len(taken) == len(given)
        if is_alike and bool((taken.reshape(len(given), -1) == given.reshape(len(given), -1)).all()):
            return name
    return ""


def _width(session: Session, kernel: str, *, is_table: bool | str) -> int:
    """Return how many inputs a matrix of weights has, (out, in) or a table (ids, width); 0 for other kernels."""
    weights = dict(session.runner.network.named_parameters()).get(kernel)
    if weights is None or weights.ndim != 2:
        return 0
    count = len(weights) if is_table else weights.shape[1]
    return count if count <= LARGEST_TABLE else 0


def _unset(given: Tensor, units: int) -> tuple[int, ...]:
    import torch

    if given.is_floating_point():
        flat = given.reshape(len(given), -1)
        flat = flat if flat.shape[1] == units else given.reshape(-1, given.shape[-1])
        is_set = (flat != 0).any(0)
    else:
        is_set = torch.zeros(units, dtype=torch.bool, device=given.device)
        ids = given.reshape(-1)
        is_set[ids[(ids >= 0) & (ids < units)].long()] = True
    return tuple((~is_set).nonzero().flatten().tolist()) if len(is_set) == units else ()


IDLE_INPUTS: Final = Probe(name="idle inputs", run=run)
