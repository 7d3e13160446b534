"""Data without data: draws from a stated distribution, for what needs no real inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.config import SYNTHETIC
from regaudit.errors import ConfigError
from regaudit.probes.base import Data
from regaudit.records import Axis, Role, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    inputs, words = {}, []
    for each in runner.inputs:
        shape = _shape(each, runner, layers)
        if each.dtype[0] in "IU" or (shape == (TOKENS,) and each.shape is None):
            vocabulary = _vocabulary(each, layers)
            words.append(f"token ids uniform over {vocabulary:,}")
            drawn: Tensor = torch.randint(vocabulary, (probing.size, *shape), generator=generator)
        else:
            words.append("standard normal")
            drawn = torch.randn(probing.size, *shape, generator=generator)
        inputs[each.name] = drawn.to(runner.device)
    source = f"{SYNTHETIC}: {', '.join(dict.fromkeys(words))}"
    note = "The data are synthetic: what is measured on them may differ on real data."
    return Data(inputs=inputs, source=source, total=probing.size), (note,)


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
    if first and kernel and len(runner.inputs) == 1:
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
