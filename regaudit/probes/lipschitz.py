"""An upper bound of the Lipschitz constant: the product of the layers' own, where the network is a chain.

The data tell whether it is one: every layer must take exactly what the one before gave, the first the input, and the
last must give the output. A residual, an attention, a pooling or a normalization in between breaks the equality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from regaudit.measures.base import Measure, Value, plural, require
from regaudit.probes.observing import observe

if TYPE_CHECKING:
    from regaudit.probes.base import Data, Network, Observation, Runner, Tensor

# sup|φ'| of activations that act element by element; 1 for every other in the set below.
STEEPEST: Final = {"sigmoid": 0.25, "gelu": 1.1290, "silu": 1.0999, "mish": 1.0885, "hardswish": 1.5, "selu": 1.7581}
GENTLE: Final = frozenset({
    "", "relu", "relu6", "tanh", "leaky_relu", "elu", "celu", "softplus", "softsign", "hardtanh", "hardsigmoid",
    "logsigmoid", "softshrink", "softmax",
})  # fmt: skip
EXACT_SIDE: Final = 512  # of a kernel whose singular values take milliseconds
STEPS: Final = 100  # of power iteration, for larger kernels and convolutions
EXAMPLES: Final = 4  # that must agree with the chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The layers of a network that is a chain.

    Args:
        factors: ‖W_l‖₂·sup|φ_l'| of each layer, as a map from all its inputs to all its outputs.
        exact: Whether every ‖W_l‖₂ comes from its singular values.
    """

    factors: tuple[float, ...]
    exact: bool


def chain(runner: Runner, data: Data) -> Chain:
    """Return the layers' Lipschitz constants, if the network is a chain of them.

    Raises:
        NotMeasurable: It is none on this data; the reason says where.
    """
    import torch

    batch, _ = next(data.batches(EXAMPLES))
    whole = tuple(dict.fromkeys(replace(each, columns=None) for each in runner.places if not each.functional))
    require(len(whole) == len(runner.places), "a kernel serves in parts, or inside a function")
    require(len(batch) == 1, "several inputs")
    with torch.no_grad():
        output, seen = observe(runner, batch)
        layers = list(seen.values())
        require(bool(layers), "no layer was observed")
        _require_chain(next(iter(batch.values())), layers, output)
    norms = [_norm(runner.network, each) for each in layers]
    steepest = [_steepest(each.activation) for each in layers]
    return Chain(
        factors=tuple(norm * slope for (norm, _), slope in zip(norms, steepest, strict=True)),
        exact=all(exact for _, exact in norms),
    )


def _require_chain(start: Tensor, layers: list[Observation], output: Tensor) -> None:
    given, giver = start, "the input"
    for each in layers:
        name = each.place.layer
        require(each.inputs is not None and each.linear.is_floating_point(), f"{name} takes no single tensor")
        require(
            each.inputs is not None and each.inputs.is_floating_point(), f"{name} takes ids, which have no distance"
        )
        require(_same(given, each.inputs), f"{name} does not take just what {giver} gives: the product is no bound")
        given, giver = each.activity, name
    require(_same(given, output), f"the output is not just what {giver} gives: the product is no bound")


def _same(a: Tensor, b: Tensor) -> bool:
    import torch

    return a.numel() == b.numel() and torch.equal(a.reshape(-1), b.reshape(-1))


def _steepest(activation: str) -> float:
    require(activation in STEEPEST or activation in GENTLE, f"the slope of {activation!r} is not known")
    return STEEPEST.get(activation, 1.0)


def _norm(network: Network, seen: Observation) -> tuple[float, bool]:
    """Return ‖W‖₂ of the map from a layer's inputs to its z, and whether it is exact."""
    import torch

    module = network.get_submodule(seen.place.module)
    if isinstance(module, torch.nn.Linear) and min(module.weight.shape) <= EXACT_SIDE:
        return float(torch.linalg.matrix_norm(module.weight.detach().cpu().double(), ord=2)), True
    return _by_power_iteration(module, seen), False


def _by_power_iteration(module: Network, seen: Observation) -> float:
    """Return ‖W‖₂ of z = Wx + b by power iteration on the module itself, at the size of its input on the data."""
    import torch

    assert seen.inputs is not None
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, *seen.inputs.shape[1:], generator=generator).to(seen.inputs)
    norm = 0.0
    with torch.enable_grad():
        origin = module(torch.zeros_like(x)).detach()
        for _ in range(STEPS):
            x = (x / x.norm().clamp(min=1e-30)).requires_grad_()
            moved = module(x) - origin
            norm = float(moved.norm().detach())
            (x,) = torch.autograd.grad((moved * moved.detach()).sum(), x)
    return norm


def lipschitz_bound(found: Chain) -> Value:
    """Return the product of the layers' Lipschitz constants."""
    how = "exact norms" if found.exact else f"{STEPS} steps of power iteration where no singular values"
    return math.prod(found.factors), f"{plural(len(found.factors), 'layer')}, {how}"


MEASURES: Final[tuple[Measure[Chain], ...]] = (
    Measure(
        name="model.lipschitz_bound",
        formula="Π_l ‖W_l‖₂·sup|φ_l'|, W_l the map from all inputs of layer l to all its outputs (a convolution at the size of its input)",
        unit="f/x",
        range="≥ 0",
        source="Szegedy et al. 2014",
        tells="No input can be steeper than this; how far it lies above model.local_lipschitz tells how loose it is.",
        trap="Taken only where every layer takes exactly what the one before gives; never read it as a measure of overfitting.",
        function=lipschitz_bound,
    ),
)
