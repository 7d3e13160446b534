"""Which layer each tensor of an ONNX graph belongs to, as what, and how the layers are connected."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regaudit.checkpoints import onnx_names
from regaudit.checkpoints.onnx_activations import activation, written_out
from regaudit.checkpoints.onnx_operators import (
    ARITHMETIC,
    CONVOLUTIONS,
    DENSE,
    GATES,
    INITIAL_STATES,
    PACKED,
    PASSING,
    QUANTIZATION,
    SHAPES,
    SLOTS,
    Slot,
    dense,
)
from regaudit.checkpoints.onnx_recurrent import kernels
from regaudit.checkpoints.onnx_weights import Part, Piece, Trace
from regaudit.records import Axis, Module, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from regaudit.checkpoints.onnx_flow import Flow, Step, Value

_SHOWN = 120  # characters of a setting that is a text
_LARGEST = 1 << 53  # of a setting that is a number
_DEFAULT_DROPOUT = 0.5  # of ONNX's Dropout
_MOST_PASSED = 16  # units behind one value (branches of an If); more count as one joint
_WITH_BIAS = DENSE | CONVOLUTIONS
_WRITTEN_NORMS = {"LayerNormalization", "RMSNormalization", "GroupNormalization"}


@dataclass(slots=True, kw_only=True, eq=False)
class Unit:
    """A layer, or another operation that the data pass through.

    `names` are those it may get, best first; `width` is the number of its outputs, 0 where it is unknown.
    """

    op: str
    names: list[str]
    parts: list[Part] = field(default_factory=list)
    inputs: dict[Unit, None] = field(default_factory=dict)
    activation: str = ""
    settings: dict[str, str | int | float | bool] = field(default_factory=dict)
    width: int = 0
    name: str = ""

    def has(self, use: Use) -> bool:
        """Return whether it takes a tensor with this use."""
        return any(part.use is use for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What a graph says.

    Args:
        units: In the order of the graph, named.
        helpers: Tensors (by id) that only serve an operation: scales of quantised numbers, states to start from.
        dropouts: Unit whose output is dropped out ("" if that is an input), node, and rate.
    """

    units: tuple[Unit, ...]
    helpers: frozenset[int]
    dropouts: tuple[tuple[str, str, float], ...]

    def modules(self) -> tuple[Module, ...]:
        """Return a record for each unit."""
        return tuple(
            Module(
                name=unit.name,
                type=unit.op,
                activation=unit.activation,
                inputs=tuple(each.name for each in unit.inputs),
                settings=unit.settings,
            )
            for unit in self.units
        )


def layers(flow: Flow) -> Layers:
    """Read the layers of a graph.

    Args:
        flow: Its steps in order.

    Returns:
        A unit for each operation with weights, and for each other one on the way of the data. An activation belongs
        to the unit before it.
    """
    reading = _Reading()
    for step in flow.steps:
        reading.read(step)
    _give_names(reading.units)
    dropouts = tuple((unit.name if unit else "", name, rate) for unit, name, rate in reading.dropouts)
    return Layers(units=tuple(reading.units), helpers=frozenset(reading.helpers), dropouts=dropouts)


