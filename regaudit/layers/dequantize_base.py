"""What every dequantiser takes and returns, and the formula that most of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from regaudit.checkpoints.dtypes import DTYPES
from regaudit.layers.values import Values, computed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regaudit.records import Array

    Rows = Callable[[int, int], Array]  # what belongs to rows [start, stop) of a kernel

WORDS = ("I32", "U32")


class Unfit(Exception):
    """Packed weights that cannot be dequantised; the message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Packed weights with what belongs to them.

    Args:
        parts: Stored arrays by the scheme's suffix (`qweight`, `scales`).
        settings: What the configuration says of the quantisation, or {}. Untrusted.
    """

    parts: Mapping[str, Values]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def part(self, suffix: str, *dtypes: str) -> Values:
        """Return a part that must be there, of one of the dtypes (any float where none is given).

        Raises:
            Unfit: It is not.
        """
        found = self.parts.get(suffix)
        if found is None or not found.size:
            raise Unfit(f"{suffix} is missing")
        if found.dtype not in dtypes if dtypes else not (found.dtype in DTYPES and DTYPES[found.dtype].is_float):
            raise Unfit(f"{suffix} holds {found.dtype}, {' or '.join(dtypes) or 'floats'} are due")
        return found

    def matrix(self, suffix: str, *dtypes: str) -> Values:
        """Return a part with two axes.

        Raises:
            Unfit: It is missing, or something else.
        """
        found = self.part(suffix, *dtypes)
        require(found.ndim == 2, f"{suffix} has the shape {found.shape}, a matrix is due")
        return found

    def whole_numbers(self, suffix: str, size: int) -> Array | None:
        """Return a small part of integers, flat; None where it is not there.

        Raises:
            Unfit: It holds something else, or another number of them.
        """
        found = self.parts.get(suffix)
        if found is None:
            return None
        require(found.size == size, f"{suffix} has {found.size:,} entries, {size:,} are due")
        numbers = found.whole().reshape(-1)
        require(numbers.dtype.kind in "iu", f"{suffix} holds {found.dtype}, integers are due")
        return numbers

    def present(self, *suffixes: str) -> tuple[Values, ...]:
        """Return those of the parts that are there."""
        return tuple(self.parts[suffix] for suffix in suffixes if suffix in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A kernel made of packed weights.

    Args:
        leaf: What the array would be called unpacked: "weight" is stored (out, in), "kernel" (in, out).
        values: The kernel.
        steps: Distance between neighbouring levels at each of its elements.
        note: How it was made, as evidence.
    """

    leaf: str
    values: Values
    steps: Values
    note: str


def affine(
    sources: tuple[Values, ...],
    shape: tuple[int, ...],
    codes: Rows,
    scales: Rows,
    *,
    zeros: Rows | None = None,
    offsets: Rows | None = None,
) -> tuple[Values, Values]:
    """Return scale · (code - zero) + offset in float32, and its steps, which are the scales."""

    def rows(start: int, stop: int) -> Array:
        block = codes(start, stop).astype(np.float32)
        with np.errstate(all="ignore"):  # what is not finite comes through as it is
            if zeros:
                block -= zeros(start, stop)
            block *= scales(start, stop)
            if offsets:
                block += offsets(start, stop)
        return block

    def spread(start: int, stop: int) -> Array:
        return np.ascontiguousarray(np.broadcast_to(scales(start, stop), (stop - start, *shape[1:])))

    return computed(sources, shape, rows), computed(sources, shape, spread)


def by_row(groups: Rows, index: Array) -> Rows:
    """Return what belongs to each row of a kernel, from what belongs to each group of rows."""

    def rows(start: int, stop: int) -> Array:
        wanted = index[start:stop]
        low, high = (int(wanted.min()), int(wanted.max()) + 1) if wanted.size else (0, 0)
        return np.asarray(groups(low, high)[wanted - low])

    return rows


def by_column(groups: Rows, index: Array) -> Rows:
    """Return what belongs to each column of a kernel, from what belongs to each group of columns, row by row."""
    return lambda start, stop: groups(start, stop)[:, index]


def sizes(*arrays: Values) -> str:
    """Return the reason that arrays do not fit together, with their shapes."""
    return "its arrays do not fit: " + ", ".join(f"{each.tensors[0]} {each.shape}" for each in arrays)


def require(condition: object, reason: str) -> None:
    """Refuse packed weights for a reason.

    Raises:
        Unfit: The condition does not hold.
    """
    if not condition:
        raise Unfit(reason)
