"""The graph of a torch.export program: what calls what with which weights, as far as an audit wants to know it.

The graph is JSON, one entry for each operator. What torch's own classes do becomes one module again; an operator that
is called outside of them is a module of its own.

Source: torch/_export/serde/schema.py (version 8), PyTorch 2.13.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import limits
from regaudit.checkpoints.torch_operators import (
    DROPOUTS,
    OPERATORS,
    Operator,
    activation_of_class,
    activation_of_operator,
)
from regaudit.records import Module, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from regaudit.records import Tensor

LARGEST = 1e300  # no setting is larger; the comparison is false for NaN and infinity

_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.\w+")
_CALL_COUNT = re.compile(r"@\d+$")  # the second call of a module is marked
_OWN_CLASSES = ("torch.nn.", "torch.ao.nn.", "transformers.pytorch_utils.")
_SAME_VALUES = frozenset({"alias", "clone", "contiguous", "detach", "detach_", "lift_fresh_copy"})
_RECURRENT = frozenset({"gru", "lstm", "rnn_relu", "rnn_tanh"})
_WEIGHT = ".weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One call of an operator.

    Args:
        name: Of its first output.
        operator: Without its namespace (`linear`), or the whole target where it is none of torch's own.
        path: The module that calls it, with its class.
        inputs: Names of the values that each argument takes.
        outputs: Names of the values that it makes.
        settings: Its plain arguments.
    """

    name: str
    operator: str
    path: str
    type: str
    inputs: dict[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    settings: dict[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def is_kernel(self) -> bool:
        """Whether it multiplies with a kernel."""
        known = OPERATORS.get(self.operator)
        return known is not None and Use.KERNEL in known.uses.values()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What a program's graph says: modules in network order, and the tensors that none of torch's classes own."""

    modules: tuple[Module, ...]
    stated: dict[str, Tensor]


def read(graph_module: Mapping[str, Any], tensors: Iterable[Tensor]) -> Graph:
    """Return what the graph says.

    Args:
        graph_module: Of the program; its types are whatever the file says.
        tensors: The program's weights.

    Returns:
        Modules; tensors by name with `layer`, `use` and `axes`, where a program's own code uses them.
    """
    graph = _dict(graph_module.get("graph"))
    nodes = [node for each in _list(graph.get("nodes")) if (node := _node(each)) is not None]
    weights = dict(_weights(_dict(graph_module.get("signature"))))
    units = _Units(nodes, weights, {tensor.name: tensor for tensor in tensors})
    outputs = {name for each in _list(graph.get("outputs")) for name in _values(_dict(each))}
    return Graph(modules=units.modules(outputs), stated=units.stated)


def targets(graph_module: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the functions that the graph calls."""
    for each in _list(_dict(graph_module.get("graph")).get("nodes")):
        target = _dict(each).get("target")
        if isinstance(target, str):
            yield target


class _Units:
    """The nodes of a graph, those of one module of torch together."""

    def __init__(self, nodes: list[Node], weights: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
        self.stated: dict[str, Tensor] = {}
        self._nodes = nodes
        self._weights = weights
        self._tensors = tensors
        self._joined = _joined(nodes)
        self._taken = set(self._joined)

    def modules(self, outputs: set[str]) -> tuple[Module, ...]:
        """Return one module for each unit, with what feeds it and the activation that takes its output alone."""
        made_by: dict[str, str] = {}
        found: dict[str, Module] = {}
        for node in self._nodes:
            values = [value for each in node.inputs.values() for value in each]
            before = [made_by[value] for value in values if value in made_by]
            if node.operator in _SAME_VALUES and before:
                made_by |= dict.fromkeys(node.outputs, before[0])
                continue
            module = self._module(node)
            known = found.get(module.name, module)
            inputs = dict.fromkeys((*known.inputs, *(each for each in before if each != module.name)))
            settings = {**module.settings, **known.settings}
            found[module.name] = replace(known, inputs=tuple(inputs), settings=settings)
            made_by |= dict.fromkeys(node.outputs, module.name)
        return _with_activations(found, {made_by[value] for value in outputs if value in made_by})

    def _module(self, node: Node) -> Module:
        if node.path in self._joined:
            tells = node.operator in OPERATORS or node.operator in DROPOUTS or node.operator in _RECURRENT
            return Module(name=node.path, type=node.type, settings=node.settings if tells else {})
        known = OPERATORS.get(node.operator)
        if known and (layer := self._state(node, known)):
            return Module(name=layer, type=known.type, settings=node.settings)
        name = f"{node.path}.{node.name}" if node.path else node.name
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        kind = "Dropout" if node.operator in DROPOUTS else f"aten.{node.operator}"
        return Module(name=name, type=kind, settings=node.settings)

    def _state(self, node: Node, known: Operator) -> str:
        """Note what an operator uses the program's own weights for.

        Returns:
            Their layer's name, "" if there are none.
        """
        given = {
            use: self._tensors[name]
            for argument, use in known.uses.items()
            for value in node.inputs.get(argument, ())
            if (name := self._weights.get(value, "")) in self._tensors and name not in self.stated
        }
        main = given.get(Use.KERNEL) or given.get(Use.SCALE)
        layer = main.name.removesuffix(_WEIGHT) if main else ""
        if not layer or layer in self._taken:
            return ""
        self._taken.add(layer)
        for use, tensor in given.items():
            axes = known.axes_of(use, len(tensor.shape))
            self.stated[tensor.name] = replace(tensor, layer=layer, use=use, axes=axes)
        return layer


def _joined(nodes: Iterable[Node]) -> set[str]:
    """Return the paths of modules that are told as one: without modules inside, and of a class that explains them."""
    paths = {node.path: node.type for node in nodes}
    outer = {path[:end] for path in paths for end in range(len(path)) if path[end] == "."}
    with_kernel = {node.path for node in nodes if node.is_kernel}
    return {
        path
        for path, kind in paths.items()
        if path and path not in outer and (kind.startswith(_OWN_CLASSES) or path not in with_kernel)
    }


def _with_activations(found: Mapping[str, Module], outputs: set[str]) -> tuple[Module, ...]:
    takers: dict[str, list[Module]] = {}
    for module in found.values():
        for name in module.inputs:
            takers.setdefault(name, []).append(module)
    return tuple(
        replace(module, activation=_bends(takers[module.name][0]))
        if len(takers.get(module.name, ())) == 1 and module.name not in outputs and not _bends(module)
        else module
        for module in found.values()
    )


def _bends(module: Module) -> str:
    if module.type.startswith("aten."):
        return activation_of_operator(module.type.removeprefix("aten."))
    return activation_of_class(module.type)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _node(entry: object) -> Node | None:
    raw = _dict(entry)
    target = raw.get("target")
    if not isinstance(target, str):
        return None
    match = _ATEN.fullmatch(target)
    outputs = tuple(name for each in _list(raw.get("outputs")) for name in _values(_dict(each)))
    named = [(_dict(each).get("name"), _dict(_dict(each).get("arg"))) for each in _list(raw.get("inputs"))]
    inputs = {str(name): tuple(_values(value)) for name, value in named}
    path, kind = _caller(_dict(raw.get("metadata")).get("nn_module_stack"))
    if not outputs or not any(inputs.values()):  # numbers only
        return None
    return Node(
        name=outputs[0],
        operator=match[1] if match else target[: limits.EXPORT_NAME.value],
        path=path,
        type=kind,
        inputs=inputs,
        outputs=outputs,
        settings={name: value for name, each in named if isinstance(name, str) and (value := _plain(each)) is not None},
    )


def _caller(stack: object) -> tuple[str, str]:
    """Return path and class of the innermost module; `stack` is "key,path,class;key,path,class"."""
    last = stack.rpartition(";")[2].split(",") if isinstance(stack, str) else []
    if len(last) != 3 or last[0].startswith("_empty_nn_module_stack") or len(last[1]) > limits.EXPORT_NAME.value:
        return "", ""
    if last[1].count(".") > limits.OBJECT_DEPTH.value:
        return "", ""
    return _CALL_COUNT.sub("", last[1]), last[2]


def _weights(signature: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the graph's name and the state dict's name of every weight."""
    for each in _list(signature.get("input_specs")):
        for key, name in (("parameter", "parameter_name"), ("buffer", "buffer_name")):
            spec = _dict(_dict(each).get(key))
            value, weight = _dict(spec.get("arg")).get("name"), spec.get(name)
            if isinstance(value, str) and isinstance(weight, str):
                yield value, weight


def _values(argument: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tensors in an argument."""
    tensors = [argument.get("as_tensor"), *_list(argument.get("as_tensors"))]
    tensors += [_dict(each).get("as_tensor") for each in _list(argument.get("as_optional_tensors"))]
    for each in tensors:
        name = _dict(each).get("name")
        if isinstance(name, str):
            yield name


def _plain(argument: Mapping[str, Any]) -> str | int | float | bool | None:
    value = next((argument[key] for key in ("as_int", "as_float", "as_bool", "as_string") if key in argument), None)
    if isinstance(value, str):
        return value if len(value) <= limits.EXPORT_NAME.value else None
    return value if isinstance(value, int | float) and abs(value) < LARGEST else None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
