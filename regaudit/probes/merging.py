"""What the probes found, put into the audit: each number under the layer that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from regaudit.records import Measurement, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.probes.base import Probed
    from regaudit.records import Audit, ProbeRun

Found = TypeVar("Found", Measurement, Skip)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The outcome of a session.

    Args:
        run: What ran, and on what.
        found: What the probes measured, and what they could not.
        evidence: The level reached: "labels" with labels and a loss, else "probe".
        seed: Of sampling and of every estimate.
    """

    run: ProbeRun
    found: Probed
    evidence: str
    seed: int


def merged(audit: Audit, ran: Ran) -> Audit:
    """Return the audit with what the probes found; numbers of layer "" are the model's."""
    measurements, skips = _by_layer(ran.found.measurements), _by_layer(ran.found.skips)
    explanations = {each.layer: each for each in ran.found.explanations}
    layers = tuple(
        replace(
            each,
            measurements=(*each.measurements, *measurements.get(each.layer.name, ())),
            skips=(*each.skips, *skips.get(each.layer.name, ())),
        )
        for each in audit.layers
    )
    return replace(
        audit,
        evidence=ran.evidence,
        seed=ran.seed,
        layers=layers,
        model=(*audit.model, *measurements.get("", ())),
        model_skips=(*audit.model_skips, *skips.get("", ())),
        probe=ran.run,
        responses=ran.found.responses,
        stationarity=ran.found.stationarity,
        explanations=tuple(explanations.get(each.layer, each) for each in audit.explanations),
    )


def _by_layer(found: Iterable[Found]) -> dict[str, list[Found]]:
    grouped: dict[str, list[Found]] = {}
    for each in found:
        grouped.setdefault(each.layer, []).append(each)
    return grouped
