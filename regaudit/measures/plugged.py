"""Measures of plugins: what one may be taken of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regaudit.measures.base import Estimate, Measure, NotMeasurable
from regaudit.records import Use

if TYPE_CHECKING:
    from regaudit.plugins import Plugin

WHOLE = "model"
FAMILIES = (*Use, WHOLE)


def family(measure: Measure[Any]) -> str:
    """Return what a measure is taken of, the first word of its name: a parameter's use, or the whole model."""
    return measure.name.partition(".")[0]


def admit(plugin: Plugin, measure: Measure[Any]) -> Measure[Any]:
    """Return a plugin's measure with its function guarded.

    Raises:
        PluginError: It says nothing of itself, or its name does not say what it is taken of.
    """
    if family(measure) not in FAMILIES or "." not in measure.name:
        raise plugin.error(f"its name is {measure.name!r}; it must begin with {'., '.join(FAMILIES)}.")
    if not (measure.formula and measure.tells):
        raise plugin.error("it has no formula, or does not say what it tells")

    def number(record: Any) -> Any:  # noqa: ANN401, a record in, a `Value` out
        return _checked(measure.function(record))

    return replace(measure, function=plugin.guarded(number, NotMeasurable))


def _checked(value: object) -> object:
    """Return what is a value of a measure.

    Raises:
        TypeError: It is no number.
    """
    number = value[0] if isinstance(value, tuple) and len(value) == 2 else value
    if not isinstance(number, float | int | Estimate):
        raise TypeError(f"it gave {number!r}; a number was expected")
    return value
