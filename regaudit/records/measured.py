"""What measures make: numbers about layers, each finite, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from regaudit.records.layers import Layer
    from regaudit.records.stored import Tensor
    from regaudit.records.vocabulary import Array, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number about one layer: always finite. `detail` says which units, where that helps a reader.

    An estimate has its standard error `se`, or the ends `low` and `high` of its 95% interval; what is exact has none.
    """

    layer: str
    measure: str
    value: float
    detail: str = ""
    se: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a finite float: such a thing is a `Skip`.

        Raises:
            ValueError: The value is NaN or infinite.
        """
        if not math.isfinite(self.value):
            raise ValueError(f"{self.measure} of {self.layer} is {self.value}; make it a Skip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A measure that could not be taken, and why."""

    layer: str
    measure: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How the weights of a kernel and its singular values are distributed, small enough to keep for every layer.

    Args:
        counts: Weights in each of the bins, equally wide, that divide [-reach, reach] in units of the kernel's rms; the
            outermost bins also hold what lies beyond.
        reach: Half the width of the histogram, in rms.
        ranks: Which singular values are kept: 1 for the largest, up to their number.
        singular_values: At those ranks, in the unit of the weights; () where no spectrum was computed.
    """

    counts: Sequence[int]
    reach: float
    ranks: Sequence[int] = ()
    singular_values: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitSums:
    """Sums over a kernel for each of its output units and each of its inputs, for what compares two layers.

    Args:
        out_l1: Σ|w| of each output unit, shape (out,).
        out_squares: Σw² of each, shape (out,).
        in_l1: Σ|w| of each input, shape (in,).
        in_squares: Σw² of each, shape (in,).
    """

    out_l1: Array
    out_squares: Array
    in_l1: Array
    in_squares: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAudit:
    """A layer with what was measured of it; `profile` and `sums` are of its kernel, where it has one that is finite."""

    layer: Layer
    measurements: tuple[Measurement, ...] = ()
    skips: tuple[Skip, ...] = ()
    profile: Profile | None = None
    sums: UnitSums | None = field(default=None, compare=False, repr=False)
    _by_name: Mapping[str, Measurement] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Index the measurements: rules ask for them by name, a hundred times a layer."""
        object.__setattr__(self, "_by_name", {m.measure: m for m in reversed(self.measurements)})

    def value(self, measure: str) -> float | None:
        """Return the value of a measure (`"kernel.fro_norm"`), or None where it was not taken."""
        found = self._by_name.get(measure)
        return found.value if found else None

    def detail(self, measure: str) -> str:
        """Return the detail of a measure, or "" where there is none."""
        found = self._by_name.get(measure)
        return found.detail if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorStatistics:
    """A tensor as the file has it. Sums are over finite elements only; `nonfinite` counts the others.

    `minimum` and `maximum` are absent where no element is finite or there is none.
    """

    tensor: Tensor
    role: Role
    layer: str
    sum: float
    fro_norm: float
    minimum: float | None
    maximum: float | None
    zeros: int
    nonfinite: int
