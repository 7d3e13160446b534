"""What a measure says of itself, and how it says that it cannot be taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from regaudit.records import Role, Use

if TYPE_CHECKING:
    from collections.abc import Callable

S = TypeVar("S")

ORIENTATION_UNKNOWN = "orientation unknown"
ALL_ZERO = "all weights are 0"
# One reason for what only some layers have: an output's classes, an optimizer's moments, a bias that cancels.
NOT_HERE = "evidence that only some layers carry"


class NotMeasurable(Exception):
    """Raised by a measure that cannot be taken; the message is the reason of the `Skip`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number that another sample would change: with its standard error, or the ends of its 95% interval."""

    value: float
    detail: str = ""
    se: float | None = None
    low: float | None = None
    high: float | None = None


Value: TypeAlias = float | tuple[float, str] | Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Generic[S]):
    """One number that can be taken of a parameter of a layer, or of the whole model.

    Args:
        name: `use.quantity` ("kernel.fro_norm"), or `model.`, `input.` or `activity.quantity`.
        formula: The definition, on one line.
        unit: Unit of the value ("w" is the unit of the weights, "" a pure number).
        range: The values that can occur.
        source: Author and year, or "definition".
        tells: What the number says, in one sentence.
        trap: What it must not be taken for ("" if nothing).
        not_for: Roles of which it says nothing, so that it is skipped.
        function: The value, or the value with a detail; raises `NotMeasurable`.
    """

    name: str
    formula: str
    unit: str = ""
    range: str
    source: str = "definition"
    tells: str
    trap: str = ""
    not_for: frozenset[Role] = frozenset()
    function: Callable[[S], Value]

    @property
    def use(self) -> Use | None:
        """The parameter it is taken of; None for the whole model, its inputs, and what a layer does to data."""
        prefix = self.name.partition(".")[0]
        return Use(prefix) if prefix in set(Use) else None


def require(holds: bool, reason: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise the reason unless the condition holds.

    Raises:
        NotMeasurable: It does not.
    """
    if not holds:
        raise NotMeasurable(reason)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: "1 row", "65,536 rows"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
