"""The probe of activations: one forward pass over the batch, in bounded memory, and every measure of what was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from regaudit.measures.taking import Taken
from regaudit.probes import activity_scale, activity_units, covariance, depth, pre_activations
from regaudit.probes.accumulate import Columns, Pool, SecondMoments, blocks, numbers
from regaudit.probes.activity import SATURATED_SIGMOID, SATURATED_TANH, SIGMOIDS, TANHS, Activity
from regaudit.probes.activity_scale import NONFINITE
from regaudit.probes.base import Probe, Probed
from regaudit.probes.observing import observe, unobserved
from regaudit.probes.padding import described, kept, without_padding
from regaudit.records import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from regaudit.measures.base import Measure
    from regaudit.networks.places import Place
    from regaudit.probes.base import Observation, Session, Tensor
    from regaudit.records import Array

MEASURES: Final[tuple[Measure[Activity], ...]] = (
    *activity_scale.MEASURES,
    *activity_units.MEASURES,
    *covariance.MEASURES,
    *pre_activations.MEASURES,
)
FAMILIES: Final[tuple[tuple[str, tuple[Measure[Any], ...]], ...]] = (
    ("Activations on the batch", activity_scale.MEASURES),
    ("Units on the batch", activity_units.MEASURES),
    ("Directions of activations", covariance.MEASURES),
    ("Biases on the batch", pre_activations.MEASURES),
    ("Scale of activations over depth", depth.MEASURES),
)
_AFTER_NONFINITE: Final = tuple(each for each in MEASURES if each is not NONFINITE)
# Tables are looked up, not fed: their scale is no link of the chain.
_TABLES: Final = frozenset({Role.EMBEDDING, Role.POSITIONAL})


def run(session: Session) -> Probed:
    """Run the model once over the probe batch and measure what every layer gave.

    Args:
        session: Inputs suffice.

    Returns:
        For each layer that ran every measure or its skip, for the others one skip; the scale over depth for the model.

    Source: each measure's own.
    """
    import torch

    tallies: dict[str, Tally] = {}
    with torch.no_grad():
        for inputs, _ in session.train.batches(session.batch_size):
            positions = kept(inputs)
            for name, seen in observe(session.runner, inputs)[1].items():
                tallies.setdefault(name, Tally(moments=SecondMoments(seed=session.seed))).add(seen, positions)
    parameters = dict(session.runner.network.named_parameters(remove_duplicate=False))
    places = {each.layer: each for each in session.runner.places}
    taken = [_taken(name, each, *bias_of(places[name], parameters)) for name, each in tallies.items()]
    taken.append(_over_depth(session, [m for each in taken for m in each.measurements]))
    return Probed(
        measurements=tuple(m for each in taken for m in each.measurements),
        skips=(*(s for each in taken for s in each.skips), *unobserved(session.runner, tallies)),
        notes=described(session.train),
    )


@dataclass(slots=True)
class Tally:
    """What has been seen of one layer so far; nothing more once an output was not finite.

    `linear` stays empty where the layer has no activation: z is y.
    """

    activation: str = ""
    examples: int = 0
    nonfinite: int = 0
    pool: Pool = field(default_factory=Pool)
    columns: Columns = field(default_factory=Columns)
    moments: SecondMoments = field(default_factory=SecondMoments)
    saturated: Tensor = None
    linear: Columns = field(default_factory=Columns)
    input_squares: float = 0.0
    input_size: int = 0

    def add(self, seen: Observation, positions: Tensor | None = None) -> None:
        """Take in what the layer did to one batch, at these positions of a sequence."""
        self.activation = seen.activation
        self.examples += seen.examples
        axis = seen.place.channel_axis
        positions = positions if axis == -1 else None
        for rows in blocks(without_padding(seen.activity, positions), axis):
            self.nonfinite += rows.numel() - int(rows.isfinite().sum())
            if not self.nonfinite:
                self._add(rows)
        for rows in blocks(without_padding(seen.linear, positions), axis) if seen.activation else ():
            self.linear.add(rows)
        if seen.inputs is not None and seen.inputs.is_floating_point():
            for rows in blocks(without_padding(seen.inputs, positions), -1):
                self.input_squares += float((rows * rows).sum())
                self.input_size += rows.numel()

    def _add(self, rows: Tensor) -> None:
        self.pool.add(rows)
        self.columns.add(rows)
        self.moments.add(rows)
        if self.activation in TANHS | SIGMOIDS:
            found = _is_saturated(rows, self.activation).sum(0)
            self.saturated = found if self.saturated is None else self.saturated + found

    def finished(self, bias: Array | None, no_bias: str) -> Activity:
        """Return the record that measures are defined on."""
        return Activity(
            activation=self.activation,
            examples=self.examples,
            nonfinite=self.nonfinite,
            pool=self.pool,
            columns=self.columns,
            moments=self.moments,
            saturated=None if self.saturated is None else numbers(self.saturated),
            linear=self.linear if self.activation else self.columns,
            bias=bias,
            no_bias=no_bias,
            input_rms=math.sqrt(self.input_squares / self.input_size) if self.input_size else None,
        )


def bias_of(place: Place, parameters: Mapping[str, Tensor]) -> tuple[Array | None, str]:
    """Return the bias of a layer's units, shape (units,), or None and why there is none.

    Args:
        place: The layer; of a fused bias it takes its own columns.
        parameters: Those of the network, by name.
    """
    if not place.bias:
        return None, "the layer has no bias"
    bias = parameters.get(place.bias)
    if bias is None or bias.ndim != 1:
        return None, "the bias is no vector of the network's parameters"
    return numbers(bias if place.columns is None else bias[slice(*place.columns)]), ""


def _taken(name: str, tally: Tally, bias: Array | None, no_bias: str) -> Taken:
    """Return every measure of a layer, or why there is none."""
    taken = Taken(name)
    if not (tally.pool.size or tally.nonfinite):
        taken.skip(MEASURES, "its output has no elements on this batch")
    elif tally.nonfinite:
        taken.take((NONFINITE,), tally.finished(bias, no_bias))
        taken.skip(_AFTER_NONFINITE, f"{tally.nonfinite:,} outputs are not finite")
    else:
        taken.take(MEASURES, tally.finished(bias, no_bias))
    return taken


def _over_depth(session: Session, measurements: Iterable[Any]) -> Taken:
    hidden = frozenset(each.name for each in session.layers if not each.is_output and each.role not in _TABLES)
    taken = Taken("")
    taken.take(depth.MEASURES, depth.profile(measurements, hidden))
    return taken


def _is_saturated(rows: Tensor, activation: str) -> Tensor:
    if activation in TANHS:
        return rows.abs() > SATURATED_TANH
    return (rows < SATURATED_SIGMOID) | (rows > 1 - SATURATED_SIGMOID)


ACTIVATIONS: Final = Probe(name="activations", run=run)