class _Reading:
    """Takes the steps in order; knows for each value the units that made it."""

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.helpers: set[int] = set()
        self.dropouts: list[tuple[Unit | None, str, float]] = []
        self._trace = Trace()
        self._makers: dict[int, tuple[Unit, ...]] = {}
        self._owned: set[tuple[int, int]] = set()  # tensor (by id) and first element of every part
        self._done: set[int] = set()  # steps of activations that are written out

    def read(self, step: Step) -> None:
        """Read one step."""
        self._note_helpers(step)
        if id(step) in self._done or self._trace.follow(step) or step.op in SHAPES:
            return
        made = self._layer(step) or self._written_norm(step) or self._added(step) or self._activation(step)
        if step.op == "Dropout":
            self._note_dropout(step)
        made = made or self._other(step)
        for value in step.outputs:
            self._makers.setdefault(id(value), made)

    # --- Layers -----------------------------------------------------------------------------------

    def _layer(self, step: Step) -> tuple[Unit, ...]:
        """Return the units of a step with weights."""
        made = self._recurrent(step) if step.op in GATES else self._plain(step)
        for unit in made:
            self._connect(unit, self._before(step))
        return made

    def _plain(self, step: Step) -> tuple[Unit, ...]:
        slots = self._slots(step)
        main = self._trace.whole(step.value(slots[0].index)) if slots else None
        if main is None or not (main.tensor.is_float or main.is_packed or step.op in PACKED):
            return ()
        if step.op == "Gather" and not self._is_table(step, main):
            return ()
        unit = self._new(step, step.op, [part for slot in slots if (part := self._part(step, slot)) is not None])
        if main.grid is not None:
            unit.settings |= {"quantized": main.tensor.dtype, "quantization_step": main.grid.step()}
        return (unit,)

    def _slots(self, step: Step) -> tuple[Slot, ...]:
        if step.op not in DENSE:
            return SLOTS.get(step.op, ())
        left, right = (bool(self._trace.of(step.value(index))) for index in (0, 1))
        return dense(step, (left, right)) if len(step.inputs) > 1 else ()

    def _is_table(self, step: Step, main: Piece) -> bool:
        """Return whether a Gather looks up rows by the data, as an embedding does."""
        indices = step.value(1)
        is_fixed = indices is None or indices.is_constant or bool(self._trace.of(indices))
        return step.integer("axis") == 0 and len(main.shape) > 1 and not is_fixed

    def _part(self, step: Step, slot: Slot) -> Part | None:
        piece = self._trace.whole(step.value(slot.index))
        if piece is None:
            return None
        is_packed = piece.is_packed or not piece.tensor.is_float or step.op in PACKED
        return _part(piece, slot.use, slot.axes(len(piece.shape)), is_packed=is_packed)

    def _recurrent(self, step: Step) -> tuple[Unit, ...]:
        """Return the units of an RNN: an input and a hidden kernel for each direction."""
        units = []
        for each in kernels(step, self._trace):
            unit = self._new(step, step.op, each.parts, suffix=each.suffix)
            unit.settings["gates"] = each.gates
            units.append(unit)
        return tuple(units)

    def _new(self, step: Step, op: str, parts: Sequence[Part], suffix: str = "") -> Unit:
        # A tensor stays with the first unit that takes it; others have none (tied embeddings, shared layers).
        own = [part for part in parts if (id(part.tensor), part.start) not in self._owned]
        self._owned.update((id(part.tensor), part.start) for part in own)
        names = _names(step, own, suffix, is_layer=bool(parts))
        unit = Unit(op=op, names=names, parts=own, settings=_settings(step), width=_outputs(parts))
        self.units.append(unit)
        return unit

    # --- What exporters write out, or keep apart from the layer ------------------------------------

    def _written_norm(self, step: Step) -> tuple[Unit, ...]:
        """Return the unit of a normalization that is written out, at the product with its scale."""
        if step.op != "Mul" or len(step.inputs) != 2:
            return ()
        for data, other in (step.inputs, step.inputs[::-1]):
            scale = self._trace.whole(other)
            op = _normalized(data)
            if op and scale is not None and scale.tensor.is_float and scale.tensor.size > 1:
                unit = self._new(step, op, [_part(scale, Use.SCALE, (Axis.OUT,) * len(scale.shape))])
                self._connect(unit, self._before(step))
                return (unit,)
        return ()

    def _added(self, step: Step) -> tuple[Unit, ...]:
        """Return the unit whose bias, or offset, a step adds to its output."""
        if step.op != "Add" or len(step.inputs) != 2:
            return ()
        for data, other in (step.inputs, step.inputs[::-1]):
            unit, piece = self._single_maker(data), self._trace.whole(other)
            if unit is None or piece is None or unit.activation or not piece.tensor.is_float:
                continue
            use = Use.OFFSET if unit.op in _WRITTEN_NORMS else Use.BIAS
            if use is Use.BIAS and unit.op not in _WITH_BIAS:
                continue
            if piece.tensor.size == unit.width and not unit.has(use):
                self._attach(unit, _part(piece, use, (Axis.OUT,) * len(piece.shape)), step)
                return (unit,)
        return ()

    def _attach(self, unit: Unit, part: Part, step: Step) -> None:
        if (id(part.tensor), part.start) in self._owned:
            return
        self._owned.add((id(part.tensor), part.start))
        unit.parts.append(part)
        name = onnx_names.of_tensor(part.tensor.name, step.op)
        if name:
            # The bias keeps its name where the exporter transposed the kernel: it goes before the node's name.
            main = onnx_names.of_tensor(unit.parts[0].tensor.name, unit.op)
            unit.names.insert(1 if main and len(unit.parts) > 1 else 0, name)

    def _activation(self, step: Step) -> tuple[Unit, ...]:
        """Return the unit whose output a step activates."""
        data = step.value(0)
        name = activation(step)
        unit = self._single_maker(data)
        if name and unit is not None and unit.activation in {"", name}:
            unit.activation = name
            return (unit,)
        return self._written_activation(step)

    def _written_activation(self, step: Step) -> tuple[Unit, ...]:
        for value in step.inputs:
            makers = self._makers.get(id(value), ()) if value is not None else ()
            if value is None or len(makers) != 1 or _is_cut(value):
                continue
            found = written_out(value)
            if found is not None and makers[0].activation in {"", found[0]}:
                name, steps, result = found
                makers[0].activation = name
                self._done.update(map(id, steps))
                self._makers[id(result)] = makers
                return makers
        return ()

    def _single_maker(self, value: Value | None) -> Unit | None:
        """Return the unit that made a value which nothing else takes."""
        makers = self._makers.get(id(value), ()) if value is not None else ()
        is_only = value is not None and len(value.takers) == 1 and not value.is_output and not _is_cut(value)
        return makers[0] if is_only and len(makers) == 1 else None

    def _other(self, step: Step) -> tuple[Unit, ...]:
        """Return what a step without weights hands on: the units before it, or itself as one."""
        before = self._before(step)
        if not before or (step.op in PASSING and len(before) <= _MOST_PASSED):
            return before
        unit = self._new(step, step.op, ())
        self._connect(unit, before)
        return (unit,)

    # --- Notes ------------------------------------------------------------------------------------

    def _before(self, step: Step) -> tuple[Unit, ...]:
        """Return the units whose outputs a step takes."""
        found = (unit for value in step.inputs if value is not None for unit in self._makers.get(id(value), ()))
        return tuple(dict.fromkeys(found))

    def _connect(self, unit: Unit, before: Iterable[Unit]) -> None:
        unit.inputs.update((each, None) for each in before if each is not unit)

    def _note_helpers(self, step: Step) -> None:
        places = INITIAL_STATES if step.op in GATES else QUANTIZATION.get(step.op, ())
        for index in places:
            self.helpers.update(id(piece.tensor) for piece in self._trace.of(step.value(index)))
        for value in step.inputs if step.op in ARITHMETIC else ():
            tensor = value.tensor if value is not None else None
            if tensor is not None and tensor.size == 1 and onnx_names.is_made_up(tensor.name):
                self.helpers.add(id(tensor))

    def _note_dropout(self, step: Step) -> None:
        ratio = step.value(1)
        rate = step.attributes.get("ratio", _DEFAULT_DROPOUT)
        if ratio is not None and ratio.tensor is not None and ratio.tensor.is_float and ratio.tensor.size == 1:
            rate = float(ratio.tensor.read(0, 1)[0])
        if isinstance(rate, int | float) and 0 <= rate <= 1:
            makers = self._before(step)
            self.dropouts.append((makers[0] if makers else None, onnx_names.plain(step.name), float(rate)))


