"""The first run of the model over all data: whether it runs, what it gives, and how many examples fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.errors import CheckpointError
from regaudit.probes.data import described
from regaudit.probes.user_code import UserCode, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.probes.base import Data, Runner, Tensor

BATCH_SIZE = 256  # examples at once, to begin with
TABLES = 3  # that a message names
RANDOM = (
    "The model gives other outputs when it runs again on the same examples: it draws random numbers, and so does every "
    "number here."
)


def shape_of_output(runner: Runner, data: Data, path: str) -> tuple[int, ...]:
    """Return the shape of the model's output on the first example or two.

    Raises:
        CheckpointError: It gives no float tensor with a row for each.
        ConfigError: The model raises.
    """
    inputs, _ = next(data.batches(2))
    examples = len(next(iter(inputs.values())))
    output = _run(runner, inputs, data)
    if not hasattr(output, "is_floating_point") or not output.is_floating_point():
        found = getattr(output, "dtype", type(output).__name__)
        raise CheckpointError(path, f"the model's output on {data.source} is {found}; a float tensor was expected")
    if not output.ndim or len(output) != examples:
        raise CheckpointError(
            path,
            f"the model's output has the shape {tuple(output.shape)} on {examples} examples;"
            " an axis 0 of examples was expected",
            "Let the model return one row for each example, and no mean over them.",
        )
    return tuple(output.shape)


def is_random(runner: Runner, inputs: Mapping[str, Tensor]) -> bool:
    """Return whether the outputs on a batch differ from one run to the next, by more than rounding."""
    import torch

    with torch.no_grad():
        first, second = runner(inputs), runner(inputs)
    return not torch.allclose(first, second, rtol=1e-3, atol=1e-6 * float(first.abs().max()))


def batch_size(runner: Runner, data: Data, path: str, size: int = BATCH_SIZE) -> int:
    """Return how many examples the model can take at once: `size`, or half of it and so on where memory is short.

    Raises:
        CheckpointError: The model's output is not finite.
        ConfigError: The model raises.
        MemoryError: Not even one example fits; or torch's own error for that.
        RuntimeError: The same, from torch.
    """
    while True:
        try:
            _all_finite(runner, data, path, size)
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2
        else:
            return size


def _all_finite(runner: Runner, data: Data, path: str, size: int) -> None:
    import torch

    start = 0
    for inputs, _ in data.batches(size):
        output = _run(runner, inputs, data)
        good = torch.isfinite(output).reshape(len(output), -1).all(1)
        if not bool(good.all()):
            row = start + int((~good).nonzero()[0])
            raise CheckpointError(
                path,
                f"the model's output is NaN or infinite on example {row:,} of the {len(data):,} used from {data.source}",
                "Check that the data are prepared as for training (scaled, normalised), and that the weights are whole.",
            )
        start += len(output)


def _run(runner: Runner, inputs: Mapping[str, Tensor], data: Data) -> Tensor:
    """Return the model's output on a batch; what the model raises becomes a `ConfigError`."""
    import torch

    shapes = ", ".join(_shown(name, each) for name, each in inputs.items())
    takes = ", ".join(described(each) for each in runner.inputs if each.shape)
    expected = f"; {takes} was expected" if takes else ""
    tables = _tables(runner) if any(not each.is_floating_point() for each in inputs.values()) else ""
    with torch.no_grad(), UserCode("the model", f"The batch of {data.source} was {shapes}{expected}{tables}"):
        return runner(inputs)


def _shown(name: str, array: Tensor) -> str:
    """Return an array in words: `x float32 (2, 4)`, `ids int64 (2, 7) from 0 to 98`."""
    ids = "" if array.is_floating_point() or not array.numel() else f" from {int(array.min())} to {int(array.max())}"
    return f"{name} {str(array.dtype).removeprefix('torch.')} {tuple(array.shape)}{ids}"


def _tables(runner: Runner) -> str:
    """Return how many ids the network's tables have, in words; "" where it has none."""
    from torch import nn

    tables = [(name, each) for name, each in runner.network.named_modules() if isinstance(each, nn.Embedding)]
    said = [f"{name} takes ids 0 to {each.num_embeddings - 1:,}" for name, each in tables[:TABLES]]
    return f"; {', '.join(said)}" if said else ""
