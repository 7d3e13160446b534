"""An ONNX graph written out as steps on values: branches, loops and functions are opened, constants are values too.

Source: onnx/docs/IR.md, ONNX 1.23 (names, scopes, functions).
"""

from __future__ import annotations

from collections import ChainMap, Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.onnx_messages import Reference, TensorMessage, graphs
from regaudit.checkpoints.onnx_tensors import Files, Refused, Stored, stored
from regaudit.checkpoints.text import quoted
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from regaudit.checkpoints.onnx_messages import Attribute, Graph, Model, Node


# The first outputs of a body that are no outputs of the node: a Loop's body says whether to go on.
_HIDDEN_OUTPUTS = {"Loop": 1}
_NUMBERS = ("value_int", "value_ints", "value_float", "value_floats")  # what a Constant may be besides a tensor

Scope = ChainMap[str, "Value"]


@dataclass(slots=True, eq=False)
class Value:
    """Something that flows: an input, a constant, or what a step makes."""

    name: str
    tensor: Stored | None = None
    maker: Step | None = None
    takers: list[Step] = field(default_factory=list)
    is_output: bool = False
    is_initializer: bool = False
    is_number: bool = False
    integers: tuple[int, ...] | None = None
    number: Attribute | None = None

    @property
    def is_constant(self) -> bool:
        """Whether the file holds the value itself."""
        return self.tensor is not None or self.is_number

    def numbers(self) -> tuple[int, ...] | None:
        """Return a small constant of integers, None for anything else."""
        tensor = self.tensor
        is_small = tensor is not None and tensor.dtype in {"I64", "I32"} and tensor.size <= limits.ONNX_NUMBERS.value
        if self.integers is None and tensor is not None and is_small:
            self.integers = tuple(int(each) for each in tensor.read(0, tensor.size))
        return self.integers


@dataclass(slots=True, eq=False)
class Step:
    """One operation on values. `inputs` holds None where an optional one is left out."""

    op: str
    name: str
    scopes: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attributes: Mapping[str, Attribute]
    domain: str = ""

    def value(self, index: int) -> Value | None:
        """Return an input, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def integer(self, name: str, default: int = 0) -> int:
        """Return an attribute that is an integer."""
        found = self.attributes.get(name, default)
        return found if isinstance(found, int) else default

    def text(self, name: str) -> str:
        """Return an attribute that is a text, "" if there is none."""
        found = self.attributes.get(name, "")
        return found if isinstance(found, str) else ""

    def integers(self, name: str, index: int) -> tuple[int, ...] | None:
        """Return what older opsets keep in an attribute and newer ones in an input; None where neither is known."""
        value = self.value(index)
        if value is not None:
            return value.numbers()
        found = self.attributes.get(name)
        return tuple(each for each in found if isinstance(each, int)) if isinstance(found, tuple) else None


@dataclass(slots=True, kw_only=True, eq=False)
class Flow:
    """A model's steps in order, its constants, its inputs and outputs, and the tensors that could not be read."""

    steps: list[Step] = field(default_factory=list)
    constants: list[Value] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)


def flow(model: Model, files: Files) -> Flow:
    """Write out a model.

    Args:
        model: Its messages.
        files: Where its tensors lie.

    Returns:
        Steps in file order; a step of a branch comes before the step that joins the branches.

    Raises:
        CheckpointError: A tensor's bytes are not there; two tensors have one name; the functions nest without end.
    """
    return _Writer(model, files).written()


