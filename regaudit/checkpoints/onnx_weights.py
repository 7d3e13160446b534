"""From the input of an operation back to the tensors of the file: through casts, transpositions, slices and joins."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.onnx_grids import grid
from regaudit.records import Axis, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.checkpoints.onnx_flow import Step, Value
    from regaudit.checkpoints.onnx_grids import Grid
    from regaudit.checkpoints.onnx_tensors import Stored


# What hands on its first input, element by element.
_UNCHANGED = frozenset({"Identity", "Cast", "CastLike", "Dropout", "QuantizeLinear"})
_PLAIN = frozenset({"F64", "F32", "F16", "BF16"})
_DEQUANTIZING = frozenset({"DequantizeLinear", "DequantizeBFP"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """A tensor of the file on its way to an operation.

    Args:
        tensor: As it is stored.
        shape: Of the value that it has become.
        axes: For each axis of the value, the axes of the tensor that it runs over; None where that is not known.
        rows: The rows of the tensor (along its axis 0) that the value holds.
        is_packed: It was dequantised on the way: the stored numbers are not the weights.
        grid: What makes weights of them; None where that is not known.
    """

    tensor: Stored
    shape: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...] | None
    rows: tuple[int, int]
    is_packed: bool = False
    grid: Grid | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every row of the tensor is there."""
        return self.rows == (0, _rows(self.tensor))

    def labelled(self, axes: Sequence[Axis]) -> tuple[Axis, ...]:
        """Return what each axis of the tensor runs over, from what each axis of the value does; () if unclear."""
        if self.axes is None or len(axes) != len(self.axes):
            return ()
        found: dict[int, Axis] = {}
        for label, stored in zip(axes, self.axes, strict=True):
            for axis in stored:
                if found.setdefault(axis, label) is not label:
                    return ()
        for axis, length in enumerate(self.tensor.shape):
            if axis not in found and length != 1:
                return ()
        return tuple(found.get(axis, Axis.TAP) for axis in range(len(self.tensor.shape)))


