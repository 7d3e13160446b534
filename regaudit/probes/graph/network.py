"""A program as a `torch.nn.Module`: its weights under the names they have in the file, its layers as submodules.

Nodes that use weights run inside small submodules that bear the layer's name and hold its weights, so that forward
hooks see them as they see the modules of any other network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from regaudit.probes.graph.bounds import Bounds
from regaudit.probes.graph.errors import NodeError, TooLarge
from regaudit.probes.graph.running import frees, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regaudit.probes.base import ModelInput, Network, Tensor
    from regaudit.probes.graph.nodes import Program

MAX_PARTS = 32  # of a dotted name: each is a module in a module, and torch walks modules by recursion
_ANY_LENGTH = 4  # of an axis of any length, where a batch is made up
_TOLERANCE = 1e-4


def make_network(program: Program, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> Network:
    """Return a program as a module in evaluation mode, called with its inputs in order.

    Args:
        program: The nodes.
        parameters: Weights by their names in the file; the same tensor under two names is one parameter.
        buffers: Other constants.

    Returns:
        The module. Weights have their names of the file as far as torch allows those; `names_in` tells them.
    """
    import torch

    network = _classes().network(program)
    known: dict[int, Tensor] = {}
    for name, tensor in parameters.items():
        parameter = known.setdefault(id(tensor), torch.nn.Parameter(tensor))
        scope, leaf = _place(network, name)
        scope.register_parameter(leaf, parameter)
        network.places[name] = scope, leaf
    for name, tensor in buffers.items():
        scope, leaf = _place(network, name)
        scope.register_buffer(leaf, tensor)
        network.places[name] = scope, leaf
    for node in program.nodes:
        if node.module and node.module not in network.operations:
            network.operations[node.module] = _scope(network, node.module.split(".", MAX_PARTS))
    network.eval()
    if program.batch is not None:
        network.is_fixed = program.batch > 0 and not _takes_any_batch(network, program)
    return network


def names_in(network: Network) -> dict[str, str]:
    """Return for each weight of the file its name in the network, as `named_parameters` has it."""
    paths = {id(module): path for path, module in network.named_modules()}
    first = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        name: first.get(id(getattr(scope, leaf)), ".".join(filter(None, (paths[id(scope)], leaf))))
        for name, (scope, leaf) in network.places.items()
    }


def modules_in(network: Network) -> dict[str, str]:
    """Return for each `Node.module` the name of the submodule that it runs in."""
    paths = {id(module): path for path, module in network.named_modules()}
    return {name: paths[id(module)] for name, module in network.operations.items()}


def _place(network: Network, name: str) -> tuple[Network, str]:
    """Return the submodule that a weight lies in, made if it is not there, and a free name in it."""
    *parts, leaf = name.split(".", MAX_PARTS)
    scope = _scope(network, parts)
    leaf = leaf.replace(".", "/") or "_"
    while hasattr(scope, leaf):
        leaf += "_"
    return scope, leaf


def _scope(network: Network, parts: list[str]) -> Network:
    scope = network
    for each in parts:
        part = each.replace(".", "/") or "_"
        while part not in scope._modules and hasattr(scope, part):
            part += "_"
        if part not in scope._modules:
            scope.add_module(part, _classes().operation())
        scope = scope.get_submodule(part)
    return scope


@dataclass(frozen=True, slots=True)
class _Classes:
    network: Callable[[Program], Network]
    operation: Callable[[], Network]


@cache
def _classes() -> _Classes:
    """Return the two modules; torch is imported when the first network is made."""
    from torch import nn

    class Operation(nn.Module):
        """A layer: it holds the weights, the node brings the function."""

        def __init__(self) -> None:
            super().__init__()
            self.latest: Callable[[Tensor], Any] | None = None

        def forward(self, x: Tensor, *, apply: Callable[[Tensor], Any] | None = None) -> Any:  # noqa: ANN401
            # Called by itself, as a probe of one layer does, it does what it did in the network last.
            self.latest = apply or self.latest
            if self.latest is None:
                raise RuntimeError("the network has not run yet, so this layer's function is not known")
            return self.latest(x)

    class GraphNetwork(nn.Module):
        """A network that runs the nodes of a program."""

        def __init__(self, program: Program) -> None:
            super().__init__()
            self.program = program
            # Plain dictionaries: torch must not find the submodules a second time under these names.
            self.places: dict[str, tuple[nn.Module, str]] = {}
            self.operations: dict[str, nn.Module] = {}
            self.is_fixed = False
            self.bounds = Bounds(program.where)
            self.frees = frees(program)

        def forward(self, *inputs: Tensor) -> Tensor:
            return run(self, inputs)

    return _Classes(GraphNetwork, Operation)


def _takes_any_batch(network: Network, program: Program) -> bool:
    """Return whether a program that was written for one batch size gives the same for others, tried on made-up inputs.

    What is written for four examples may hold no four at all (layers, flatten), or a four in every `view`.
    """
    import torch

    size = 2 * (program.batch or 1) + 1
    draw = torch.Generator().manual_seed(0)
    inputs = [_made_up(each, size, draw) for each in program.inputs]
    try:
        with torch.no_grad():
            whole = network(*inputs)
            network.is_fixed = True
            parts = network(*inputs)
    except (NodeError, TooLarge):
        return False
    return whole.shape == parts.shape and torch.allclose(whole, parts, rtol=_TOLERANCE, atol=_TOLERANCE)


def _made_up(each: ModelInput, size: int, draw: Tensor) -> Tensor:
    import torch

    shape = [size, *(_ANY_LENGTH if length is None else length for length in (each.shape or ())[1:])]
    if each.dtype.startswith(("F", "BF")):
        return torch.randn(shape, generator=draw)
    ids = torch.randint(2, shape, generator=draw)  # every table has two rows
    return ids.bool() if each.dtype == "BOOL" else ids
