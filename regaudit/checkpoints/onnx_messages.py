"""The messages of an ONNX file as records: model, graph, node, attribute, tensor. Tensors stay where they lie.

Source: onnx/onnx.proto, ONNX 1.23 (field numbers).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from regaudit.checkpoints.protobuf import Field, Span, Wire


_EXTERNAL = 1  # TensorProto.DataLocation
_SCOPES = "pkg.torch.onnx.name_scopes"  # module paths, as PyTorch's exporter writes them beside each node

_SETTING_BYTES = 1024  # of a text attribute; serialised engines lie in this field too


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorMessage:
    """A tensor as the file describes it. `pieces` holds for each data field the ranges of the file that it fills."""

    name: str
    dims: tuple[int, ...]
    data_type: int
    pieces: Mapping[int, tuple[Span, ...]]
    external: Mapping[str, str] | None = None
    is_segment: bool = False


ValueType = tuple[int, tuple[int | None, ...] | None]


@dataclass(frozen=True, slots=True)
class Reference:
    """The value of an attribute inside a function: that of the caller's attribute with this name."""

    name: str


Attribute = (
    int
    | float
    | str
    | tuple[int, ...]
    | tuple[float, ...]
    | tuple[str, ...]
    | TensorMessage
    | Reference
    | tuple["Graph", ...]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One operation. `scopes` are the module paths that PyTorch wrote beside it ("" if none)."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    scopes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """Nodes in order, with the constants, inputs and outputs of the graph. `sparse` names the sparse constants.

    `types` holds for each input that says so its element type (TensorProto.DataType) and its shape; None is any length.
    """

    nodes: tuple[Node, ...] = ()
    tensors: tuple[TensorMessage, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    sparse: tuple[str, ...] = ()
    types: Mapping[str, ValueType] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A whole file. `opsets` maps each domain ("" is ONNX's own) to its version; `functions` (domain, name) to bodies."""

    graph: Graph
    opsets: Mapping[str, int]
    functions: Mapping[tuple[str, str], Graph]


def read_model(wire: Wire) -> Model:
    """Read the structure of an ONNX file.

    Args:
        wire: The open file.

    Returns:
        Everything but the tensors' values.

    Raises:
        CorruptCheckpoint: The file is no ONNX model, or is cut short.
        UnsafeCheckpoint: It is larger in structure than any model.
    """
    messages = _Messages(wire)
    graph: Graph | None = None
    opsets: dict[str, int] = {}
    functions: dict[tuple[str, str], Graph] = {}
    for each in wire.fields((0, wire.source.size)):
        if each.number == 7:
            if graph is not None:
                raise CorruptCheckpoint(str(wire.source.path), "holds two graphs; an ONNX file has one")
            graph = messages.graph(each)
        elif each.number == 8:
            domain, version = messages.opset(each)
            opsets[domain] = version
        elif each.number == 25:
            name, body = messages.function(each)
            functions[name] = body
    if graph is None:
        problem = "begins as an ONNX file, but holds no graph"
        raise CorruptCheckpoint(str(wire.source.path), problem, "The file is cut short; fetch it again.")
    return Model(graph=graph, opsets=opsets, functions=functions)


@dataclass(slots=True)
class _Building:
    """The parts of a graph or function while they are read."""

    nodes: list[Node] = field(default_factory=list)
    tensors: list[TensorMessage] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    sparse: list[str] = field(default_factory=list)
    types: dict[str, ValueType] = field(default_factory=dict)

    def graph(self) -> Graph:
        return Graph(
            nodes=tuple(self.nodes),
            tensors=tuple(self.tensors),
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            sparse=tuple(self.sparse),
            types=self.types,
        )


class _Messages:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._nodes = 0
        self._tensors = 0
        # Names recur: a value is named by its maker and by each taker.
        self._names: dict[str, str] = {}

    def graph(self, message: Field, nesting: int = 0) -> Graph:
        found = _Building()
        for each in self._wire.message(message):
            match each.number:
                case 1:
                    found.nodes.append(self._node(each, nesting))
                case 5:
                    found.tensors.append(self._tensor(each))
                case 11:
                    name = self._named(each)
                    found.inputs.append(name)
                    if (kind := self._type(each)) is not None:
                        found.types[name] = kind
                case 12:
                    found.outputs.append(self._named(each))
                case 15:
                    found.sparse.append(self._sparse(each))
                case _:
                    pass
        return found.graph()

    def function(self, message: Field) -> tuple[tuple[str, str], Graph]:
        name = domain = ""
        found = _Building()
        for each in self._wire.message(message):
            match each.number:
                case 1:
                    name = self._text(each)
                case 4:
                    found.inputs.append(self._text(each))
                case 5:
                    found.outputs.append(self._text(each))
                case 7:
                    found.nodes.append(self._node(each, 0))
                case 10:
                    domain = self._text(each)
                case _:
                    pass
        return (domain, name), found.graph()

    def opset(self, message: Field) -> tuple[str, int]:
        domain, version = "", 0
        for each in self._wire.message(message):
            if each.number == 1:
                domain = self._text(each)
            elif each.number == 2:
                version = self._wire.integer(each)
        return "" if domain == "ai.onnx" else domain, version

    def _node(self, message: Field, nesting: int) -> Node:
        self._nodes += 1
        if self._nodes > limits.ONNX_NODES.value:
            raise UnsafeCheckpoint(str(self._wire.source.path), *limits.ONNX_NODES.exceeded("has too many nodes"))
        texts = {3: "", 4: "", 7: ""}
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: dict[str, Attribute] = {}
        scopes = ""
        for each in self._wire.message(message):
            match each.number:
                case 1:
                    inputs.append(self._text(each))
                case 2:
                    outputs.append(self._text(each))
                case 3 | 4 | 7:
                    texts[each.number] = self._text(each)
                case 5:
                    name, value = self._attribute(each, nesting)
                    if value is not None:
                        attributes[name] = value
                case 9:
                    scopes = self._scopes(each) or scopes
                case _:
                    pass
        return Node(
            op=texts[4],
            domain="" if texts[7] == "ai.onnx" else texts[7],
            name=texts[3],
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            attributes=attributes,
            scopes=scopes,
        )

    def _attribute(self, message: Field, nesting: int) -> tuple[str, Attribute | None]:
        """Return name and value; None for what regaudit has no use for."""
        name = ""
        value: Attribute | None = None
        integers: list[int] = []
        numbers: list[float] = []
        texts: list[str] = []
        graphs: list[Graph] = []
        for each in self._wire.message(message):
            match each.number:
                case 1:
                    name = self._text(each)
                case 6 | 11:
                    graphs.append(self._inner(each, nesting))
                case 7:
                    numbers.extend(self._wire.numbers(each))
                case 8:
                    integers.extend(self._wire.integers(each))
                case 9 if each.stop - each.start < _SETTING_BYTES:
                    texts.append(self._wire.text(each))
                case _:
                    single = self._single(each)
                    value = value if single is None else single
        return name, tuple(graphs) or tuple(integers) or tuple(numbers) or tuple(texts) or value

    def _single(self, message: Field) -> Attribute | None:
        match message.number:
            case 2:
                return self._wire.number(message)
            case 3:
                return self._wire.integer(message)
            case 4 if message.stop - message.start < _SETTING_BYTES:
                return self._wire.text(message)
            case 5:
                return self._tensor(message)
            case 21:
                return Reference(self._text(message))
            case _:
                return None

    def _inner(self, message: Field, nesting: int) -> Graph:
        if nesting >= limits.ONNX_NESTING.value:
            raise UnsafeCheckpoint(
                str(self._wire.source.path), *limits.ONNX_NESTING.exceeded("nests graphs in graphs too deeply")
            )
        return self.graph(message, nesting + 1)

    def _tensor(self, message: Field) -> TensorMessage:
        self._tensors += 1
        if self._tensors > limits.ONNX_TENSORS.value:
            raise UnsafeCheckpoint(str(self._wire.source.path), *limits.ONNX_TENSORS.exceeded("has too many tensors"))
        name, data_type, location, is_segment = "", 0, 0, False
        dims: list[int] = []
        pieces: dict[int, list[Span]] = {}
        external: dict[str, str] = {}
        for each in self._wire.message(message):
            match each.number:
                case 1:
                    dims.extend(self._wire.integers(each))
                case 2:
                    data_type = self._wire.integer(each)
                case 3:
                    is_segment = True
                case 4 | 5 | 7 | 9 | 10 | 11:
                    self._piece(pieces.setdefault(each.number, []), each)
                case 8:
                    name = self._text(each)
                case 13:
                    external.update([self._pair(each)])
                case 14:
                    location = self._wire.integer(each)
                case _:
                    pass
        return TensorMessage(
            name=name,
            dims=tuple(dims),
            data_type=data_type,
            pieces={number: tuple(spans) for number, spans in pieces.items()},
            external=external if location == _EXTERNAL else None,
            is_segment=is_segment,
        )

    def _piece(self, spans: list[Span], each: Field) -> None:
        if len(spans) >= limits.ONNX_PIECES.value:
            raise UnsafeCheckpoint(
                str(self._wire.source.path), *limits.ONNX_PIECES.exceeded("stores a tensor in too many pieces")
            )
        spans.append(each.span)

    def _sparse(self, message: Field) -> str:
        """Return the name of a sparse tensor: that of its values."""
        names = (self._tensor(each).name for each in self._wire.message(message) if each.number == 1)
        return next(names, "")

    def _scopes(self, message: Field) -> str:
        """Return PyTorch's module paths, if this entry of the node's metadata holds them."""
        key = ""
        for each in self._wire.message(message):
            if each.number == 1:
                key = self._text(each)
            elif each.number == 2 and key == _SCOPES:
                return self._wire.text(each)
        return ""

    def _pair(self, message: Field) -> tuple[str, str]:
        found = {each.number: self._text(each) for each in self._wire.message(message) if each.number in {1, 2}}
        return found.get(1, ""), found.get(2, "")

    def _named(self, message: Field) -> str:
        """Return the name of an input or output of a graph."""
        names = (self._text(each) for each in self._wire.message(message) if each.number == 1)
        return next(names, "")

    def _type(self, message: Field) -> ValueType | None:
        """Return element type and shape of an input that is a tensor."""
        element, shape = 0, None
        for each in self._inside(message, 2, 1):
            if each.number == 1:
                element = self._wire.integer(each)
            elif each.number == 2:
                dims = (dim for dim in self._wire.message(each) if dim.number == 1)
                shape = tuple(self._length(dim) for dim in dims)
        return (element, shape) if element else None

    def _inside(self, message: Field, *path: int) -> Iterator[Field]:
        """Yield the fields of a message in a message; `path` are the numbers on the way there."""
        number, *rest = path
        for each in self._wire.message(message):
            if each.number == number:
                yield from self._inside(each, *rest) if rest else self._wire.message(each)

    def _length(self, message: Field) -> int | None:
        lengths = (self._wire.integer(each) for each in self._wire.message(message) if each.number == 1)
        return next(lengths, None)

    def _text(self, each: Field) -> str:
        text = self._wire.text(each)
        return self._names.setdefault(text, text)


def graphs(attributes: Iterable[Attribute]) -> list[Graph]:
    """Return the graphs among the values of attributes (the branches of an If, the body of a Loop)."""
    return [graph for value in attributes if isinstance(value, tuple) for graph in value if isinstance(graph, Graph)]
