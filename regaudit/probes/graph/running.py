"""Run the nodes of a program, for one batch or for several groups of examples in step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from regaudit.probes.graph.errors import NodeError, described
from regaudit.probes.graph.nodes import resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from regaudit.probes.base import Network, Tensor
    from regaudit.probes.graph.bounds import Check
    from regaudit.probes.graph.nodes import Node, Program

Values = dict["Hashable", Any]


def frees(program: Program) -> tuple[tuple[Hashable, ...], ...]:
    """Return for each node the values that nothing takes after it."""
    kept: set[Hashable] = {program.output, *program.weights}
    found: list[tuple[Hashable, ...]] = []
    for node in reversed(program.nodes):
        last = tuple(key for key in dict.fromkeys(chain(node.taken(), node.made())) if key not in kept)
        kept.update(last)
        found.append(last)
    return tuple(reversed(found))


def run(network: Network, inputs: Sequence[Tensor]) -> Tensor:
    """Run a network's program on a batch.

    Args:
        network: As `make_network` made it.
        inputs: In the order of the program's inputs; axis 0 runs over examples.

    Returns:
        The program's output.

    Raises:
        NodeError: A node cannot run on these inputs.
        TooLarge: A value would not fit into memory.
    """
    size = network.program.batch
    if network.is_fixed and inputs[0].ndim and len(inputs[0]) != size:
        return _in_groups(network, inputs, size)
    return _Run(network, [inputs], None).outputs()[0]


def _in_groups(network: Network, inputs: Sequence[Tensor], size: int) -> Tensor:
    # Run a batch in groups of the size that the program was written for; the last is filled up with first examples.
    import torch

    total = len(inputs[0])
    order = torch.arange(-(-total // size) * size, device=inputs[0].device) % total
    whole = [each[order] if each.ndim and len(each) == total else each for each in inputs]
    groups = [
        [each[start : start + size] if each.ndim and len(each) == len(order) else each for each in whole]
        for start in range(0, len(order), size)
    ]
    outputs = _Run(network, groups, order[:total]).outputs()
    if not all(each.ndim and len(each) == size for each in outputs):
        raise NodeError(
            f"{network.program.where}: its output has shape {list(outputs[0].shape)}, one row for each of its {size} examples "
            "was expected; export it with a dynamic batch size"
        )
    return torch.cat(outputs)[:total]


class _Run:
    """One pass: every node on all groups before the next, so that a hook on a layer sees one call with all examples."""

    def __init__(self, network: Network, groups: Sequence[Sequence[Tensor]], order: Tensor | None) -> None:
        program = network.program
        weights = {key: getattr(*network.places[name]) for key, name in program.weights.items()}
        self._network = network
        self._device = groups[0][0].device
        self._total = None if order is None else len(order)
        self._values: list[Values] = [{**weights, **dict(zip(program.keys, group, strict=True))} for group in groups]
        self._shapes = tuple(tuple(each.shape) for group in groups for each in group)

    def outputs(self) -> list[Tensor]:
        # Run all nodes and return the output of each group.
        program, check = self._network.program, self._network.bounds.begin(self._shapes)
        for node, free in zip(program.nodes, self._network.frees, strict=True):
            try:
                self._node(node, check)
            except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, MemoryError) as error:
                raise described(error, program.where, node.name, node.operator) from error
            check.free(free)
            for values in self._values:
                for key in free:
                    values.pop(key, None)
        self._network.bounds.passed(self._shapes)
        return [values[program.output] for values in self._values]

    def _node(self, node: Node, check: Check) -> None:
        calls = [_call(node, values, self._device, check) for values in self._values]
        results = [call() for call in calls] if node.data is None else self._layer(node, calls, node.data)
        for values, result in zip(self._values, results, strict=True):
            bind(node, result, values)

    def _layer(self, node: Node, calls: Sequence[_Call], data: int) -> list[Any]:
        """Return what a layer gives for each group, called once on all of them."""
        module = self._network.operations[node.module]
        given = [call.arguments[data] for call in calls]
        calls[0].arguments[data] = None  # the module keeps the call, but no data
        apply = partial(calls[0].on, data)
        if len(given) == 1:
            return [module(given[0], apply=apply)]
        return _together(given, partial(module, apply=apply), self._total or 0, node.join_axis)


def _together(given: Sequence[Tensor], layer: Callable[[Tensor], Any], total: int, axis: int) -> list[Any]:
    import torch

    joined, size, groups = torch.cat(list(given), axis), len(given[0]), len(given)
    # Where axis 0 runs over examples, those that only fill the last group are left out of what a hook sees.
    is_filled = axis == 0 and size * groups >= total > size * (groups - 1)
    result = layer(joined[:total] if is_filled else joined)
    main, *others = result if isinstance(result, tuple) else (result,)
    if is_filled:
        main = main[torch.arange(size * groups, device=main.device) % total]
    parts = main.split(main.shape[axis] // groups, axis)
    return [(part, *others) if others else part for part in parts]


@dataclass(frozen=True, slots=True)
class _Call:
    """A function with its arguments; `functools.partial` would merge them with those that it already has."""

    apply: Callable[..., Any]
    arguments: list[Any]
    options: dict[str, Any]

    def __call__(self) -> Any:  # noqa: ANN401
        return self.apply(*self.arguments, **self.options)

    def on(self, place: int, data: Tensor) -> Any:  # noqa: ANN401
        # Call it with other data.
        before, after = self.arguments[:place], self.arguments[place + 1 :]
        return self.apply(*before, data, *after, **self.options)


def _call(node: Node, values: Mapping[Hashable, Any], device: object, check: Check) -> _Call:
    arguments = [resolved(each, values, device) for each in node.arguments]
    options = {name: resolved(each, values, device) for name, each in node.options.items()}
    check.require(node, arguments, options)
    return _Call(node.apply, arguments, options)


def bind(node: Node, result: Any, values: Values) -> None:  # noqa: ANN401
    """Give the results of a node their names."""
    results = (result,) if len(node.outputs) == 1 else result
    for name, each in zip(node.outputs, results if node.outputs else (), strict=False):
        if isinstance(name, tuple):
            values.update((key, part) for key, part in zip(name, each, strict=True) if key is not None)
        elif name is not None:
            values[name] = each
