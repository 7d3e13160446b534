"""The graph of a torch.export program (`.pt2`) as nodes: JSON is decoded strictly, and only known operators are called.

Source: torch/_export/serde/schema.py (version 8), PyTorch 2.13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints.text import listed, quoted
from regaudit.errors import ConfigError
from regaudit.probes.base import ModelInput
from regaudit.probes.graph import aten
from regaudit.probes.graph.aliases import without_writes
from regaudit.probes.graph.decoding import Unfit, decoded, entries, mapping, name_of, text_of
from regaudit.probes.graph.nodes import Late, Node, Program, Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

MAX_NODES = 100_000  # large networks have 10,000
MAX_NESTING = 8  # graphs in graphs: blocks without gradients
_NO_GRADIENTS = "torch.ops.higher_order.wrap_with_set_grad_enabled"
_SIZES = "torch.ops.aten.sym_"
_DTYPES = {2: "I8", 3: "I16", 4: "I32", 5: "I64", 6: "F32", 7: "F32", 8: "F32", 12: "BOOL", 13: "F32", 1: "U8"}
FIX = "Give the model's code instead (--model FILE.py:build), or export it without them."


def read_nodes(module: Mapping[str, Any], where: str) -> Program:
    """Return a program that can run; its weights have the names of the state dict.

    Args:
        module: The JSON object `graph_module`; hostile.
        where: The file, for messages.

    Raises:
        ConfigError: The graph calls operators that are not known, or is no graph.
    """
    graph, signature = mapping(module.get("graph")), mapping(module.get("signature"))
    reading = _Reading(where)
    try:
        reading.graph(graph, {}, "", 0)
        weights, inputs = _inputs(signature, mapping(graph.get("tensor_values")))
        output = _output(signature, mapping(graph.get("tensor_values")))
    except Unfit as error:
        raise ConfigError(f"{where}: its graph cannot be run: {error}") from error
    if reading.missing:
        known = listed(sorted(reading.missing))
        raise ConfigError(f"{where}: its graph calls operators that regaudit does not run: {known}. {FIX}")
    nodes, output = without_writes(reading.nodes, output)
    _require_made(nodes, {*weights, *inputs}, output, where)
    return Program(
        where=where,
        nodes=nodes,
        inputs=tuple(inputs.values()),
        keys=tuple(inputs),
        output=output,
        weights=weights,
        batch=_batch(list(inputs.values()), where),
    )


def _require_made(nodes: Sequence[Node], known: set[Hashable], output: Hashable, where: str) -> None:
    for node in nodes:
        unknown = next((key for key in node.taken() if key not in known), None)
        if unknown is not None:
            raise ConfigError(
                f"{where}: its graph cannot be run: {node.name!r:.120} takes {str(unknown)!r:.120}, which nothing made"
            )
        known.update(node.made())
    if output not in known:
        raise ConfigError(f"{where}: its graph cannot be run: nothing makes its output {str(output)!r:.120}")


class _Reading:
    """Takes the nodes in order; those of inner graphs among them."""

    def __init__(self, where: str) -> None:
        self.nodes: list[Node] = []
        self.missing: dict[str, None] = {}
        self._where = where
        self._seen = 0

    def graph(self, graph: Mapping[str, Any], known: Mapping[str, Hashable], prefix: str, nesting: int) -> None:
        """Read the nodes of a graph.

        Args:
            graph: As the file has it.
            known: For values of an inner graph, their names in the outer one.
            prefix: Of the names of all its other values.
            nesting: How many graphs it lies in.

        Raises:
            Unfit: It has too many nodes, or one that is none.
        """
        scope = _Scope(known, prefix)
        for each in entries(graph.get("nodes")):
            self._seen += 1
            if self._seen > MAX_NODES:
                raise Unfit(f"it has more than {MAX_NODES:,} nodes")
            self._node(mapping(each), scope, nesting)

    def _node(self, raw: Mapping[str, Any], scope: _Scope, nesting: int) -> None:
        target = text_of(raw.get("target"))
        given = [mapping(each) for each in entries(raw.get("inputs"))]
        outputs = tuple(_outputs(mapping(each), scope) for each in entries(raw.get("outputs")))
        if target == _NO_GRADIENTS:
            self._inner(given, outputs, scope, nesting)
            return
        name = text_of(raw.get("name") or next(iter(_flat(outputs)), target))
        call = self._call(target, given, scope, name)
        if call is not None:
            apply, operator, arguments, options = call
            node = Node(
                name=name,
                operator=operator,
                apply=apply,
                arguments=arguments,
                options=options,
                outputs=outputs,
                path=_path(mapping(raw.get("metadata")).get("nn_module_stack")),
            )
            self.nodes.append(node)

    def _call(
        self, target: str, given: Sequence[Mapping[str, Any]], scope: _Scope, name: str
    ) -> tuple[Callable[..., Any], str, tuple[Any, ...], dict[str, Any]] | None:
        sizes = aten.arithmetic(target)
        if sizes is not None:
            return sizes, target, tuple(decoded(each.get("arg"), scope.named) for each in given), {}
        found = aten.find(target)
        if found is None:
            self.missing[target[:120] if target.isprintable() else quoted(target)] = None
            return None
        operator, called = found
        if operator in aten.CHECKS:
            return None
        named = {text_of(each.get("name")): decoded(each.get("arg"), scope.named) for each in given}
        arguments, options = _arguments(called, named, name)
        return called, operator, arguments, options

    def _inner(self, given: Sequence[Mapping[str, Any]], outputs: tuple[Any, ...], scope: _Scope, nesting: int) -> None:
        # Read a block that was written without gradients; its results are cut off from what made them.
        import torch

        held = [mapping(mapping(each.get("arg")).get("as_graph")) for each in given[1:2]]
        if not held or nesting >= MAX_NESTING:
            raise Unfit(f"a block without gradients that holds no graph, or lies in more than {MAX_NESTING} others")
        graph = mapping(held[0].get("graph"))
        taken = [decoded(each.get("arg"), scope.named) for each in given[2:]]
        names = [name_of(mapping(each)) for each in entries(graph.get("inputs"))]
        if len(taken) != len(names) or not all(isinstance(each, Ref) for each in taken):
            raise Unfit("a block without gradients that takes other values than it is given")
        known = {name: each.key for name, each in zip(names, taken, strict=True)}
        prefix = f"{scope.prefix}{self._seen}/"
        self.graph(graph, known, prefix, nesting + 1)
        inner = _Scope(known, prefix)
        ends = [inner.named(name_of(mapping(each))) for each in entries(graph.get("outputs"))]
        keeps = given[0].get("arg") == {"as_bool": True}
        for end, name in zip(ends, _flat(outputs), strict=True):
            apply = _same if keeps else torch.detach
            self.nodes.append(Node(name=str(name), operator="detach", apply=apply, arguments=(end,), outputs=(name,)))


def _same(value: object) -> object:
    return value


@dataclass(frozen=True, slots=True)
class _Scope:
    known: Mapping[str, Hashable]
    prefix: str

    def key(self, name: str) -> Hashable:
        return self.known.get(name, self.prefix + name)

    def named(self, name: str) -> Ref:
        return Ref(self.key(name))


def _flat(outputs: tuple[Any, ...]) -> list[Hashable]:
    return [key for each in outputs for key in (each if isinstance(each, tuple) else (each,)) if key is not None]


def _outputs(raw: Mapping[str, Any], scope: _Scope) -> Any:  # noqa: ANN401
    """Return the name that an output gets; a tuple of names for a list, None where it gets none."""
    value = decoded(raw, scope.named)
    if isinstance(value, tuple):
        return tuple(each.key if isinstance(each, Ref) else None for each in value)
    return value.key if isinstance(value, Ref) else None


def _arguments(called: Any, named: dict[str, Any], name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:  # noqa: ANN401
    # Return positional arguments up to the last that is given, and options, in the order of torch's own schema.
    schema = called._schema.arguments
    unknown = set(named) - {each.name for each in schema}
    if unknown:
        raise Unfit(f"the node {name!r:.120} has no argument {min(unknown)!r:.120}")
    for each in schema:
        if each.name in aten.TRAINING and named.get(each.name) is not None:
            named[each.name] = False
        if each.name in {"pin_memory", "layout", "non_blocking"}:
            named.pop(each.name, None)
        elif each.name == "device" and (each.kwarg_only or each.name in named):
            named["device"] = Late.DEVICE
    plain = [each for each in schema if not each.kwarg_only]
    last = max((index for index, each in enumerate(plain) if each.name in named), default=-1)
    arguments = tuple(named.get(each.name, each.default_value) for each in plain[: last + 1])
    return arguments, {each.name: named[each.name] for each in schema if each.kwarg_only and each.name in named}


def _path(stack: object) -> str:
    """Return the innermost module of "key,path,class;key,path,class"."""
    last = stack.rpartition(";")[2].split(",") if isinstance(stack, str) else []
    return last[1].partition("@")[0] if len(last) == 3 and len(last[1]) < 400 else ""


# --- Signature --------------------------------------------------------------------------------------------------------

_WEIGHTS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}


def _inputs(
    signature: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[dict[Hashable, str], dict[Hashable, ModelInput]]:
    # Return the names of weights by the names of their values, and the inputs by theirs.
    weights: dict[Hashable, str] = {}
    inputs: dict[Hashable, ModelInput] = {}
    for each in entries(signature.get("input_specs")):
        kind, held = next(iter(mapping(each).items()), ("", None))
        spec = mapping(held)
        if kind in _WEIGHTS:
            weights[text_of(mapping(spec.get("arg")).get("name"))] = text_of(spec.get(_WEIGHTS[kind]))
        elif kind == "user_input" and "as_tensor" in mapping(spec.get("arg")):
            name = name_of(mapping(spec.get("arg")))
            inputs[name] = _input(name, mapping(values.get(name)))
        elif kind not in {"constant_input", "user_input"}:
            raise Unfit(f"it takes an input of the kind {quoted(str(kind))}")
    if not inputs:
        raise Unfit("it takes no tensors")
    return weights, inputs


def _input(name: str, value: Mapping[str, Any]) -> ModelInput:
    sizes = [mapping(each).get("as_int") for each in entries(value.get("sizes"))]
    shape = tuple(each if isinstance(each, int) and 0 <= each < 1 << 31 else None for each in sizes)
    code = value.get("dtype")
    return ModelInput(name=name, shape=shape, dtype=_DTYPES.get(code, "F32") if isinstance(code, int) else "F32")


def _output(signature: Mapping[str, Any], values: Mapping[str, Any]) -> Hashable:
    # Return the first output that is a tensor of floats, else the first tensor.
    found = []
    for each in entries(signature.get("output_specs")):
        argument = mapping(mapping(mapping(each).get("user_output")).get("arg"))
        if "as_tensor" in argument:
            found.append(name_of(argument))
    if not found:
        raise Unfit("it returns no tensor")
    floats = [name for name in found if _DTYPES.get(mapping(values.get(name)).get("dtype", 7)) == "F32"]
    return (floats or found)[0]


def _batch(inputs: Sequence[ModelInput], where: str) -> int | None:
    # Return the batch size that the graph was written for, None where it takes any.
    first = [each.shape[0] for each in inputs if each.shape]
    sizes = set(first)
    if not first or None in sizes:
        return None
    if len(sizes) > 1:
        return None
    size = first[0]
    if not size:
        raise ConfigError(f"{where}: it was exported for {size} examples")
    return size