def _part(piece: Piece, use: Use, axes: Sequence[Axis], *, is_packed: bool = False) -> Part:
    labelled = piece.labelled(axes)
    return Part(
        tensor=piece.tensor, use=use, axes=labelled, shape=piece.tensor.shape, is_packed=is_packed, grid=piece.grid
    )


def _is_cut(value: Value) -> bool:
    """Return whether a value is a part of what was made: a gated unit activates half of its kernel's output."""
    return value.maker is not None and value.maker.op in {"Split", "Slice", "Gather"}


def _outputs(parts: Sequence[Part]) -> int:
    """Return the number of outputs of a kernel, or the length of a scale; 0 where it is not known."""
    main = next((part for part in parts if part.use in {Use.KERNEL, Use.SCALE}), None)
    if main is None or len(main.axes) != len(main.shape):
        return 0
    return math.prod(n for n, axis in zip(main.shape, main.axes, strict=True) if axis is Axis.OUT)


def _normalized(value: Value | None) -> str:
    """Return the normalization that ends in this value, before its scale: x / √v, or x · (1 / √v)."""
    maker = _maker(value)
    if maker is None or len(maker.inputs) < 2:
        return ""
    if maker.op == "InstanceNormalization":  # on groups of channels: as PyTorch exports GroupNorm
        return "GroupNormalization" if value is not None and value.maker is not maker else ""
    if maker.op == "Div" and _is_root(maker.value(1)):
        return "LayerNormalization" if _op(maker.value(0)) == "Sub" else "RMSNormalization"
    if maker.op == "Mul":
        for data, other in (maker.inputs[:2], maker.inputs[1::-1]):
            inverse = _maker(other)
            is_inverse = inverse is not None and inverse.op in {"Reciprocal", "Div"} and _is_root(inverse.inputs[-1])
            if is_inverse:
                return "LayerNormalization" if _op(data) == "Sub" else "RMSNormalization"
    return ""


