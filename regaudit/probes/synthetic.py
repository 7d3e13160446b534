"""Data without data: draws from a stated distribution, for what needs no real inputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.config import SYNTHETIC
from regaudit.errors import ConfigError, RegauditError
from regaudit.probes.base import Data
from regaudit.probes.coordinates import embeddings
from regaudit.probes.user_code import UserCode
from regaudit.records import Axis, Role, Use

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from regaudit.config import Probing
    from regaudit.probes.base import ModelInput, Runner, Tensor
    from regaudit.records import Layer

TOKENS = 16  # in a synthetic sequence; short, for every model takes as many
GIVE_DATA = "give real data: --probe FILE"


def draw(runner: Runner, layers: tuple[Layer, ...], probing: Probing) -> tuple[Data, tuple[str, ...]]:
    """Return random examples for a model: standard normal numbers, or ids that are equally likely.

    Args:
        runner: The model; its inputs' shapes are needed.
        layers: Its layers: the first tells the width of an input that says nothing, an embedding the vocabulary.
        probing: How many examples, and the seed.

    Returns:
        The data, and a sentence that they say little.

    Raises:
        ConfigError: An input's shape is not known.
    """
    import torch

    generator = torch.Generator().manual_seed(probing.seed)
    shapes = {each.name: _shape(each, runner, layers) for each in runner.inputs if each.default is None}
    sizes = _vocabularies(runner, shapes)
    inputs: dict[str, Tensor] = {}
    words = []
    for each in runner.inputs:
        if each.default is not None:
            made = each.default(next(iter(inputs.values())).cpu().numpy())
            if made is not None:
                inputs[each.name] = torch.as_tensor(made).to(runner.device)
            continue
        shape = shapes[each.name]
        if _is_ids(each, shape):
            vocabulary = sizes.get(each.name) or _vocabulary(each, layers)
            words.append(f"token ids uniform over {vocabulary:,}")
            drawn: Tensor = torch.randint(vocabulary, (probing.size, *shape), generator=generator)
        else:
            words.append("standard normal")
            drawn = torch.randn(probing.size, *shape, generator=generator)
        inputs[each.name] = drawn.to(runner.device)
    source = f"{SYNTHETIC}: {', '.join(dict.fromkeys(words))}"
    note = "The data are synthetic: what is measured on them may differ on real data."
    return Data(inputs=inputs, source=source, total=probing.size), (note,)


def _is_ids(each: ModelInput, shape: tuple[int, ...]) -> bool:
    return each.dtype[0] in "IU" or (shape == (TOKENS,) and each.shape is None)


def _vocabularies(runner: Runner, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return how many ids each input of ids may have: the rows of the smallest table that takes it, where one is seen.

    Args:
        runner: The model; it runs on one example, whose ids tell the inputs apart.
        shapes: Of one example's inputs that are drawn.
    """
    import torch

    kinds = {each.name: _is_ids(each, shapes[each.name]) for each in runner.inputs if each.name in shapes}
    if not any(kinds.values()):
        return {}
    batch = {
        name: (_pattern(shapes[name], place) if is_ids else torch.zeros(1, *shapes[name])).to(runner.device)
        for place, (name, is_ids) in enumerate(kinds.items())
    }
    try:
        with torch.no_grad(), UserCode("the model"):
            pieces = embeddings(runner, batch)
    except (RegauditError, RuntimeError):
        return {}
    parameters = dict(runner.network.named_parameters(remove_duplicate=False))
    kernels = {place.module: parameters.get(place.kernel) for place in runner.places}
    found: dict[str, int] = {}
    for piece in pieces:
        table = parameters.get(f"{piece.module}.weight", kernels.get(piece.module))
        if table is not None and table.ndim == 2:
            found[piece.input] = min(len(table), found.get(piece.input, len(table)))
    return found


def _pattern(shape: tuple[int, ...], place: int) -> Tensor:
    """Return ids 0 and 1 in runs of place + 1: no two inputs alike, and none like positions or token types."""
    import torch

    return (torch.arange(math.prod(shape)) // (place + 1) % 2).reshape(1, *shape)


def _shape(each: ModelInput, runner: Runner, layers: Sequence[Layer]) -> tuple[int, ...]:
    """Return the shape of one example.

    Raises:
        ConfigError: An axis has no known length.
    """
    if each.shape is None:
        return _first_width(each, runner, layers)
    is_ids = each.dtype[0] in "IU"
    if not is_ids and None in each.shape[1:]:
        raise ConfigError(f"the length of an axis of the model's input {each.name!r} is not known; {GIVE_DATA}")
    return tuple(TOKENS if n is None else n for n in each.shape[1:])


def _first_width(each: ModelInput, runner: Runner, layers: Sequence[Layer]) -> tuple[int, ...]:
    """Return the shape that the first layer of the network tells.

    Raises:
        ConfigError: It tells none.
    """
    places = {place.layer for place in runner.places}
    first = next((layer for layer in layers if layer.name in places), None)
    kernel = first.get(Use.KERNEL) if first else None
    # Of the user's code the runner has read what the first module takes, if that is plain.
    if first and kernel and len(runner.inputs) == 1 and not runner.ran_code:
        if first.role is Role.EMBEDDING:
            return (TOKENS,)
        if first.role is Role.DENSE and kernel.axes:
            return (kernel.extent(Axis.IN),)
    raise ConfigError(f"the shape of the model's input {each.name!r} is not known; {GIVE_DATA}")


def _vocabulary(each: ModelInput, layers: Sequence[Layer]) -> int:
    tables = (layer.get(Use.KERNEL) for layer in layers if layer.role is Role.EMBEDDING)
    sizes = [table.extent(Axis.IN) for table in tables if table and table.axes]
    if not sizes:
        raise ConfigError(f"the vocabulary of the model's input {each.name!r} is not known; {GIVE_DATA}")
    return sizes[0]
