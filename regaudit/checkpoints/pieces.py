"""Arrays that lie in several pieces: shards of a partitioned variable, chunks of a long one."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regaudit.checkpoints import dtypes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regaudit.records import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """Contiguous elements that begin at byte `offset` of what `read_at` reads.

    Of every row of the array the piece holds elements [first, first + length).
    """

    read_at: Callable[[int, int], bytes]
    offset: int
    first: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pieces:
    """An array cut along one axis.

    Args:
        dtype: Key of `dtypes.DTYPES`.
        row: Elements of one row: the axis that is cut and those behind it. An array in one piece is one row.
        pieces: By `first`, without gap or overlap.
    """

    dtype: str
    row: int
    pieces: tuple[Piece, ...]

    def read(self, start: int, stop: int) -> Array:
        """Return elements [start, stop) in C order, decoded."""
        parts = list(self._parts(start, stop))
        if not parts:
            return dtypes.decode(self.dtype, b"")
        whole: Array = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole

    def _parts(self, start: int, stop: int) -> Iterator[Array]:
        while start < stop:
            row, place = divmod(start, self.row)
            piece = self.pieces[bisect_right(self.pieces, place, key=_first) - 1]
            count = min(stop - start, piece.first + piece.length - place)
            begin = row * piece.length + place - piece.first
            yield dtypes.read_span(piece.read_at, piece.offset, self.dtype, begin, begin + count)
            start += count


def _first(piece: Piece) -> int:
    return piece.first
