"""How much is trained to try the penalties, by how much work one example of the network is."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regaudit.records import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.probes.base import Session

_STACKED_CONV = 3  # convolutions stack badly: so many times the work of a dense layer's


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is trained.

    Args:
        few: Only the likeliest penalties.
        replicas: Networks for each penalty.
        steps: Of the first trainings.
        best: How many of the best go on.
        longer: Steps of the second trainings.
        batch: Examples of one step.
    """

    few: bool
    replicas: int
    steps: int
    best: int
    longer: int
    batch: int


# By products of weight and input for an example. Together the trainings of a row cost one to two trainings of 600 steps.
SMALL: Final = (
    1e5  # products for an example up to which threads cost more than they give, and one training takes seconds
)
EFFORTS: Final[tuple[tuple[float, Effort], ...]] = (
    (5e3, Effort(few=False, replicas=2, steps=75, best=4, longer=170, batch=64)),
    (1e5, Effort(few=True, replicas=2, steps=60, best=3, longer=80, batch=32)),
    (1e7, Effort(few=True, replicas=1, steps=60, best=2, longer=60, batch=32)),
)
# For what cannot be stacked: 8 penalties and 50 steps, then 5 and 80, as many steps in all as one training takes.
ALONE: Final = Effort(few=True, replicas=1, steps=50, best=2, longer=80, batch=32)


def work_of(session: Session) -> float:
    """Return the products of weight and input that one example takes, convolutions counted for what they cost in a stack.

    Args:
        session: With the network; it runs on one example.
    """
    import torch

    from regaudit.probes.observing import observe

    inputs = {name: each[:1] for name, each in session.train.inputs.items()}
    with torch.no_grad():
        _, seen = observe(session.runner, inputs)
    parameters = dict(session.runner.network.named_parameters())
    roles = {layer.name: layer.role for layer in session.layers}
    total = 0.0
    for name, each in seen.items():
        if each.place.kernel in parameters and roles.get(name) not in {Role.EMBEDDING, Role.POSITIONAL}:
            kernel = parameters[each.place.kernel]
            units = each.linear.shape[each.place.channel_axis]
            factor = _STACKED_CONV if roles.get(name) in {Role.CONV, Role.DEPTHWISE, Role.CONV_TRANSPOSE} else 1
            total += factor * kernel.numel() * each.linear.numel() / units
    return total + _recurrent_work(session)


def _recurrent_work(session: Session) -> float:
    """Return the products of recurrent layers, whose steps cannot be observed: each weight once for every element of a row."""
    import torch

    modules = [each for each in session.runner.network.modules() if isinstance(each, torch.nn.RNNBase)]
    steps = max((each.shape[1] for each in session.train.inputs.values() if each.ndim > 1), default=1)
    return float(steps * sum(p.numel() for each in modules for p in each.parameters()))


@contextmanager
def one_thread(*, is_wanted: bool) -> Iterator[None]:
    """Let torch compute in one thread while open: many threads spend more on small products than they save."""
    import torch

    before = torch.get_num_threads()
    try:
        if is_wanted:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
