"""The network of the demonstration, as `--model` names it, and its training."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.penalties.training import Penalties
    from regaudit.records import Array

    Network: TypeAlias = Any  # torch.nn.Module

BUILD: Final = "regaudit.demo.network:build"
STEPS: Final = 1000
BATCH: Final = 32
LEARNING_RATE: Final = 3e-3
_HIDDEN: Final = 64


def build() -> Network:
    """Return 64 inputs, 64 hidden units with ReLU, 10 classes."""
    from torch import nn

    return nn.Sequential(nn.Linear(64, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 10))


def trained(rows: tuple[Array, Array], penalty: Penalties, seed: int) -> Network:
    """Return a network trained with a penalty: Adam, with proximal steps for L1 on weights.

    Args:
        rows: Images and digits.
        penalty: Whatever it is on.
        seed: Of the initial weights and the batches, so that penalties differ in nothing else.
    """
    import torch

    images, labels = (torch.from_numpy(each) for each in rows)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = build()
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        rest = penalty.without_l1()
        for _ in range(STEPS):
            batch = torch.randint(len(images), (BATCH,))
            loss = torch.nn.functional.cross_entropy(network(images[batch]), labels[batch]) + rest(network)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            penalty.proximal_step(network, optimizer)
    return network


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one core: on matrices this small, several mostly wait for each other (12 times as long on a busy machine).

    Yields:
        Nothing.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
