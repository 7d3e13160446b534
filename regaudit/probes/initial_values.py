"""New initial values for a network that is to be trained again."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

from regaudit.records import Axis, Use

if TYPE_CHECKING:
    from regaudit.probes.base import Network, Session, Tensor


def initial_values(session: Session, seed: int) -> dict[str, Tensor]:
    """Return values for every parameter as before any training.

    Modules that know how to (`reset_parameters`) draw their own; other kernels are uniform in ±1/√(inputs), PyTorch's
    default; what is neither keeps the trained value.

    Args:
        session: With the network.
        seed: Of the draw.

    Source: PyTorch's `nn.Linear.reset_parameters`.
    """
    import torch

    network = copy.deepcopy(session.runner.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reset = _reset(network)
        values = {name: value.detach() for name, value in network.named_parameters()}
        for name, inputs in _inputs(session).items():
            if name in values and name not in reset:
                bound = 1 / math.sqrt(inputs)
                values[name] = torch.empty_like(values[name]).uniform_(-bound, bound)
    return values


def _reset(network: Network) -> set[str]:
    """Reset the modules that know how to.

    Returns:
        The names of their parameters.
    """
    names = set()
    for path, module in network.named_modules():
        if callable(getattr(module, "reset_parameters", None)):
            module.reset_parameters()
            names |= {f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)}
    return names


def _inputs(session: Session) -> dict[str, int]:
    """Return how many inputs each kernel has, by the parameter's name."""
    layers = {layer.name: layer for layer in session.layers}
    found = {}
    for place in session.runner.places:
        kernel = layers[place.layer].get(Use.KERNEL) if place.layer in layers else None
        if kernel and place.kernel:
            found[place.kernel] = max(1, kernel.extent(Axis.IN) * kernel.extent(Axis.TAP))
    return found
