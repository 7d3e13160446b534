"""No value of a graph may outgrow the machine: sizes are found on torch's meta device, before memory is taken.

A file of a kilobyte can ask for a tensor of 10¹² elements; what it asks for depends on the shapes of the inputs, so the
first run with new shapes is checked node by node, and later ones with the same shapes are not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from regaudit.probes.graph.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from regaudit.probes.graph.nodes import Node

MAX_ELEMENTS = 1 << 31  # of one value: 8 GiB of float32; a batch of 256 through ResNet-50's widest layer is 2^28
_MOST_AXES = 64  # torch's own limit
_UNKNOWN_MEMORY = 64 << 30  # where the system does not tell how much it has

Shapes = tuple[tuple[int, ...], ...]


class Bounds:
    """Which shapes a network was already run with."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._passed: set[Shapes] = set()

    def begin(self, shapes: Shapes) -> Check:
        """Return the check of one run, which does nothing where these shapes were checked before."""
        return Check(self._where, is_needed=shapes not in self._passed)

    def passed(self, shapes: Shapes) -> None:
        """Note that a run with these shapes came to its end."""
        self._passed.add(shapes)


class Check:
    """The sizes of the values that are alive in one run."""

    def __init__(self, where: str, *, is_needed: bool) -> None:
        self._where = where
        self._is_needed = is_needed
        self._alive: dict[Hashable, int] = {}
        self._memory = _memory() if is_needed else 0

    def require(self, node: Node, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Refuse a call whose results are too large.

        Raises:
            TooLarge: They are.
        """
        if not self._is_needed:
            return
        for tensor in _results(node, arguments, options):
            self._require(tensor.numel(), tuple(tensor.shape), node)
            key = next(iter(node.made()), node.name)
            self._alive[key] = self._alive.get(key, 0) + tensor.numel() * tensor.element_size()
        if sum(self._alive.values()) > self._memory:
            raise TooLarge(
                f"{self._where}: at the node {node.name!r:.120} ({node.operator!r:.120}) the values of the graph take "
                f"{sum(self._alive.values()) >> 20:,} MiB, this machine has {self._memory >> 20:,} MiB"
            )

    def free(self, keys: Sequence[Hashable]) -> None:
        """Forget values that nothing takes any more."""
        for key in keys if self._is_needed else ():
            self._alive.pop(key, None)

    def _require(self, size: int, shape: tuple[int, ...], node: Node) -> None:
        if size > MAX_ELEMENTS:
            raise TooLarge(
                f"{self._where}: the node {node.name!r:.120} ({node.operator!r:.120}) asks for a tensor of shape "
                f"{list(shape)!s:.120}; at most {MAX_ELEMENTS:,} elements are made"
            )


def _results(node: Node, arguments: Sequence[Any], options: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what a call would return, as tensors without memory; nothing where that depends on values."""
    import torch

    result: Any = ()
    for keeps in (True, False):
        try:
            # What watches the functions that the network calls must not see this one.
            with torch.no_grad(), torch._C.DisableTorchFunction():
                taken = [_without_memory(each, keeps=keeps and k > 0) for k, each in enumerate(arguments)]
                named = {key: _without_memory(each) for key, each in options.items()}
                result = node.apply(*taken, **named)
            break
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
            # Either the call fails on real tensors too, and says so then, or it needs their values: then its result
            # is a selection of what it took, or a number.
            continue
    for each in result if isinstance(result, tuple | list) else (result,):
        if isinstance(each, torch.Tensor):
            yield each


def _without_memory(argument: Any, *, keeps: bool = False) -> Any:  # noqa: ANN401
    """Return an argument on the meta device; a short list of integers may be a shape and can be kept."""
    import torch

    if isinstance(argument, torch.Tensor):
        is_shape = argument.ndim <= 1 and argument.numel() <= _MOST_AXES and not argument.is_floating_point()
        if keeps and is_shape:
            return argument
        return argument.to("meta")
    if isinstance(argument, list):
        return [_without_memory(each) for each in argument]
    return torch.device("meta") if isinstance(argument, torch.device) else argument


def _memory() -> int:
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return _UNKNOWN_MEMORY
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
