"""Measures applied to a record: a value becomes a `Measurement`, a reason a `Skip`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from regaudit.measures.base import Estimate, Measure, NotMeasurable
from regaudit.records import Measurement, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.measures.base import Value

S = TypeVar("S")


@dataclass(slots=True)
class Taken:
    """What was measured of one layer ("" for the model), and what was not."""

    layer: str
    measurements: list[Measurement] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)

    def take(self, measures: Iterable[Measure[S]], record: S) -> None:
        """Apply measures to the record that they are defined on."""
        for measure in measures:
            try:
                value = measure.function(record)
            except NotMeasurable as reason:
                self.skips.append(Skip(layer=self.layer, measure=measure.name, reason=str(reason)))
                continue
            found = _measurement(self.layer, measure.name, value)
            if found is None:
                self.skip((measure,), "too large for a double")
            else:
                self.measurements.append(found)

    def has(self, measure: str) -> bool:
        """Return whether a measure was taken."""
        return any(each.measure == measure for each in self.measurements)

    def skip(self, measures: Iterable[Measure[S]], reason: str) -> None:
        """Skip measures, all for one reason."""
        self.skips.extend(Skip(layer=self.layer, measure=each.name, reason=reason) for each in measures)


def _measurement(layer: str, measure: str, value: Value) -> Measurement | None:
    """Return a value as a measurement; None where it is no finite number."""
    detail = ""
    if isinstance(value, tuple):
        value, detail = value
    if not isinstance(value, Estimate):
        number = float(value)
        return Measurement(layer=layer, measure=measure, value=number, detail=detail) if math.isfinite(number) else None
    if not math.isfinite(value.value):
        return None
    return Measurement(
        layer=layer,
        measure=measure,
        value=float(value.value),
        detail=value.detail,
        se=value.se,
        low=value.low,
        high=value.high,
    )
