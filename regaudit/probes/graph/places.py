"""Where the audited layers lie in a network that was made from a graph."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from regaudit.networks.places import Place
from regaudit.probes.graph.network import modules_in, names_in
from regaudit.records import Axis, Skip, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from regaudit.probes.base import Network
    from regaudit.probes.graph.nodes import Node
    from regaudit.records import Layer, Parameter

_MEASURE = "activity"
NO_NODE = "no operator of the graph applies its kernel to the data by itself, so its output is not visible"
NO_COLUMNS = "it is part of a fused kernel, and which outputs are its own could not be told"


def find_places(network: Network, layers: Iterable[Layer]) -> tuple[tuple[Place, ...], tuple[Skip, ...]]:
    """Return the place of every layer with a kernel, in network order, and why others have none.

    Args:
        network: As `make_network` made it.
        layers: The audited layers.
    """
    names, modules = names_in(network), modules_in(network)
    by_kernel: dict[str, Node] = {}
    order: dict[int, int] = {}
    for index, node in enumerate(network.program.nodes):
        for name in node.kernel:
            by_kernel.setdefault(names[name], node)
            order.setdefault(id(node), index)
    places: list[tuple[int, Place]] = []
    skips: list[Skip] = []
    for fused in _fused(layers):
        found = (by_kernel.get(names.get(name, "")) for name in _tensors(fused[0]))
        node = next(filter(None, found), None)
        if node is None:
            skips += [Skip(layer=each.name, measure=_MEASURE, reason=NO_NODE) for each in fused]
            continue
        spans = _columns(fused, network, names)
        for layer, columns in zip(fused, spans, strict=True):
            if isinstance(columns, str):
                skips.append(Skip(layer=layer.name, measure=_MEASURE, reason=columns))
            else:
                places.append((order[id(node)], _place(layer, node, modules[node.module], names, columns)))
    return tuple(place for _, place in sorted(places, key=lambda each: each[0])), tuple(skips)


def _fused(layers: Iterable[Layer]) -> list[list[Layer]]:
    """Return the layers that have a kernel, those that are parts of the same tensors together."""
    found: dict[tuple[object, ...], list[Layer]] = defaultdict(list)
    for layer in layers:
        if layer.get(Use.KERNEL) is not None:
            found[_tensors(layer) if layer.part else (layer.name,)].append(layer)
    return list(found.values())


def _tensors(layer: Layer) -> tuple[str, ...]:
    kernel = layer.get(Use.KERNEL)
    return kernel.tensors if kernel else ()


def _place(layer: Layer, node: Node, module: str, names: Mapping[str, str], columns: tuple[int, int] | None) -> Place:
    return Place(
        layer=layer.name,
        module=module,
        kernel=names.get(node.kernel[0], "") if len(node.kernel) == 1 else "",
        bias=names.get(node.bias, ""),
        columns=columns,
        channel_axis=node.channel_axis,
    )


def _columns(layers: Sequence[Layer], network: Network, names: Mapping[str, str]) -> list[tuple[int, int] | str | None]:
    """Return the units of each part of a fused layer; None for a whole layer, a reason where they are not one run."""
    if not layers[0].part:
        return [None] * len(layers)
    tensors = _tensors(layers[0])
    whole = network.get_parameter(names[tensors[0]]) if len(tensors) == 1 and tensors[0] in names else None
    found: list[tuple[int, int] | str | None] = []
    start = 0
    for layer in layers:
        kernel = layer.get(Use.KERNEL)
        stop = start + (kernel.extent(Axis.OUT) if kernel else 0)
        is_run = kernel is not None and whole is not None and _is_run(kernel, whole.detach().cpu().numpy(), start, stop)
        found.append((start, stop) if is_run else NO_COLUMNS)
        start = stop
    return found


def _is_run(kernel: Parameter, whole: np.ndarray, start: int, stop: int) -> bool:
    """Return whether a part's kernel is these units of the fused one, value by value."""
    if Axis.OUT not in kernel.axes or kernel.axes.count(Axis.OUT) != 1 or len(kernel.shape) != whole.ndim:
        return False
    own = np.take(whole, np.arange(start, stop), axis=kernel.axes.index(Axis.OUT), mode="clip")
    return own.shape == kernel.shape and bool(np.array_equal(own, kernel.load(0, kernel.shape[0])))
