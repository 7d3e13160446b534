"""What a layer was before training, and what its optimizer keeps of it, beside the weights as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.layers.values import stored
from regaudit.records import Adam, Axis, Declared, Layer, Moments, Parameter, Role, Tensor, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.checkpoints.tokenizer import Vocabulary

COUPLED = "torch.Adam"  # unit of a decay that is part of the gradient that Adam sees


def with_moments(layers: Iterable[Layer], checkpoint: Checkpoint) -> tuple[Layer, ...]:
    """Return the layers, each with Adam's moments of its kernel where the file has them.

    Only kernels that are one whole tensor of the file, in its order, have moments of the same shape.

    Args:
        layers: The layers.
        checkpoint: The open checkpoint.
    """
    found = {each.tensor: each for each in checkpoint.moments}
    coupled = _coupled(checkpoint.declared)
    return tuple(_with_moments(layer, found, checkpoint, coupled) for layer in layers) if found else tuple(layers)


def _coupled(declared: Iterable[Declared]) -> float:
    """Return the decay inside Adam's gradient; 0 where none is declared, or groups of parameters differ."""
    values = {each.value for each in declared if each.unit == COUPLED and each.kind == "weight_decay"}
    return values.pop() or 0.0 if len(values) == 1 else 0.0


def _with_moments(layer: Layer, found: dict[str, Moments], checkpoint: Checkpoint, coupled: float) -> Layer:
    kernel = layer.get(Use.KERNEL)
    if kernel is None or len(kernel.tensors) != 1 or kernel.tensors[0] not in found:
        return layer
    moments = found[kernel.tensors[0]]
    if moments.first.shape != kernel.shape:
        return layer
    first, second = (_like(kernel, each, checkpoint) for each in (moments.first, moments.second))
    return replace(layer, adam=Adam(first=first, second=second, step=moments.step, coupled=coupled))


def _like(kernel: Parameter, tensor: Tensor, checkpoint: Checkpoint) -> Parameter:
    values = stored(checkpoint, tensor)
    return replace(kernel, tensors=values.tensors, dtype=values.dtype, load=values.rows)


def with_unused(layers: Iterable[Layer], vocabulary: Vocabulary | None) -> tuple[Layer, ...]:
    """Return the layers, each table of tokens with the rows that training never saw.

    Reserved tokens, and rows beyond the tokenizer's vocabulary that pad the table to a round size.

    Args:
        layers: The layers.
        vocabulary: What the tokenizer says; None without one.
    """
    return tuple(_with_unused(layer, vocabulary) if vocabulary else layer for layer in layers)


def _with_unused(layer: Layer, vocabulary: Vocabulary) -> Layer:
    kernel = layer.get(Use.KERNEL)
    rows = kernel.extent(Axis.IN) if kernel else 0
    if layer.role is not Role.EMBEDDING or (not vocabulary.reserved and vocabulary.size >= rows):
        return layer
    # A table of fewer rows than half the vocabulary is of something else (token types).
    if 2 * rows < vocabulary.size:
        return layer
    reserved = tuple(i for i in vocabulary.reserved if i < rows)
    return replace(layer, unused_inputs=(*reserved, *range(vocabulary.size, rows)))


def with_idle(layers: Iterable[Layer], idle: Mapping[str, tuple[int, ...]]) -> tuple[Layer, ...]:
    """Return the layers with the inputs that the probe batch never sets, where the files beside the model name none.

    Args:
        layers: The layers.
        idle: Indices of inputs by the layer's name.
    """
    return tuple(
        replace(layer, unused_inputs=idle[layer.name], unused_by="the probe batch")
        if layer.name in idle and not layer.unused_inputs
        else layer
        for layer in layers
    )


def with_scheme(layers: Iterable[Layer], scheme: str) -> tuple[Layer, ...]:
    """Return the layers, each with the initialisation that the user says it had (torch, keras, transformers)."""
    return tuple(replace(layer, initial_scheme=scheme) for layer in layers)


def with_start(layers: Iterable[Layer], start: Iterable[Layer]) -> tuple[Layer, ...]:
    """Return the layers, each with its kernel before training, matched by name and shape.

    Args:
        layers: As trained.
        start: Of the checkpoint before training.
    """
    kernels = {each.name: each.get(Use.KERNEL) for each in start}
    return tuple(_with_start(layer, kernels.get(layer.name)) for layer in layers)


def _with_start(layer: Layer, initial: Parameter | None) -> Layer:
    kernel = layer.get(Use.KERNEL)
    if kernel is None or initial is None or (kernel.shape, kernel.axes) != (initial.shape, initial.axes):
        return layer
    return replace(layer, initial=initial)
