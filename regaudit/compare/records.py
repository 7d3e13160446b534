"""What a comparison of runs is made of: each measure as a track of values, one for each run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.records import Audit, Finding, LayerAudit


# ‖W - W₀‖_F/‖W₀‖_F: what moved is the value itself, in percent too.
KERNEL_DISTANCE, MODEL_DISTANCE = "kernel.distance", "model.kernel_distance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A checkpoint or report that is compared: its path, and its audit."""

    name: str
    audit: Audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One measure of one layer over the runs; `layer` is "" for the whole model, a value None where it was not taken."""

    layer: str
    measure: str
    values: tuple[float | None, ...]

    @property
    def first(self) -> float | None:
        """The value in the first run."""
        return self.values[0]

    @property
    def last(self) -> float | None:
        """The value in the last run."""
        return self.values[-1]

    @property
    def change(self) -> float | None:
        """Return (last - first) / |first|; None where one is missing or the first is 0 and the last is not."""
        return relative(self.first, self.last)

    @property
    def slope(self) -> float | None:
        """Return the least-squares slope over the runs, in the measure's unit a run; None of fewer than two values."""
        points = [(i, value) for i, value in enumerate(self.values) if value is not None]
        if len(points) < 2:
            return None
        middle = sum(i for i, _ in points) / len(points)
        spread = sum((i - middle) ** 2 for i, _ in points)
        slope = sum((i - middle) / spread * value for i, value in points)
        return slope if math.isfinite(slope) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs side by side.

    Args:
        runs: Their names, in order.
        layers: The layers of the last run that have them, then those that only earlier runs have, under their common names.
        tracks: Of layers, in the same order.
        model: Tracks of the whole model.
        added: Layers of the last run that the first has not.
        removed: Layers of the first run that the last has not.
        reshaped: Layers whose kernels changed their shape.
        prefixes: What was taken off the names in each run, so that they match; "" for nothing.
        appeared: Findings of the last run that the first has not.
        resolved: Findings of the first run that the last has not.
    """

    runs: tuple[str, ...]
    layers: tuple[LayerAudit, ...]
    tracks: tuple[Track, ...]
    model: tuple[Track, ...]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    appeared: tuple[Finding, ...] = ()
    resolved: tuple[Finding, ...] = ()
    by_place: Mapping[tuple[str, str], Track] = field(default_factory=dict)

    def track(self, layer: str, measure: str) -> Track | None:
        """Return a measure of a layer ("" for the model) over the runs, where it was taken at all."""
        return self.by_place.get((layer, measure))


def relative(old: float | None, new: float | None) -> float | None:
    """Return (new - old) / |old|; 0 for no change; None where it cannot be said."""
    if old is None or new is None:
        return None
    if old == new:
        return 0.0
    ratio = (new - old) / abs(old) if old else math.inf
    return ratio if math.isfinite(ratio) else None
