"""A comparison with what its ratchets say, and what of it is worth showing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from regaudit.compare.records import KERNEL_DISTANCE, MODEL_DISTANCE, Track
from regaudit.reports import numbers
from regaudit.reports.folding import Row, fold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.compare import Comparison, Ruling

# What tells most of how training changed a layer; the other measures are in the JSON document.
LEADING = {
    "kernel.fro_norm": "norm",
    KERNEL_DISTANCE: "distance",
    "kernel.spectral_norm": "largest σ",
    "kernel.effective_rank": "eff. rank",
    "kernel.near_zero_fraction": "near zero",
    "bias.rms": "bias rms",
    "scale.mean": "scale",
}
STEADY = 5e-4  # a change that rounds to 0.0%
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A comparison and the rulings on it; `is_gate` where limits were given."""

    comparison: Comparison
    rulings: tuple[Ruling, ...] = ()

    @property
    def is_gate(self) -> bool:
        """Whether anything was to be judged."""
        return bool(self.rulings)

    @property
    def exit_code(self) -> int:
        """0 within all limits, 1 beyond one, 3 where a limit could not be judged, which wins."""
        if any(each.missing for each in self.rulings):
            return 3
        return int(any(each.breaches for each in self.rulings))


def rows(comparison: Comparison) -> tuple[tuple[Row, dict[str, Track]], ...]:
    """Return the layers that have leading measures, repeated blocks as one, each with the median of its tracks."""
    found = []
    for row in fold(each for each in comparison.layers if each.layer.name or each.measurements):
        tracks = {measure: track for measure in LEADING if (track := _middle(comparison, row, measure))}
        if tracks:
            found.append((row, tracks))
    return tuple(found)


def shown_measures(found: Sequence[tuple[Row, dict[str, Track]]]) -> tuple[str, ...]:
    """Return the leading measures that any row has."""
    return tuple(measure for measure in LEADING if any(measure in tracks for _, tracks in found))


def most_moved(comparison: Comparison, most: int) -> tuple[Track, ...]:
    """Return the tracks of leading measures that moved most, by the logarithm of the ratio of last to first."""
    ranked = [(size, each) for each in comparison.tracks if each.measure in LEADING and (size := _size(each)) > STEADY]
    return tuple(each for _, each in sorted(ranked, key=lambda pair: -pair[0])[:most])


def moved(track: Track) -> str:
    """Return the change from first to last: in percent, in points for a share, "from 0" where there is no percentage."""
    if track.first is None or track.last is None:
        return "–" if track.first is track.last else "new" if track.first is None else "gone"
    if track.measure in {KERNEL_DISTANCE, MODEL_DISTANCE}:
        return (
            "=" if track.last < STEADY else f"{track.last:.1%}" if track.last < 10 else f"×{numbers.short(track.last)}"
        )
    if track.measure.endswith("_fraction"):
        points = 100 * (track.last - track.first)
        return "=" if abs(points) < 100 * STEADY else f"{points:+.1f} pt"
    if track.change is None:
        return "from 0"
    if abs(track.change) < STEADY:
        return "="
    return f"{track.change:+.1%}" if abs(track.change) < 10 else f"×{numbers.short(1 + track.change)}"


def sparkline(values: Sequence[float | None]) -> str:
    """Return the course of the values as small bars; a gap where there is none, "" if flat or of fewer than three runs."""
    known = [each for each in values if each is not None]
    if len(values) < 3 or not known:
        return ""
    low, span = min(known), max(known) - min(known)
    if not 0 < span < math.inf:
        return ""
    return "".join(" " if v is None else _BARS[round((len(_BARS) - 1) * (v - low) / span)] for v in values)


def place(track: Track) -> str:
    """Return the layer of a track; `model` for the whole."""
    return track.layer or "model"


def _middle(comparison: Comparison, row: Row, measure: str) -> Track | None:
    found = [track for each in row.layers if (track := comparison.track(each.layer.name, measure))]
    if not found:
        return None
    columns = zip(*(each.values for each in found), strict=True)
    values = tuple(median(known) if (known := [v for v in column if v is not None]) else None for column in columns)
    return Track(layer=row.name, measure=measure, values=values)


def _size(track: Track) -> float:
    first, last = track.first, track.last
    if first is None or last is None or first == last:
        return 0.0
    if track.measure.endswith("_fraction"):
        return abs(last - first)
    return abs(math.log(last / first)) if first > 0 and last > 0 else 0.0