Pieces = tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A tensor as a layer uses it, or a run of its elements from `start` on.

    `label` says which run ("forward", "reverse, hidden"); "" for a whole tensor, whose shape is then the file's.
    """

    tensor: Stored
    use: Use
    axes: tuple[Axis, ...]
    shape: tuple[int, ...]
    start: int = 0
    label: str = ""
    is_packed: bool = False
    grid: Grid | None = None


class Trace:
    """The pieces of every value seen so far; steps are given in their order."""

    def __init__(self) -> None:
        self._pieces: dict[int, Pieces] = {}

    def of(self, value: Value | None) -> Pieces:
        """Return the tensors that a value is made of; () where it depends on the input."""
        if value is None:
            return ()
        if value.tensor is not None:
            return (_piece(value.tensor),)
        return self._pieces.get(id(value), ())

    def whole(self, value: Value | None) -> Piece | None:
        """Return the one tensor that a value is, rearranged at most."""
        pieces = self.of(value)
        return pieces[0] if len(pieces) == 1 and pieces[0].is_whole else None

    def follow(self, step: Step) -> bool:
        """Return whether a step only hands on tensors of the file, and note which."""
        first = self.of(step.value(0))
        found: Pieces = ()
        if step.op == "Concat" or (step.op == "If" and len(step.inputs) == 1):
            found = self._joined(step)
        elif len(first) == 1:
            piece = _through(step, first[0])
            if piece and piece.is_packed and not first[0].is_packed:
                piece = replace(piece, grid=grid(step, piece, self.whole(step.value(1)), self.whole(step.value(2))))
            found = (piece,) if piece else ()
        elif first and step.op in _UNCHANGED | {"Unsqueeze"}:
            # The joined parts of a recurrent kernel get an axis for the direction: their own axes stay as they are.
            found = first
        if found and step.outputs:
            self._pieces[id(step.outputs[0])] = found
        return bool(found)

    def _joined(self, step: Step) -> Pieces:
        parts = [self.of(value) for value in step.inputs]
        joined = tuple(piece for pieces in parts for piece in pieces)
        return joined if all(parts) and len(joined) <= limits.ONNX_JOINED.value else ()


def _piece(tensor: Stored) -> Piece:
    axes = tuple((axis,) for axis in range(len(tensor.shape)))
    return Piece(tensor=tensor, shape=tensor.shape, axes=axes, rows=(0, _rows(tensor)))


def _rows(tensor: Stored) -> int:
    return tensor.shape[0] if tensor.shape else 1


def _through(step: Step, piece: Piece) -> Piece | None:
    """Return what a step makes of a tensor; None where it computes with it."""
    if step.op in _UNCHANGED:
        return piece
    if step.op in _DEQUANTIZING:
        # Training that simulates quantisation exports plain floats, quantised and dequantised in the graph.
        return piece if piece.tensor.dtype in _PLAIN else replace(piece, is_packed=True)
    if step.op == "Transpose":
        return _transposed(piece, step)
    if step.op in {"Squeeze", "Unsqueeze"}:
        return _squeezed(piece, step)
    if step.op in {"Reshape", "Flatten"}:
        return _reshaped(piece, step)
    return _sliced(piece, step) if step.op == "Slice" else None


def _transposed(piece: Piece, step: Step) -> Piece:
    found = step.attributes.get("perm")
    order = found if isinstance(found, tuple) else tuple(range(len(piece.shape)))[::-1]
    if piece.axes is None or sorted(map(str, order)) != sorted(map(str, range(len(piece.axes)))):
        return replace(piece, axes=None)
    places = [each for each in order if isinstance(each, int)]
    shape = tuple(piece.shape[axis] for axis in places)
    return replace(piece, axes=tuple(piece.axes[axis] for axis in places), shape=shape)


def _squeezed(piece: Piece, step: Step) -> Piece:
    places = step.integers("axes", 1)
    if piece.axes is None:
        return piece
    rank = len(piece.shape)
    if step.op == "Squeeze":
        gone = {axis % rank for axis in places} if places and rank else _ones(piece.shape)
        kept = [axis for axis in range(rank) if axis not in gone]
        axes, shape = tuple(piece.axes[axis] for axis in kept), tuple(piece.shape[axis] for axis in kept)
        return replace(piece, axes=axes, shape=shape)
    rank += len(places or ())
    new = {axis % rank for axis in places or ()}
    rest = iter(zip(piece.axes, piece.shape, strict=True))
    both = [((), 1) if axis in new else next(rest, ((), 1)) for axis in range(rank)]
    return replace(piece, axes=tuple(axes for axes, _ in both), shape=tuple(length for _, length in both))


def _ones(shape: tuple[int, ...]) -> set[int]:
    return {axis for axis, length in enumerate(shape) if length == 1}


def _reshaped(piece: Piece, step: Step) -> Piece:
    size = math.prod(piece.shape)
    if step.op == "Flatten":
        cut = step.integer("axis", 1)
        first = math.prod(piece.shape[:cut])
        shape: tuple[int, ...] | None = (first, size // first) if first else None
    else:
        shape = _target(step.integers("shape", 1), piece.shape)
    axes = None if piece.axes is None or shape is None else _regrouped(piece.axes, piece.shape, shape)
    return replace(piece, axes=axes, shape=shape or ())


def _target(wanted: tuple[int, ...] | None, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape that a Reshape asks for: 0 keeps an axis, -1 takes what is left."""
    if wanted is None or min(wanted, default=0) < -1 or wanted.count(-1) > 1:
        return None
    kept = [shape[k] if n == 0 and k < len(shape) else n for k, n in enumerate(wanted)]
    rest = math.prod(n for n in kept if n != -1)
    if -1 in kept and rest:
        kept[kept.index(-1)] = math.prod(shape) // rest
    return tuple(kept) if math.prod(kept) == math.prod(shape) and min(kept, default=1) > 0 else None


def _regrouped(
    axes: tuple[tuple[int, ...], ...], before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[tuple[int, ...], ...] | None:
    """Return for each new axis the old ones in it: axes are merged or split where their products meet."""
    found: list[tuple[int, ...]] = []
    old = new = 0
    while old < len(before) or new < len(after):
        start, first, left, right = old, new, 1, 1
        while left != right or (old, new) == (start, first):
            if old < len(before) and (left <= right or new == len(after)):
                left, old = left * before[old], old + 1
            elif new < len(after):
                right, new = right * after[new], new + 1
            else:
                return None
        merged = tuple(axis for group in axes[start:old] for axis in group)
        found.extend(() if length == 1 else merged for length in after[first:new])
    return tuple(found)


def _sliced(piece: Piece, step: Step) -> Piece | None:
    """Return rows of a tensor; None for slices along other axes or with steps."""
    starts, stops = step.integers("starts", 1), step.integers("ends", 2)
    axes, strides = step.integers("axes", 3) or (0,), step.integers("steps", 4) or (1,)
    if piece.axes is None or starts is None or stops is None or not len(starts) == len(stops) == len(axes) == 1:
        return None
    if strides != (1,) or not -len(piece.axes) <= axes[0] < len(piece.axes) or piece.axes[axes[0]] != (0,):
        return None
    axis = axes[0] % len(piece.axes)
    first, last = piece.rows
    begin, end, _ = slice(starts[0], stops[0]).indices(last - first)
    shape = (*piece.shape[:axis], max(0, end - begin), *piece.shape[axis + 1 :])
    return replace(piece, rows=(first + begin, first + max(begin, end)), shape=shape)
