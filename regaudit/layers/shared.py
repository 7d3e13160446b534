"""Tied tensors: one storage, several names; measured once, under the first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.records import Layer, Tensor, TensorSkip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.layers.names import Address


def duplicates(tensors: tuple[Tensor, ...]) -> dict[str, str]:
    """Return the first name of each tensor that is a second name for the same storage."""
    earlier: set[str] = set()
    found: dict[str, str] = {}
    for tensor in tensors:
        if tensor.shares and tensor.shares in earlier:
            found[tensor.name] = found.get(tensor.shares, tensor.shares)
        earlier.add(tensor.name)
    return found


def skips(ties: Mapping[str, str]) -> list[TensorSkip]:
    """Return the skip of each second name."""
    return [
        TensorSkip(tensor=name, reason=f"same storage as {first}, measured there", blocking=False)
        for name, first in ties.items()
    ]


def tied(layers: tuple[Layer, ...], ties: Mapping[str, str], addresses: list[Address]) -> tuple[Layer, ...]:
    """Return the layers, each with the other places where its tensors serve."""
    if not ties:
        return layers
    places = {each.tensor: each.module or each.leaf for each in addresses}
    others: dict[str, list[str]] = {}
    for name, first in ties.items():
        others.setdefault(first, []).append(places[name])
    return tuple(_noted(layer, others) for layer in layers)


def _noted(layer: Layer, others: Mapping[str, list[str]]) -> Layer:
    names = [tensor for parameter in layer.parameters for tensor in parameter.tensors]
    places = dict.fromkeys(place for name in names for place in others.get(name, ()))
    return replace(layer, tied_to=tuple(places)) if places else layer
