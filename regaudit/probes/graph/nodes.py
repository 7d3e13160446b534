"""The records of a graph that can run: nodes, the names of their values, the whole program."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from regaudit.probes.base import ModelInput


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of this name, among a node's arguments."""

    key: Hashable


class Late(Enum):
    """An argument that is known when the network runs."""

    DEVICE = "device"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One call of a function.

    Args:
        name: For messages.
        operator: As the file names it.
        apply: What is called.
        arguments: Values, `Ref`s, or tuples of them.
        options: The same, by name.
        outputs: Names of what it returns: one, or several where it returns several; None for those without a name.
            A tuple inside stands for a list of tensors.
        path: The module that calls it, where the file tells ("" if not).
        data: Which argument is the layer's input; None where the node is no layer.
        kernel: Names of the weights that its kernel (or scale) is made of.
        bias: Name of its bias; "" if it has none.
        module: Submodule that it runs in; "" if it is no layer.
        channel_axis: Axis of the output that runs over units.
        join_axis: Axis along which inputs of the layer may be joined.
    """

    name: str
    operator: str
    apply: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Any, ...] = ()
    path: str = ""
    data: int | None = None
    kernel: tuple[str, ...] = ()
    bias: str = ""
    module: str = ""
    channel_axis: int = -1
    join_axis: int = 0

    def taken(self) -> Iterator[Hashable]:
        """Yield the names of the values that it takes."""
        yield from refs(self.arguments)
        yield from refs(tuple(self.options.values()))

    def made(self) -> Iterator[Hashable]:
        """Yield the names of the values that it makes."""
        for each in self.outputs:
            yield from (key for key in (each if isinstance(each, tuple) else (each,)) if key is not None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A whole network.

    Args:
        where: The file, for messages.
        nodes: In an order in which they can run.
        inputs: What it takes.
        keys: Names of the values that the inputs are, in their order.
        output: Name of the value that it returns.
        weights: For the names of values that are weights or constants, the name in the network.
        batch: How many examples it was written for; None for any number.
        notes: What a reader of the report must know.
    """

    where: str
    nodes: tuple[Node, ...]
    inputs: tuple[ModelInput, ...]
    keys: tuple[Hashable, ...]
    output: Hashable
    weights: Mapping[Hashable, str]
    batch: int | None = None
    notes: tuple[str, ...] = ()


def refs(template: object) -> Iterator[Hashable]:
    """Yield the names in an argument; arguments nest in tuples that the reader made, so never deeply."""
    if isinstance(template, Ref):
        yield template.key
    elif isinstance(template, tuple):
        for each in template:
            yield from refs(each)


def resolved(template: object, values: Mapping[Hashable, Any], device: object) -> Any:  # noqa: ANN401
    """Return an argument with values for names; tuples become lists, as torch's operators want them."""
    if isinstance(template, Ref):
        return values[template.key]
    if isinstance(template, tuple):
        return [resolved(each, values, device) for each in template]
    return device if template is Late.DEVICE else template
