"""Runs in, their comparison out: measures side by side, layers matched by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.compare.names import common_prefixes
from regaudit.compare.records import Comparison, Run, Track
from regaudit.records import Audit, Finding, LayerAudit, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.records import Measurement


def compare(runs: Sequence[Run]) -> Comparison:
    """Return two runs or more side by side.

    Args:
        runs: The oldest first.
    """
    prefixes = common_prefixes([[each.layer.name for each in run.audit.layers] for run in runs])
    named = [
        {each.layer.name.removeprefix(prefix): each for each in reversed(run.audit.layers)}
        for run, prefix in zip(runs, prefixes, strict=True)
    ]
    order = list(dict.fromkeys(name for layers in reversed(named) for name in reversed(layers)))
    layers = [_named(name, next(each[name] for each in reversed(named) if name in each)) for name in order]
    tracks = [track for name in order for track in _tracks(name, [each.get(name) for each in named])]
    model = [*_over("", [_values(run.audit.model) for run in runs])]
    first, last = named[0], named[-1]
    return Comparison(
        runs=tuple(run.name for run in runs),
        layers=tuple(layers),
        tracks=tuple(tracks),
        model=tuple(model),
        added=tuple(name for name in order if name in last and name not in first),
        removed=tuple(name for name in order if name in first and name not in last),
        reshaped=tuple(
            name for name in order if name in first and name in last and _shape(first[name]) != _shape(last[name])
        ),
        prefixes=prefixes,
        appeared=_beyond(runs[-1].audit, runs[0].audit),
        resolved=_beyond(runs[0].audit, runs[-1].audit),
        by_place={(each.layer, each.measure): each for each in (*tracks, *model)},
    )


def _named(name: str, each: LayerAudit) -> LayerAudit:
    return replace(each, layer=replace(each.layer, name=name))


def _tracks(name: str, layers: Sequence[LayerAudit | None]) -> list[Track]:
    return _over(name, [_values(each.measurements) if each else {} for each in layers])


def _over(layer: str, runs: Sequence[dict[str, float]]) -> list[Track]:
    measures = dict.fromkeys(measure for values in runs for measure in values)
    return [Track(layer=layer, measure=each, values=tuple(values.get(each) for values in runs)) for each in measures]


def _values(measurements: Sequence[Measurement]) -> dict[str, float]:
    return {each.measure: each.value for each in measurements}


def _shape(each: LayerAudit) -> tuple[int, ...]:
    kernel = each.layer.get(Use.KERNEL)
    return kernel.shape if kernel else ()


def _beyond(audit: Audit, other: Audit) -> tuple[Finding, ...]:
    known = {each.fingerprint for each in other.findings}
    return tuple(each for each in audit.findings if each.fingerprint not in known)
