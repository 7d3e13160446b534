"""A program and the checkpoint's tensors as a runner."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from regaudit.checkpoints.dtypes import DTYPES
from regaudit.probes.base import Runner
from regaudit.probes.graph.batch_axis import layouts
from regaudit.probes.graph.network import make_network, names_in
from regaudit.probes.graph.places import find_places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.probes.base import Network
    from regaudit.probes.base import Tensor as TorchTensor
    from regaudit.probes.graph.batch_axis import Layout
    from regaudit.probes.graph.nodes import Program
    from regaudit.records import Array, Layer, Tensor

FIXED = (
    "The graph was exported for exactly {size} {examples}: it runs in groups of that size, the last one filled up with "
    "the first examples. Export it with a dynamic batch size to run all at once."
)


def runner(kind: str, program: Program, weights: Weights, layers: Sequence[Layer], device: str) -> Runner:
    """Return a program as a runner.

    Args:
        kind: Its name.
        program: The nodes.
        weights: The values of the program's weights and constants.
        layers: The audited layers.
        device: Where to run.
    """
    network = make_network(program, weights.parameters, weights.buffers)
    network.to(device)
    places, skips = find_places(network, layers)
    laid_out = layouts(program.inputs)
    fixed = (FIXED.format(size=program.batch, examples="example" if program.batch == 1 else "examples"),)
    return Runner(
        kind=kind,
        network=network,
        inputs=tuple(each.taken for each in laid_out),
        places=places,
        device=device,
        names=names_in(network),
        skips=skips,
        notes=(*program.notes, *(fixed if network.is_fixed else ())),
        call=partial(_call, laid_out),
    )


def _call(laid_out: tuple[Layout, ...], network: Network, batch: Mapping[str, TorchTensor]) -> TorchTensor:
    # Run a network on a batch, its inputs in order.
    return network(*(each(batch[each.taken.name]) for each in laid_out))


class Weights:
    """The values of weights, as torch tensors in float32 or as they are where they are no floats."""

    def __init__(self) -> None:
        self.parameters: dict[str, TorchTensor] = {}
        self.buffers: dict[str, TorchTensor] = {}

    def add(self, name: str, values: Array, *, is_trained: bool) -> None:
        """Add one; what is no float can have no gradient and is a buffer."""
        tensor = as_tensor(values)
        is_parameter = is_trained and tensor.is_floating_point()
        (self.parameters if is_parameter else self.buffers)[name] = tensor

    def share(self, name: str, first: str) -> None:
        """Add a second name of a tensor."""
        owner = self.parameters if first in self.parameters else self.buffers
        owner[name] = owner[first]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter."""
        return {name: tuple(tensor.shape) for name, tensor in self.parameters.items()}


def as_tensor(values: Array) -> TorchTensor:
    """Return an array as a tensor of its own; floats become float32."""
    import torch

    if values.dtype.kind == "f":
        values = values.astype(np.float32)
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        values = values.astype(np.int64)
    return torch.from_numpy(np.array(values, order="C"))


def stored_weights(checkpoint: Checkpoint, tensors: Iterable[Tensor], trained: frozenset[str]) -> Weights:
    """Read the tensors of a checkpoint that a program uses.

    Args:
        checkpoint: Open.
        tensors: Those to read.
        trained: Names of those that are parameters.

    Returns:
        Their values.
    """
    weights = Weights()
    for tensor in tensors:
        if tensor.shares and tensor.shares in {*weights.parameters, *weights.buffers}:
            weights.share(tensor.name, tensor.shares)
        elif tensor.dtype in DTYPES:
            values = checkpoint.read(tensor, 0, tensor.size).reshape(tensor.shape)
            weights.add(tensor.name, values, is_trained=tensor.name in trained)
    return weights
