"""Which nodes of a graph are layers: those that apply a weight of the file to the data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from regaudit.probes.graph.nodes import Node, Ref, refs

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from regaudit.probes.base import Tensor


@dataclass(frozen=True, slots=True)
class Slots:
    """Where an operator takes its data, its kernel (or scale) and its bias, and what Node says of its axes."""

    data: int
    kernel: int
    bias: int | None = None
    channel_axis: int = -1
    join_axis: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is known of the operators of one kind of file.

    Args:
        slots: For an operator, the ways in which it can be a layer.
        products: Operators to whose result a bias may be added by a node of its own.
        sums: Operators that add.
        name: From the name of a weight, that of its layer.
        is_layer: A last look at a node with its kernel's shape.
    """

    slots: Mapping[str, tuple[Slots, ...]]
    products: frozenset[str]
    sums: frozenset[str]
    name: Callable[[str], str]
    is_layer: Callable[[Node, tuple[int, ...]], bool] = lambda node, shape: True


def find_layers(
    nodes: Iterable[Node],
    weights: Mapping[Hashable, str],
    shapes: Mapping[str, tuple[int, ...]],
    output: Hashable,
    rules: Rules,
) -> tuple[Node, ...]:
    """Return the nodes, those that are layers with `data`, `kernel`, `bias` and `module` filled in.

    Args:
        nodes: In an order in which they can run.
        weights: For the names of values that are weights or constants, the name in the file.
        shapes: Of those that are weights, by that name.
        output: Name of the value that the network returns.
        rules: What is known of the operators.

    Returns:
        As many nodes, or fewer: a bias that is added by a node of its own becomes part of the layer.
    """
    search = _Search(weights, shapes, rules)
    found = [search.visit(node) for node in nodes]
    joined = _with_biases(found, search, output)
    named = _Names(rules)
    return tuple(named.give(node) if node.kernel else node for node in joined)


class _Search:
    """Knows for each value that depends on no input the weights that it is made of."""

    def __init__(self, weights: Mapping[Hashable, str], shapes: Mapping[str, tuple[int, ...]], rules: Rules) -> None:
        self.origin: dict[Hashable, tuple[str, ...]] = {
            key: (name,) if name in shapes else () for key, name in weights.items()
        }
        self.shapes = shapes
        self.rules = rules

    def visit(self, node: Node) -> Node:
        taken = list(node.taken())
        if all(key in self.origin for key in taken):
            names = tuple(dict.fromkeys(name for key in taken for name in self.origin[key]))
            self.origin.update((key, names) for key in node.made())
            return node
        return next(filter(None, (self._layer(node, each) for each in self.rules.slots.get(node.operator, ()))), node)

    def _layer(self, node: Node, slots: Slots) -> Node | None:
        kernel, data = self.of(node, slots.kernel), self.of(node, slots.data)
        if not kernel or data is not None or slots.data >= len(node.arguments):
            return None
        if not isinstance(node.arguments[slots.data], Ref) or not self.rules.is_layer(node, self.shapes[kernel[0]]):
            return None
        bias = self.of(node, slots.bias) or ()
        only = bias[0] if len(bias) == 1 else ""
        return replace(
            node,
            data=slots.data,
            kernel=kernel,
            bias=only,
            channel_axis=slots.channel_axis,
            join_axis=slots.join_axis,
        )

    def of(self, node: Node, place: int | None) -> tuple[str, ...] | None:
        """Return the weights that an argument is made of; None where it depends on an input."""
        if place is None or place >= len(node.arguments):
            return ()
        names: list[str] = []
        for key in refs(node.arguments[place]):
            if key not in self.origin:
                return None
            names.extend(self.origin[key])
        return tuple(dict.fromkeys(names))


def _with_biases(nodes: Sequence[Node], search: _Search, output: Hashable) -> list[Node]:
    # Join a product with the node that adds a weight to it, where nothing else takes the product.
    takers = Counter(key for node in nodes for key in set(node.taken()))
    products = {
        next(node.made()): node
        for node in nodes
        if node.kernel and not node.bias and node.operator in search.rules.products and len(node.outputs) == 1
    }
    joined: dict[int, Node | None] = {}
    for node in nodes:
        found = _sum(node, products, search) if node.operator in search.rules.sums else None
        if found is not None:
            key, product, other, bias = found
            if takers[key] == 1 and key != output:
                joined[id(product)] = None
                joined[id(node)] = replace(
                    product,
                    apply=partial(_sum_of, product.apply),
                    arguments=(*product.arguments, other),
                    outputs=node.outputs,
                    bias=bias,
                )
    return [each for node in nodes if (each := joined.get(id(node), node)) is not None]


def _sum(node: Node, products: Mapping[Hashable, Node], search: _Search) -> tuple[Hashable, Node, Ref, str] | None:
    """Return the product that a node adds a bias to: its value, its node, the other summand, the bias."""
    if len(node.arguments) != 2 or node.options:
        return None
    for mine, theirs in ((0, 1), (1, 0)):
        one, other = node.arguments[mine], node.arguments[theirs]
        if not (isinstance(one, Ref) and isinstance(other, Ref) and one.key in products):
            continue
        product, bias = products[one.key], search.of(node, theirs)
        if bias and len(bias) == 1 and _fits(search.shapes[bias[0]], search.shapes[product.kernel[0]]):
            return one.key, product, other, bias[0]
    return None


def _fits(bias: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    longest = max(bias, default=0)
    return longest in kernel and bias.count(1) >= len(bias) - 1


def _sum_of(product: Callable[..., Tensor], *arguments: Any, **options: Any) -> Tensor:  # noqa: ANN401
    *own, bias = arguments
    return product(*own, **options) + bias


class _Names:
    """A submodule for each kernel and operator: a layer that is called twice is one module, as it is in torch."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._given: dict[tuple[str, tuple[str, ...]], str] = {}
        self._taken: dict[str, int] = {}

    def give(self, node: Node) -> Node:
        owner = (node.operator, node.kernel)
        if owner not in self._given:
            own = self._rules.name(node.kernel[0])
            name = node.path if own in self._taken and node.path not in self._taken and node.path else own
            self._taken[name] = count = self._taken.get(name, 0) + 1
            self._given[owner] = name if count == 1 else f"{name}_{count}"
        return replace(node, module=self._given[owner])
