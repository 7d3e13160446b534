"""What a picture of a kernel needs: a histogram of its weights, and some of its singular values.

No number in a report is computed from them. They are taken in passing: the histogram from a sample of the pass that
needs the rms anyway, the singular values from a spectrum that was computed for the measures. Both are kept in arrays
of the machine's numbers, a kilobyte for each layer: models have ten thousand.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.records import Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.measures.subject import Subject
    from regaudit.records import Array

BINS: Final = 65  # odd, so that the zeros of a sparse kernel are in the middle of one
REACH: Final = 5.2  # rms: bins of 0.16; of 3,000,000 Gaussian weights one lies beyond
MOST_SAMPLED: Final = 1 << 14  # weights: their highest bin is good to 3%, which is a pixel or two
MOST_RANKS: Final = 64  # singular values: every one of the first nine, then evenly spaced on a log scale


class Sample:
    """Evenly spaced elements of a parameter, at most about `MOST_SAMPLED`, collected box by box."""

    def __init__(self, size: int) -> None:
        self.step = 1 if size <= MOST_SAMPLED else -(-size // MOST_SAMPLED) | 1  # odd: it meets every column
        self.pieces: list[Array] = []
        self._next = 0

    def add(self, values: Array) -> None:
        """Keep what is due of the next box."""
        piece = values.reshape(-1)[self._next :: self.step].copy()
        self._next += piece.size * self.step - values.size
        self.pieces.append(piece)

    def counts(self, rms: float) -> Sequence[int]:
        """Return how many elements lie in each bin; without a scale (all are zero) all in the middle one."""
        kept = np.concatenate(self.pieces).astype(np.float64)
        scaled = kept * (BINS / (2 * REACH * rms) if rms else 0.0) + BINS / 2
        np.minimum(np.maximum(scaled, 0, out=scaled), BINS - 1, out=scaled)
        return array("I", np.bincount(scaled.astype(np.intp), minlength=BINS).tolist())


def profile_of(subject: Subject, *, has_spectrum: bool) -> Profile | None:
    """Return the profile of a kernel; None where it is not finite.

    Args:
        subject: The kernel.
        has_spectrum: Whether its spectrum was computed; none is computed for a picture.
    """
    summary = subject.summary
    if summary.sample is None:
        return None
    counts = summary.sample.counts(summary.rms)
    if not has_spectrum:
        return Profile(counts=counts, reach=REACH)
    values = subject.spectrum.values
    ranks = kept_ranks(len(values))
    kept = values[np.array(ranks) - 1] * summary.unit
    return Profile(counts=counts, reach=REACH, ranks=ranks, singular_values=array("d", kept.tolist()))


@lru_cache(maxsize=1024)
def kept_ranks(count: int) -> Sequence[int]:
    """Return which of `count` singular values are kept: the first, the last, and evenly on a log scale between them."""
    if count <= MOST_RANKS:
        return range(1, count + 1)
    return tuple(np.unique(np.geomspace(1, count, MOST_RANKS).round().astype(int)).tolist())
