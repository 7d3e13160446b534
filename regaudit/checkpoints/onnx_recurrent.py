"""RNN, GRU and LSTM of ONNX: an input and a hidden kernel for each direction, with its half of the bias.

W is (directions, gates · hidden, in), R (directions, gates · hidden, hidden), B (directions, 2 · gates · hidden).
Exporters store them so, or put them together from torch's matrices, gate by gate.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html (opset 22).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints.onnx_names import is_torch_recurrent
from regaudit.checkpoints.onnx_operators import GATES
from regaudit.checkpoints.onnx_weights import Part, Pieces
from regaudit.records import Axis, Use

if TYPE_CHECKING:
    from regaudit.checkpoints.onnx_flow import Step
    from regaudit.checkpoints.onnx_tensors import Stored
    from regaudit.checkpoints.onnx_weights import Trace

_DIRECTIONS = {"bidirectional": ("forward", "reverse"), "reverse": ("reverse",)}
_AXES = {2: (Axis.OUT, Axis.IN), 3: (Axis.TAP, Axis.OUT, Axis.IN)}
# Letters that torch has for the same gates.
_TORCH = {"LSTM": str.maketrans("c", "g"), "GRU": str.maketrans("h", "n")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel of a recurrent operator: its parts, its gates in stored order, and the end of its name."""

    parts: tuple[Part, ...]
    gates: str
    suffix: str


def kernels(step: Step, trace: Trace) -> tuple[Kernel, ...]:
    """Return the kernels of an RNN, GRU or LSTM.

    Args:
        step: The operator.
        trace: The tensors of the file that its inputs are made of.

    Returns:
        Input kernels, then hidden kernels; () where the tensors are computed, or fit no such operator.
    """
    directions = _DIRECTIONS.get(step.text("direction"), ("forward",))
    rows = step.integer("hidden_size") * len(GATES[step.op])
    if rows <= 0:
        return ()
    pieces = [trace.of(step.value(index)) for index in (1, 2)]
    places = [(side, direction) for direction in directions for side in ("input", "hidden")]
    biases = dict(zip(places, _runs(trace.of(step.value(3)), len(places), rows), strict=False))
    found: list[Kernel] = []
    for side, of_side in zip(("input", "hidden"), pieces, strict=True):
        runs = _runs(of_side, len(directions), rows)
        if not runs:
            return ()
        for direction, run in zip(directions, runs, strict=True):
            label = direction if len(directions) > 1 else ""
            parts = [_kernel(run, rows, label)]
            if bias := biases.get((side, direction)):
                parts.append(_bias(bias, rows, ", ".join(filter(None, (label, side)))))
            suffix = f"weight_{'ih' if side == 'input' else 'hh'}{'_reverse' if direction == 'reverse' else ''}"
            gates = _gates(step.op, tuple(p for p in of_side if p.tensor is run.tensor), rows)
            found.append(Kernel(parts=tuple(parts), gates=gates, suffix=suffix))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements [start, start + size) of a tensor."""

    tensor: Stored
    start: int
    size: int

    @property
    def is_whole(self) -> bool:
        return self.size == self.tensor.size


def _runs(pieces: Pieces, count: int, rows: int) -> tuple[_Run, ...]:
    """Return the `count` equal parts of a value: a tensor each, or cut from one that holds them all; else ()."""
    tensors = list({id(piece.tensor): piece.tensor for piece in pieces}.values())
    if any(piece.is_packed or not piece.tensor.is_float for piece in pieces):
        return ()
    held = sum((piece.rows[1] - piece.rows[0]) for piece in pieces)
    if held != sum(tensor.shape[0] if tensor.shape else 1 for tensor in tensors):
        return ()
    if len(tensors) == 1:
        [tensor] = tensors
        size = tensor.size // count
        runs = tuple(_Run(tensor, k * size, size) for k in range(count))
        is_even = tensor.size == size * count
    else:
        runs = tuple(_Run(tensor, 0, tensor.size) for tensor in tensors)
        is_even = len(tensors) == count
    return runs if is_even and all(run.size and run.size % rows == 0 for run in runs) else ()


def _kernel(run: _Run, rows: int, label: str) -> Part:
    if run.is_whole and len(run.tensor.shape) in _AXES:
        return Part(tensor=run.tensor, use=Use.KERNEL, axes=_AXES[len(run.tensor.shape)], shape=run.tensor.shape)
    shape = (rows, run.size // rows)
    return Part(tensor=run.tensor, use=Use.KERNEL, axes=_AXES[2], shape=shape, start=run.start, label=label)


def _bias(run: _Run, rows: int, label: str) -> Part:
    if run.is_whole and len(run.tensor.shape) == 1:
        return Part(tensor=run.tensor, use=Use.BIAS, axes=(Axis.OUT,), shape=run.tensor.shape)
    return Part(tensor=run.tensor, use=Use.BIAS, axes=(Axis.OUT,), shape=(rows,), start=run.start, label=label)


def _gates(op: str, pieces: Pieces, rows: int) -> str:
    """Return the letters of the gates in the order in which a tensor stores them."""
    letters = GATES[op]
    units = rows // len(letters)
    stored: dict[int, str] = {}
    if len(pieces) > 1:
        blocks = [block for p in pieces for block in range(p.rows[0] // units, -(-p.rows[1] // units))]
        stored = dict(zip(blocks, letters, strict=False))
    order = "".join(stored[block] for block in sorted(stored)) if len(stored) == len(letters) else letters
    return order.translate(_TORCH[op]) if op in _TORCH and is_torch_recurrent(pieces[0].tensor.name) else order
