"""How far kernels lie from where they were: checkpoints side by side, read block by block."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.checkpoints import open_checkpoint
from regaudit.checkpoints.limits import applied
from regaudit.compare.records import KERNEL_DISTANCE, MODEL_DISTANCE, Comparison, Track
from regaudit.layers import group
from regaudit.records import Parameter, Use

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.checkpoints.base import Checkpoint

BLOCK = 4_000_000  # values of each of two kernels in memory at once


def with_distances(comparison: Comparison, limits: Mapping[str, int]) -> Comparison:
    """Return the comparison with the distance of every kernel of every later run from that of the first.

    Formula:
        d = ‖W_run - W_first‖_F / ‖W_first‖_F of a layer; the same over the kernels of all layers that both runs have.

    Args:
        comparison: Of checkpoints; its runs are named by their paths.
        limits: The user's limits on what a file may ask for.

    Returns:
        It has the tracks `kernel.distance` and `model.kernel_distance`, 0 in the first run, None where the other has no
        such kernel, one of another shape, or values that are not finite.
    """
    squares = [_squares(comparison, i, limits) for i in range(1, len(comparison.runs))]
    layers = [
        name for name in dict.fromkeys(each.layer for each in comparison.tracks) if any(name in s for s in squares)
    ]
    tracks = tuple(
        Track(
            layer=name,
            measure=KERNEL_DISTANCE,
            values=(0.0, *(_distance([s[name]] if name in s else []) for s in squares)),
        )
        for name in layers
    )
    whole = Track(layer="", measure=MODEL_DISTANCE, values=(0.0, *(_distance(list(s.values())) for s in squares)))
    model = (whole,) if layers else ()
    return replace(
        comparison,
        tracks=_in_order(comparison, tracks),
        model=(*comparison.model, *model),
        by_place={**comparison.by_place, **{(each.layer, each.measure): each for each in (*tracks, *model)}},
    )


def _in_order(comparison: Comparison, found: tuple[Track, ...]) -> tuple[Track, ...]:
    order = {name: i for i, name in enumerate(dict.fromkeys(each.layer for each in comparison.tracks))}
    return tuple(sorted((*comparison.tracks, *found), key=lambda each: order[each.layer]))


def _squares(comparison: Comparison, run: int, limits: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Return Σ(w - w₀)² and Σw₀² of the kernels that a run shares with the first, by the names of layers."""
    with applied(limits), ExitStack() as stack:
        first, later = (
            _kernels(stack.enter_context(open_checkpoint(comparison.runs[i])), comparison.prefixes[i]) for i in (0, run)
        )
        pairs = {name: (kernel, later[name]) for name, kernel in first.items() if name in later}
        same = {name: (a, b) for name, (a, b) in pairs.items() if (a.shape, a.axes) == (b.shape, b.axes)}
        return {name: found for name, (a, b) in same.items() if math.isfinite(sum(found := _moved(a, b)))}


def _kernels(checkpoint: Checkpoint, prefix: str) -> dict[str, Parameter]:
    named = ((each.name.removeprefix(prefix), each.get(Use.KERNEL)) for each in group(checkpoint).layers)
    return {name: kernel for name, kernel in named if kernel}


def _moved(old: Parameter, new: Parameter) -> tuple[float, float]:
    import numpy as np

    rows = old.shape[0] if old.shape else 1
    step = max(1, BLOCK // max(1, old.size // max(1, rows)))
    moved = size = 0.0
    for start in range(0, rows, step):
        before, after = (np.asarray(each.load(start, min(start + step, rows)), dtype=np.float64) for each in (old, new))
        moved += float(np.square(after - before).sum())
        size += float(np.square(before).sum())
    return moved, size


def _distance(squares: list[tuple[float, float]]) -> float | None:
    size = sum(each for _, each in squares)
    return math.sqrt(sum(each for each, _ in squares) / size) if size > 0 else None
