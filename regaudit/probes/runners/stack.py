"""A plain chain of dense layers, from the weights alone: what lies between them is what the user says."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from regaudit.errors import ConfigError
from regaudit.probes.base import ModelInput, Runner
from regaudit.probes.runners.base import RunnerKind
from regaudit.probes.runners.loading import fill, values_of
from regaudit.probes.runners.outputs import call
from regaudit.probes.runners.places import places
from regaudit.records import Axis, Role, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.probes.base import Network
    from regaudit.records import Layer, Parameter

# What `--activation` may be, and the class of torch.nn.
ACTIVATIONS = {
    "relu": "ReLU", "gelu": "GELU", "tanh": "Tanh", "sigmoid": "Sigmoid", "silu": "SiLU", "swish": "SiLU",
    "leaky_relu": "LeakyReLU", "elu": "ELU", "selu": "SELU", "softplus": "Softplus", "mish": "Mish", "linear": "Identity",
}  # fmt: skip
_AXES = ((Axis.OUT, Axis.IN), (Axis.IN, Axis.OUT))


def _open(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, device: str) -> Runner:
    if probing.activation not in ACTIVATIONS:
        raise ConfigError(f"--activation {probing.activation!r}: expected one of {', '.join(ACTIVATIONS)}")
    if problem := _problem(layers):
        raise ConfigError(f"{checkpoint.path} is no plain stack of dense layers: {problem}. Give the code with --model")
    network, names = _built(layers, probing.activation)
    network = network.to(device).eval()
    found = places(network, layers, names)
    chain = " → ".join(layer.name for layer in layers)
    return Runner(
        kind="stack",
        network=network,
        inputs=(ModelInput(name="x", shape=(None, _kernel(layers[0]).extent(Axis.IN))),),
        places=found.places,
        skips=found.skips,
        device=device,
        names=names,
        notes=(f"Assumed: a plain stack {chain}, {probing.activation} between the layers and nothing after the last.",),
        call=call,
    )


def _problem(layers: Sequence[Layer]) -> str:
    """Return why the layers are no chain of dense kernels, "" where they are."""
    if other := [
        layer for layer in layers if layer.role is not Role.DENSE or layer.part or layer.get(Use.KERNEL) is None
    ]:
        return f"{other[0].name} is {'part of ' * bool(other[0].part)}{other[0].role}"
    if odd := next((layer for layer in layers if _kernel(layer).axes not in _AXES), None):
        return f"nothing tells which axis of {odd.name} {_kernel(odd).shape} is its inputs"
    for before, after in pairwise(layers):
        gives, takes = _kernel(before).extent(Axis.OUT), _kernel(after).extent(Axis.IN)
        if gives != takes:
            return f"{before.name} gives {gives} values, {after.name} takes {takes}"
    return "" if layers else "it has no layer"


def _built(layers: Sequence[Layer], activation: str) -> tuple[Network, dict[str, str]]:
    """Return the network, and for each tensor of the file its name there."""
    from torch import nn

    modules: list[Network] = []
    names: dict[str, str] = {}
    for layer in layers:
        kernel, bias = _kernel(layer), layer.get(Use.BIAS)
        if modules:
            modules.append(getattr(nn, ACTIVATIONS[activation])())
        dense = nn.Linear(kernel.extent(Axis.IN), kernel.extent(Axis.OUT), bias=bias is not None)
        fill(dense.weight, values_of(kernel, is_transposed=kernel.axes == (Axis.IN, Axis.OUT)))
        names |= dict.fromkeys(kernel.tensors, f"{len(modules)}.weight")
        if bias is not None:
            fill(dense.bias, values_of(bias))
            names |= dict.fromkeys(bias.tensors, f"{len(modules)}.bias")
        modules.append(dense)
    return nn.Sequential(*modules), names


def _kernel(layer: Layer) -> Parameter:
    kernel = layer.get(Use.KERNEL)
    assert kernel is not None
    return kernel


def _fits(checkpoint: Checkpoint, probing: Probing) -> bool:
    return bool(probing.activation)


RUNNER = RunnerKind(name="stack", fits=_fits, open=_open)
