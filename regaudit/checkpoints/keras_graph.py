"""Which layer feeds which: the inbound nodes of Keras 2 and Keras 3, and the order of a `Sequential`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import limits
from regaudit.checkpoints.keras_config import Node, as_dict, as_text, class_name, plain_settings
from regaudit.records import Module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# They hand on what the layer in them returns.
_TRANSPARENT = frozenset({"TimeDistributed", "SpectralNormalization", "Wrapper"})


def modules(root: Node) -> tuple[Module, ...]:
    """Return one record for each layer, in the order of the network; `connect` must have run."""
    return tuple(
        Module(
            name=node.path,
            type=node.type,
            activation=class_name(node.config.get("activation")),
            inputs=node.inputs,
            settings=plain_settings(node.config),
        )
        for node in root.every()
    )


def connect(root: Node) -> None:
    """Fill in `Node.inputs` for every layer.

    The inputs of a model go to its input layers, and who uses a model's output is fed by the layer that makes it:
    so the graph runs through nested models as if they were written out.
    """
    _connect_members(root, _Outputs())


class _Outputs:
    """The paths of the layers that make a layer's outputs; each model is looked through once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, ...]] = {}

    def of(self, node: Node) -> tuple[str, ...]:
        """Return one path for each output of a model, one for anything else."""
        if id(node) not in self._known:
            self._known[id(node)] = self._found(node) or (node.path,)
        return self._known[id(node)]

    def one(self, node: Node, index: int) -> str:
        """Return the path of what makes one output."""
        paths = self.of(node)
        return paths[index] if 0 <= index < len(paths) else paths[-1]

    def _found(self, node: Node) -> tuple[str, ...]:
        if node.is_functional and node.members:
            by_name = _by_name(node)
            found = _references(node.config.get("output_layers"), by_name)
            return tuple(self.one(by_name[name], index) for name, index in found)
        if node.members and (node.type == "Sequential" or node.type in _TRANSPARENT):
            return self.of(node.members[-1])
        return ()


def _connect_members(model: Node, outputs: _Outputs) -> None:
    by_name = _by_name(model)
    entries = list(dict.fromkeys(name for name, _ in _references(model.config.get("input_layers"), by_name)))
    before = model.inputs
    for node in model.members:
        if model.is_functional:
            found = _references(node.entry.get("inbound_nodes"), by_name)
            node.inputs = tuple(dict.fromkeys(outputs.one(by_name[name], index) for name, index in found))
            if node.name in entries and len(entries) == len(model.inputs):
                node.inputs = (model.inputs[entries.index(node.name)],)
        elif model.type == "Sequential":
            node.inputs, before = before, outputs.of(node)
        else:
            node.inputs = model.inputs
        _connect_members(node, outputs)


def _by_name(model: Node) -> Mapping[str, Node]:
    return {node.name: node for node in model.members}


def _references(
    value: object, names: Mapping[str, Node], nesting: int = limits.KERAS_NESTING.default
) -> Iterator[tuple[str, int]]:
    """Yield (layer, output) for every tensor that is named somewhere in a value.

    Keras 2 writes `[name, node, tensor]`, with keyword arguments behind it; Keras 3 the same in `keras_history`.
    """
    if nesting < 0:
        return
    if isinstance(value, list):
        if (reference := _reference(value)) and reference[0] in names:
            yield reference
            value = value[3:]
        for part in value:
            yield from _references(part, names, nesting - 1)
    for part in as_dict(value).values():
        yield from _references(part, names, nesting - 1)


def _reference(value: list[Any]) -> tuple[str, int] | None:
    match value:
        case [str(name), int(), int(index), *_]:
            return as_text(name), index
        case _:
            return None
