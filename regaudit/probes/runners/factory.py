"""`--model FILE.py:build`: the user's own code builds the network, the checkpoint's tensors go into it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from regaudit.errors import ConfigError
from regaudit.probes.base import ModelInput, Runner
from regaudit.probes.runners.base import RunnerKind
from regaudit.probes.runners.loading import load
from regaudit.probes.runners.outputs import call, call_by_name
from regaudit.probes.runners.places import places
from regaudit.probes.user_code import UserCode, beside, find

if TYPE_CHECKING:
    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.probes.base import Network
    from regaudit.records import Layer

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_NAME = inspect.Parameter.KEYWORD_ONLY


def build(spec: str) -> Network:
    """Return the network that the user's code makes.

    Args:
        spec: `FILE.py:build` or `pkg.module:factory`, a callable without arguments or a module.

    Raises:
        ConfigError: There is no such thing, it raised, or it gave no `torch.nn.Module`.
    """
    from torch import nn

    made = find(spec)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise ConfigError(f"{spec} is {type(made).__name__}, expected a function that returns a torch.nn.Module")
        with UserCode(spec, "regaudit calls it without arguments"), beside(spec.rpartition(":")[0]):
            made = made()
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{spec} returned {type(made).__name__}, expected a torch.nn.Module")
    return made


def inputs_of(network: Network) -> tuple[ModelInput, ...]:
    """Return what a network takes, as far as the signature of its forward pass and its first module tell."""
    needed = _needed(network)
    if len(needed) != 1:
        return tuple(ModelInput(name=each.name) for each in needed)
    shape, dtype = _first_shape(network)
    return (ModelInput(name=needed[0].name, shape=shape, dtype=dtype),)


def _needed(network: Network) -> list[inspect.Parameter]:
    """Return the parameters of the forward pass that must be given, the first where none must."""
    signature = inspect.signature(network.forward).parameters.values()
    named = [each for each in signature if each.kind not in _VARIADIC]
    return [each for each in named if each.default is inspect.Parameter.empty] or named[:1]


def _takes_names(network: Network) -> bool:
    return any(each.kind is _BY_NAME for each in _needed(network))


def _first_shape(network: Network) -> tuple[tuple[int | None, ...] | None, str]:
    """Return shape and dtype of what the first module with parameters takes: a guess, right for plain networks."""
    for module in network.modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        kind = type(module).__name__
        settings: dict[str, Any] = vars(module)
        if kind == "Linear":
            return (None, settings["in_features"]), "F32"
        if kind.startswith("Conv") and kind.endswith("d"):
            return (None, settings["in_channels"], *[None] * len(settings["kernel_size"])), "F32"
        return ((None, None), "I64") if kind == "Embedding" else (None, "F32")
    return None, "F32"


def _open(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, device: str) -> Runner:
    network = build(probing.model).cpu().float()
    loaded = load(network, checkpoint, layers)
    network = network.to(device).eval().requires_grad_(requires_grad=True)
    found = places(network, layers, loaded.names)
    return Runner(
        kind="factory",
        network=network,
        inputs=inputs_of(network),
        places=found.places,
        skips=found.skips,
        device=device,
        ran_code=True,
        names=loaded.names,
        notes=loaded.notes,
        call=call_by_name if _takes_names(network) else call,
    )


def _fits(checkpoint: Checkpoint, probing: Probing) -> bool:
    return bool(probing.model)


RUNNER = RunnerKind(name="factory", fits=_fits, open=_open)