def _maker(value: Value | None) -> Step | None:
    """Return the step that made a value, behind a change of its type or shape."""
    maker = value.maker if value is not None else None
    if maker is not None and maker.op in {"Cast", "Reshape"} and (before := maker.value(0)) is not None:
        return before.maker
    return maker


def _op(value: Value | None) -> str:
    maker = _maker(value)
    return maker.op if maker else ""


def _is_root(value: Value | None) -> bool:
    return _op(value) == "Sqrt"


def _names(step: Step, parts: Iterable[Part], suffix: str, *, is_layer: bool) -> list[str]:
    """Return names for a unit, best first: from its tensors, PyTorch's scopes, the node, the output."""
    tensors = [onnx_names.of_tensor(part.tensor.name, step.op) for part in parts]
    where = [onnx_names.of_scopes(step.scopes), onnx_names.of_node(step.name, step.op)] if is_layer else []
    output = step.outputs[0].name if step.outputs else ""
    found = [*tensors, *where, onnx_names.plain(step.name), output, step.op or "(unnamed)"]
    if not suffix:
        return list(filter(None, found))
    return [name if onnx_names.is_torch_recurrent(name) else f"{name}.{suffix}" for name in found if name]


def _settings(step: Step) -> dict[str, str | int | float | bool]:
    """Return the attributes that are plain values."""
    return {
        name: value
        for name, value in step.attributes.items()
        if (isinstance(value, str) and len(value) <= _SHOWN)
        or (isinstance(value, int | float) and abs(value) < _LARGEST)
    }


def _give_names(units: Iterable[Unit]) -> None:
    """Give every unit a name of its own; those with tensors choose first."""
    taken: dict[str, int] = {}
    for unit in sorted(units, key=lambda unit: not unit.parts):
        free = (name for name in unit.names if name not in taken)
        name = next(free, "")
        while not name or name in taken:
            taken[unit.names[-1]] = number = taken.get(unit.names[-1], 1) + 1
            name = f"{unit.names[-1]}#{number}"
        taken[name] = 1
        unit.name = name
