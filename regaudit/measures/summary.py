"""The sums of one parameter that all measures share, from one pass over it.

Everything is accumulated in float64 and in units of `Summary.unit`, a power of two that is 1 unless powers of
the elements would leave the range of a double.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.checkpoints.dtypes import largest_finite
from regaudit.measures.base import ALL_ZERO, ORIENTATION_UNKNOWN, NotMeasurable, plural, require
from regaudit.measures.blocks import ALIGNMENT, Blocks, Box
from regaudit.measures.moments import Moments
from regaudit.measures.near_zero import NEAR_ZERO, NearZero
from regaudit.measures.ordered import nonzero
from regaudit.measures.profile import Sample
from regaudit.measures.sums import Summing, Sums, by_numpy
from regaudit.records import Use

if TYPE_CHECKING:
    from regaudit.records import Array

MIN_ROW: Final = 8  # weights: a shorter row, divided by its own rms, looks flat whatever it is
SMALLEST_SQUARE: Final = 1e-150  # Σw² of a row whose own square is still a normal double
MAX_UNITS: Final = 1 << 24  # beyond it the sums for each unit would take more memory than is promised
TWIN: Final = 1e-9  # rows whose norms agree to this are compared bit by bit; rounding moves a norm by 1e-12 at most
# Fourth powers within this range, summed over 1e8 elements, neither overflow nor vanish.
LARGEST_UNSCALED: Final = 1e70
SMALLEST_UNSCALED: Final = 1e-70
MAX_EXPONENT: Final = 1000  # 2^±1000 and its inverse are both normal doubles
# A mean below a tenth of the rms takes 1% of Σw²: central moments from power sums then keep their digits.
SMALL_MEAN: Final = 0.1


@dataclass(eq=False)
class Summary:
    """What is known of a parameter's elements, and of its units where the orientation is known.

    Args:
        shape: Canonical shape (out, in, taps); (1, size, 1) where not `oriented`.
        oriented: Whether rows and columns mean anything.
        unit: Every other number is of the elements divided by this.
        nonfinite: Elements that are NaN or infinite; all sums are meaningless unless it is 0.
        nonfinite_units: The out-units that hold them.
        minimum: The smallest element.
        maximum: The largest element.
        peak: Out-unit and input of the element with the largest absolute value.
        l1: Σ|w|.
        squares: Σw².
        moments: Mean and central power sums.
        zeros: Elements equal to 0.
        near_zeros: Elements below `NEAR_ZERO`·rms, zeros included.
        saturated: Elements of the dtype's largest finite absolute value; None for a dtype without one.
        out_l1: Σ|w| of each out-unit, shape (out,).
        out_squares: Σw² of each out-unit, shape (out,).
        out_fourths: Σw⁴ of each out-unit, shape (out,).
        in_l1: Σ|w| of each in-unit over outputs and taps, shape (in,).
        in_squares: Σw² of each in-unit over outputs and taps, shape (in,).
        out_edges: max|w| of each out-unit, where asked for.
        in_edges: max|w| of each in-unit, where asked for.
        fingerprints: 64 bits for each out-unit, equal for equal rows; None where no two rows can be equal.
        two_of_four: Groups of 4 consecutive inputs (at one output and tap) with at least 2 zeros.
        zero_blocks: Blocks of 4 outputs × 4 inputs (at one tap) of zeros alone.
        sample: Evenly spaced elements of a kernel, for its histogram; None for other parameters.
    """

    shape: tuple[int, int, int]
    oriented: bool
    unit: float = 1.0
    nonfinite: int = 0
    nonfinite_units: set[int] = field(default_factory=set)
    minimum: float = math.inf
    maximum: float = -math.inf
    peak: tuple[int, int] = (0, 0)
    l1: float = 0.0
    squares: float = 0.0
    moments: Moments = field(default_factory=Moments)
    zeros: int = 0
    near_zeros: int = 0
    saturated: int | None = None
    out_l1: Array | None = None
    out_squares: Array | None = None
    out_fourths: Array | None = None
    in_l1: Array | None = None
    in_squares: Array | None = None
    out_edges: Array | None = None
    in_edges: Array | None = None
    fingerprints: Array | None = None
    two_of_four: int = 0
    zero_blocks: int = 0
    sample: Sample | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def fan_in(self) -> int:
        """Weights of one out-unit: the length of a row of the canonical matrix."""
        return self.shape[1] * self.shape[2]

    @property
    def max_abs(self) -> float:
        """Largest |w|, in units of `unit`."""
        return max(self.maximum, -self.minimum)

    @cached_property
    def rms(self) -> float:
        """√(Σw²/n), in units of `unit`."""
        return math.sqrt(self.squares / self.size)

    @cached_property
    def out_norms(self) -> Array:
        """‖w_j‖₂ of each out-unit, shape (out,), in units of `unit`; raises `NotMeasurable`."""
        return np.sqrt(self.per_unit(self.out_squares, self.shape[0]))

    @cached_property
    def in_norms(self) -> Array:
        """‖W_{:i}‖₂ of each in-unit over outputs and taps, shape (in,), in units of `unit`; raises `NotMeasurable`."""
        return np.sqrt(self.per_unit(self.in_squares, self.shape[1]))

    @cached_property
    def sorted_out_norms(self) -> Array:
        """`out_norms`, ascending."""
        return np.sort(self.out_norms)

    @cached_property
    def sorted_in_norms(self) -> Array:
        """`in_norms`, ascending."""
        return np.sort(self.in_norms)

    @cached_property
    def scaled_rows(self) -> Array:
        """Which rows have a scale to be divided by (are not zero), shape (out,); raises `NotMeasurable`."""
        squares = self.per_unit(self.out_squares, self.shape[0])
        length = plural(self.fan_in, "weight")
        require(self.fan_in >= MIN_ROW, f"rows of {length}; it takes {MIN_ROW} to divide by their rms")
        rows: Array = squares > SMALLEST_SQUARE
        require(bool(rows.any()), ALL_ZERO)
        return rows

    @cached_property
    def row_ratio(self) -> float:
        """The ratio q = rms/mean|w| after each row is divided by its rms: 1.2533 for a Gaussian; raises `NotMeasurable`."""
        rows = self.scaled_rows
        l1, squares = self.per_unit(self.out_l1, self.shape[0])[rows], self.out_norms[rows]
        return math.sqrt(self.fan_in) * len(l1) / float(np.add.reduce(l1 / squares))

    def per_unit(self, sums: Array | None, count: int) -> Array:
        """Return sums for each unit of one side.

        Raises:
            NotMeasurable: The orientation is not known, or there are more units than `MAX_UNITS`.
        """
        require(self.oriented, ORIENTATION_UNKNOWN)
        if sums is None:
            raise NotMeasurable(f"{count:,} units are more than the {MAX_UNITS:,} that are compared")
        return sums


def summarize(blocks: Blocks, *, edges: bool = False, summing: Summing = by_numpy) -> Summary:
    """Return the summary of a parameter with at least one element.

    Args:
        blocks: The parameter's boxes; `blocks.unit` is set to the unit of the summary.
        edges: Whether to take the largest absolute value of each unit, too.
        summing: How to sum a box.

    Returns:
        The summary, after one pass, or another where its sums left the range of a double (it is repeated in other
        units), where rows may be equal, or where the first box says too little of the others' scale.
    """
    summary, near = _first_pass(blocks, summing, edges=edges)
    if summary.nonfinite:
        return summary
    unit = _unit(summary.max_abs)
    if unit != 1.0:
        blocks.in_units_of(unit)
        summary, near = _first_pass(blocks, summing, edges=edges)
    _second_pass(blocks, summary, near)
    return summary


def _unit(largest: float) -> float:
    if largest == 0.0 or SMALLEST_UNSCALED <= largest <= LARGEST_UNSCALED:
        return 1.0
    exponent = math.frexp(largest)[1]
    return math.ldexp(1.0, max(-MAX_EXPONENT, min(MAX_EXPONENT, exponent)))


def _empty(blocks: Blocks, *, edges: bool) -> Summary:
    summary = Summary(shape=blocks.shape, oriented=blocks.oriented, unit=blocks.unit)
    out, into, _ = blocks.shape
    use = blocks.parameter.use
    if blocks.oriented and out <= MAX_UNITS and use in {Use.KERNEL, Use.BIAS}:
        summary.out_l1 = np.zeros(out)
    if blocks.oriented and out <= MAX_UNITS and use is Use.KERNEL:
        summary.out_squares, summary.out_fourths = np.zeros((2, out))
    if blocks.oriented and into <= MAX_UNITS and use is Use.KERNEL:
        summary.in_l1, summary.in_squares = np.zeros((2, into))
    if edges and summary.in_squares is not None and summary.out_squares is not None:
        summary.out_edges, summary.in_edges = np.zeros(out), np.zeros(into)
    summary.saturated = None if largest_finite(blocks.parameter.dtype) is None else 0
    summary.sample = Sample(summary.size) if use is Use.KERNEL else None
    return summary


def _first_pass(blocks: Blocks, summing: Summing, *, edges: bool) -> tuple[Summary, NearZero]:
    summary, near = _empty(blocks, edges=edges), NearZero()
    largest = (largest_finite(blocks.parameter.dtype) or math.inf) / blocks.unit
    scratch = np.empty((3, blocks.capacity))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for box in blocks:
            low, high = float(box.values.min()), float(box.values.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                _count_nonfinite(box, summary)
            elif not summary.nonfinite:
                _add_sums(box, summary, summing, scratch)
                _add_sizes(box, summary, near, low, high, largest)
    return summary, near


def _count_nonfinite(box: Box, summary: Summary) -> None:
    bad = ~np.isfinite(box.values)
    summary.nonfinite += int(np.count_nonzero(bad))
    summary.nonfinite_units.update((np.flatnonzero(bad.any(axis=(1, 2))) + box.out).tolist())
    summary.sample = None


def _add_sums(box: Box, summary: Summary, summing: Summing, scratch: Array) -> None:
    """Add the sums of one box of finite values."""
    x = box.values.reshape(len(box.values), -1)
    sums = summing(x, scratch)
    rows = slice(box.out, box.out + len(x))
    l1, squares, fourths = sums.rows
    summary.l1 += float(np.add.reduce(l1))
    summary.squares += float(np.add.reduce(squares))
    if summary.out_l1 is not None:
        summary.out_l1[rows] += l1
    if summary.out_squares is not None and summary.out_fourths is not None:
        summary.out_squares[rows] += squares
        summary.out_fourths[rows] += fourths
    if summary.in_l1 is not None and summary.in_squares is not None:
        columns = slice(box.into, box.into + box.values.shape[1])
        in_l1, in_squares = np.add.reduce(sums.columns.reshape(2, *box.values.shape[1:]), axis=2)
        summary.in_l1[columns] += in_l1
        summary.in_squares[columns] += in_squares
    summary.moments.merge(_moments(x, sums, scratch))


def _add_sizes(box: Box, summary: Summary, near: NearZero, low: float, high: float, largest: float) -> None:
    """Look at the absolute values of a box whose sums were added."""
    size = np.abs(box.values)
    if max(high, -low) > max(summary.maximum, -summary.minimum):
        summary.peak = _peak(box, int(size.argmax()))
    summary.minimum, summary.maximum = min(summary.minimum, low), max(summary.maximum, high)
    if summary.saturated is not None and max(high, -low) >= largest:
        summary.saturated += int(np.count_nonzero(size >= np.float64(largest)))
    zeros = near.add(size, math.sqrt(summary.squares / summary.moments.count))
    summary.zeros += zeros
    if zeros and summary.out_squares is not None:
        _add_patterns(size == 0.0, summary)
    if summary.out_edges is not None and summary.in_edges is not None:
        _raise_edges(box, summary.out_edges, summary.in_edges, size)
    if summary.sample is not None:
        summary.sample.add(box.values)


def _raise_edges(box: Box, out_edges: Array, in_edges: Array, size: Array) -> None:
    out, into, _ = box.values.shape
    rows, columns = out_edges[box.out : box.out + out], in_edges[box.into : box.into + into]
    largest = np.maximum.reduce(size, axis=0)
    np.maximum(rows, np.maximum.reduce(size.reshape(out, -1), axis=1), out=rows)
    np.maximum(columns, np.maximum.reduce(largest, axis=1), out=columns)


def _moments(x: Array, sums: Sums, scratch: Array) -> Moments:
    """Return the moments of one box, from deviations where the mean would take digits from the power sums."""
    n, third = x.size, sums.cubes
    _, second, fourth = (float(each) for each in np.add.reduce(sums.rows, axis=1))
    mean = sums.total / n
    if abs(mean) > SMALL_MEAN * math.sqrt(second / n):
        return _central(x, mean, scratch)
    square = mean * mean
    return Moments(
        count=n,
        mean=mean,
        second=second - n * square,
        third=third - 3 * mean * second + 2 * n * mean * square,
        fourth=fourth - 4 * mean * third + 6 * square * second - 3 * n * square * square,
    )


def _central(x: Array, mean: float, scratch: Array) -> Moments:
    d, d2 = (each[: x.size] for each in scratch[:2])
    np.subtract(x.reshape(-1), mean, out=d, dtype=np.float64)
    np.multiply(d, d, out=d2)
    third, fourth = np.einsum("i,i->", d, d2), np.einsum("i,i->", d2, d2)
    return Moments(x.size, mean, float(np.add.reduce(d2)), float(third), float(fourth))


def _peak(box: Box, index: int) -> tuple[int, int]:
    out, into, _ = np.unravel_index(index, box.values.shape)
    return int(out) + box.out, int(into) + box.into


def _second_pass(blocks: Blocks, summary: Summary, near: NearZero) -> None:
    """Count what is near zero; read again where that takes it, or where rows may be equal."""
    threshold = NEAR_ZERO * summary.rms
    below = near.below(threshold)
    summary.near_zeros = summary.zeros + (below or 0)
    if _has_twins(summary):
        summary.fingerprints = np.zeros(summary.shape[0], np.uint64)
    if below is not None and summary.fingerprints is None:
        return
    for box in blocks:
        if below is None:
            size = np.abs(box.values)
            summary.near_zeros += int(np.count_nonzero((size > 0) & (size < np.float64(threshold))))
        if summary.fingerprints is not None:
            summary.fingerprints[box.out : box.out + len(box.values)] += _fingerprints(box, summary.shape[2])


def _has_twins(summary: Summary) -> bool:
    """Return whether two nonzero rows have the same norm, so that they may be equal."""
    if summary.out_squares is None:
        return False
    norms = nonzero(summary.sorted_out_norms)
    return bool((norms[1:] - norms[:-1] <= TWIN * norms[1:]).any())


def _add_patterns(zero: Array, summary: Summary) -> None:
    out, into, taps = (n // ALIGNMENT for n in zero.shape)
    taps = zero.shape[2]
    groups = zero[:, : into * ALIGNMENT].reshape(zero.shape[0], into, ALIGNMENT, taps)
    summary.two_of_four += int(np.count_nonzero(np.add.reduce(groups, axis=2, dtype=np.int8) >= 2))
    blocks = zero[: out * ALIGNMENT, : into * ALIGNMENT].reshape(out, ALIGNMENT, into, ALIGNMENT, taps)
    summary.zero_blocks += int(np.count_nonzero(blocks.all(axis=(1, 3))))


def _fingerprints(box: Box, taps: int) -> Array:
    """Return this box's part of Σ_p h(a_p·bits(w_p)) mod 2⁶⁴ for each row, p the place in the row.

    Integer sums do not depend on order or on boxes, so equal rows agree exactly, wherever they lie. The shifts
    carry the high bits, where small floats differ, down to the low ones, which alone survive multiplication.
    """
    out, into, _ = box.values.shape
    place = (box.into + np.arange(into, dtype=np.uint64))[:, None] * np.uint64(taps)
    place = place + box.tap + np.arange(box.values.shape[2], dtype=np.uint64)
    bits = (box.values.reshape(out, -1).astype(np.float64) + 0.0).view(np.uint64)  # + 0.0 makes -0.0 equal to 0.0
    mixed = (bits ^ (bits >> np.uint64(32))) * _multipliers(place.reshape(-1))
    hashed: Array = np.add.reduce(mixed ^ (mixed >> np.uint64(32)), axis=1)
    return hashed


def _multipliers(place: Array) -> Array:
    """Return an odd pseudo-random multiplier for each place: the finalizer of SplitMix64 (Steele 2014)."""
    z = (place + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) | np.uint64(1)
