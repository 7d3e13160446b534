"""Operators that write into their input (`relu_`), turned into those that do not, where nothing can tell.

A network that writes into its weights or into what a layer gave would change what is observed. A value that others look
into (views, as of a mask that is filled piece by piece) is still written to, but on a copy of its own.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from regaudit.probes.graph import aten
from regaudit.probes.graph.nodes import Node, Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

_Template = Any


def without_writes(nodes: Iterable[Node], output: Hashable) -> tuple[tuple[Node, ...], Hashable]:
    """Return nodes that write into no weight, no input and no layer's output.

    Args:
        nodes: In their order; `apply` is still torch's operator.
        output: Name of the value that the network returns.

    Returns:
        The nodes, and the output's name, which changes where the last node wrote in place.
    """
    writing = _Writing()
    for node in nodes:
        writing.visit(node)
    return writing.result(), writing.current(output)


class _Writing:
    """Knows which values share memory, and by which name the newest state of a value goes."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._roots: dict[Hashable, Hashable] = {}  # a view, to what it looks into
        self._views: dict[Hashable, set[Hashable]] = defaultdict(set)
        self._newest: dict[Hashable, Hashable] = {}
        self._copied: set[Hashable] = set()

    def current(self, key: Hashable) -> Hashable:
        """Return the name of a value after what was written into it."""
        return self._newest.get(key, key)

    def result(self) -> tuple[Node, ...]:
        """Return the nodes, with copies of what is written into."""
        made = {key for node in self._nodes for key in node.made()}
        nodes = [_copying(node) if self._copied.intersection(node.made()) else node for node in self._nodes]
        outside = [key for key in self._copied if key not in made]
        renamed: dict[Hashable, Hashable] = {key: ("copy of", key) for key in outside}
        copies = [
            Node(name=str(key), operator="clone", apply=_copy, arguments=(Ref(key),), outputs=(renamed[key],))
            for key in outside
        ]
        return (*copies, *(_with_names(node, renamed) for node in nodes))

    def visit(self, node: Node) -> None:
        """Take the next node."""
        node = _with_names(node, self._newest)
        first = node.arguments[0] if node.arguments else None
        written = _is_written(node.apply)
        if written and isinstance(first, Ref):
            node = self._written(node, first.key)
        elif isinstance(first, Ref) and _is_view(node.apply):
            root = self._root(first.key)
            for key in node.made():
                self._roots[key] = root
                self._views[root].add(key)
        name = node.operator
        self._nodes.append(replace(node, apply=aten.function(name, node.apply)) if not written else node)

    def _written(self, node: Node, key: Hashable) -> Node:
        """Return a node that gives its result a new name, or one that writes into a copy."""
        root, plain = self._root(key), _plain(node.apply)
        if root == key and not self._views[root] and plain is not None:
            made = next(node.made(), ("written", len(self._nodes)))
            self._newest = {old: made if new == key else new for old, new in self._newest.items()} | {key: made}
            return replace(node, apply=aten.function(node.operator, plain), outputs=(made,))
        self._copied.add(root)
        for each in node.made():
            self._roots[each] = root
            self._views[root].add(each)
        return node

    def _root(self, key: Hashable) -> Hashable:
        return self._roots.get(key, key)


def _is_written(called: Any) -> bool:  # noqa: ANN401
    schema = getattr(called, "_schema", None)
    return schema is not None and any(each.alias_info and each.alias_info.is_write for each in schema.arguments)


def _is_view(called: Any) -> bool:  # noqa: ANN401
    schema = getattr(called, "_schema", None)
    return schema is not None and any(each.alias_info for each in schema.returns)


def _plain(called: Any) -> Any:  # noqa: ANN401
    """Return the operator that does the same and writes nowhere, None where torch has none."""
    found = aten.find(f"torch.ops.aten.{aten.plain_name(called)}.{called._overloadname}")
    return None if found is None else found[1]


def _with_names(node: Node, names: dict[Hashable, Hashable]) -> Node:
    def renamed(template: _Template) -> _Template:
        if isinstance(template, Ref):
            return Ref(names[template.key]) if template.key in names else template
        return tuple(map(renamed, template)) if isinstance(template, tuple) else template

    if not names or not any(key in names for key in node.taken()):
        return node
    options = {name: renamed(each) for name, each in node.options.items()}
    return replace(node, arguments=renamed(node.arguments), options=options)


def _copy(x: Any) -> Any:  # noqa: ANN401
    return x.clone()


def _copying(node: Node) -> Node:
    return replace(node, apply=partial(_copied, node.apply))


def _copied(apply: Callable[..., Any], *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
    result = apply(*arguments, **options)
    return [each.clone() for each in result] if isinstance(result, list | tuple) else result.clone()