class _Writer:
    def __init__(self, model: Model, files: Files) -> None:
        self._model = model
        self._files = files
        self._flow = Flow()
        self._visited = 0
        self._names: Counter[str] = Counter()
        self._known: dict[int, Stored | None] = {}  # a function's constants are stored once, however often it is called

    def written(self) -> Flow:
        graph = self._model.graph
        name, count = next(iter(Counter(message.name for message in graph.tensors).most_common(1)), ("", 0))
        if count > 1:
            raise CorruptCheckpoint(str(self._files.source.path), f"two tensors have the name {quoted(name)}")
        scope: Scope = ChainMap({})
        self._flow.outputs = self._graph(graph, scope, 0)
        for value in self._flow.outputs:
            value.is_output = True
        given = [scope[name] for name in graph.inputs if name in scope]
        self._flow.inputs = [value for value in given if value.maker is None and not value.is_initializer]
        return self._flow

    def _graph(self, graph: Graph, scope: Scope, nesting: int) -> list[Value]:
        # the graph's outputs
        own = scope.maps[0]
        for name in graph.inputs:
            own.setdefault(name, Value(name))
        for message in graph.tensors:
            own[message.name] = self._constant(message, message.name, is_initializer=True)
        self._flow.refused.extend(
            Refused(name, "sparse", "it is sparse, which regaudit does not read") for name in graph.sparse
        )
        for node in graph.nodes:
            self._node(node, scope, nesting)
        return [_named(scope, name) for name in graph.outputs]

    def _node(self, node: Node, scope: Scope, nesting: int) -> None:
        self._visited += 1
        if self._visited > limits.ONNX_NODES.value:
            raise UnsafeCheckpoint(
                str(self._files.source.path), *limits.ONNX_NODES.exceeded("its functions write out to too many nodes")
            )
        inputs = tuple(_named(scope, name) if name else None for name in node.inputs)
        inner = graphs(node.attributes.values())
        body = self._model.functions.get((node.domain, node.op))
        if body is not None:
            outputs = self._called(body, node, inputs, nesting)
        elif inner:
            outputs = self._joined(inner, node, inputs, scope, nesting)
        elif node.op == "Constant":
            outputs = self._constants(node)
        else:
            outputs = self._step(node, inputs, node.outputs)
        scope.maps[0].update({name: value for name, value in zip(node.outputs, outputs, strict=False) if name})

    def _step(self, node: Node, inputs: tuple[Value | None, ...], names: Iterable[str]) -> tuple[Value, ...]:
        outputs = tuple(Value(name) for name in names)
        step = Step(node.op, node.name, node.scopes, inputs, outputs, node.attributes, node.domain)
        for value in outputs:
            value.maker = step
        for taken in {id(value): value for value in inputs if value is not None}.values():
            taken.takers.append(step)
        self._flow.steps.append(step)
        return outputs

    def _joined(
        self, inner: Sequence[Graph], node: Node, inputs: Sequence[Value | None], scope: Scope, nesting: int
    ) -> tuple[Value, ...]:
        # Branches, or a body: each output of the node takes the outputs of all of them at its place.
        ends: list[list[Value]] = []
        for graph in inner:
            own = {name: v for name, v in zip(graph.inputs, inputs, strict=False) if v is not None}
            ends.append(self._graph(graph, scope.new_child(own), nesting + 1)[_HIDDEN_OUTPUTS.get(node.op, 0) :])
        joined: list[Value] = []
        for index, name in enumerate(node.outputs):
            sources = tuple(values[index] for values in ends if index < len(values))
            joined.extend(self._step(node, sources, (name,)))
        return tuple(joined)

    def _called(self, body: Graph, node: Node, inputs: Sequence[Value | None], nesting: int) -> tuple[Value, ...]:
        # the outputs of a function's body, on the caller's values
        if nesting >= limits.ONNX_NESTING.value:
            raise UnsafeCheckpoint(
                str(self._files.source.path), *limits.ONNX_NESTING.exceeded("calls functions in functions too deeply")
            )
        own = {name: v for name, v in zip(body.inputs, inputs, strict=False) if v is not None}
        scope: Scope = ChainMap(own)
        for each in body.nodes:
            self._node(_bound(each, node), scope, nesting + 1)
        return tuple(_named(scope, name) for name in body.outputs)

    def _constants(self, node: Node) -> tuple[Value, ...]:
        """Return the value of a Constant node, which is no step."""
        name, held = next(iter(node.outputs), ""), node.attributes
        if isinstance(value := held.get("value"), TensorMessage):
            return (self._constant(value, name or value.name, is_initializer=False),)
        number = held.get("value_int", held.get("value_ints"))
        written = next((held[key] for key in _NUMBERS if key in held), None)
        several = number if isinstance(number, tuple) else (number,)
        integers = tuple(each for each in several if isinstance(each, int))
        return (Value(name, is_number=True, integers=integers, number=written),)

    def _constant(self, message: TensorMessage, name: str, *, is_initializer: bool) -> Value:
        if id(message) not in self._known:
            self._known[id(message)] = self._stored(message, name)
        value = Value(name, self._known[id(message)], is_initializer=is_initializer)
        self._flow.constants.append(value)
        return value

    def _stored(self, message: TensorMessage, name: str) -> Stored | None:
        self._names[name] += 1  # two branches of an If may name their constants alike
        unique = name if self._names[name] == 1 else f"{name}#{self._names[name]}"
        found = stored(message, unique, self._files)
        if isinstance(found, Refused):
            self._flow.refused.append(found)
            return None
        return found


def _named(scope: Scope, name: str) -> Value:
    """Return the value of a name; one that nothing made is an input that the graph does not list."""
    if name not in scope:
        scope.maps[0][name] = Value(name)
    return scope[name]


def _bound(node: Node, caller: Node) -> Node:
    """Return a function's node with the attributes that it refers to filled in by the caller."""
    if not any(isinstance(value, Reference) for value in node.attributes.values()):
        return node
    bound = {
        name: caller.attributes.get(value.name) if isinstance(value, Reference) else value
        for name, value in node.attributes.items()
    }
    return replace(node, attributes={name: value for name, value in bound.items() if value is not None})
