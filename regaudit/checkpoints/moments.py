"""Whose moments are whose: what an optimizer keeps, with the tensor of the model that it was kept for.

Nothing is guessed. A moment counts where the file names its tensor, or where shapes and order leave one reading.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from regaudit.errors import CheckpointError
from regaudit.records import Moments

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from regaudit.records import Array, Tensor

    Read = Callable[[Tensor, int, int], Array]

LARGEST_STEP = 1 << 53  # beyond it a float64 can't count them


def certain(tensors: Iterable[Tensor], found: Iterable[Moments]) -> tuple[Moments, ...]:
    """Return the moments that have the shape of their tensor and are its only ones, in the order of the tensors.

    Args:
        tensors: The model's.
        found: Moments, as far as names tell.
    """
    kept = list(found)
    counts = Counter(each.tensor for each in kept)
    by_name = {each.tensor: each for each in kept if counts[each.tensor] == 1}
    pairs = ((tensor, by_name[tensor.name]) for tensor in tensors if tensor.name in by_name)
    return tuple(each for tensor, each in pairs if each.first.shape == each.second.shape == tensor.shape)


def named(
    tensors: Collection[Tensor],
    firsts: Mapping[str, Tensor],
    seconds: Mapping[str, Tensor],
    step: int | None = None,
) -> tuple[Moments, ...]:
    """Return the moments of one optimizer whose file says what they are of.

    Args:
        tensors: The model's.
        firsts: Running means of the gradient, by the name that the optimizer has for their tensor.
        seconds: Running means of its square.
        step: How many updates they have seen.
    """
    both = [name for name in firsts if name in seconds]
    called = names_of(both, tensors)
    pairs = ((called[name], firsts[name], seconds[name]) for name in both if name in called)
    return certain(tensors, (Moments(tensor=name, first=m, second=v, step=step) for name, m, v in pairs))


def names_of(names: Sequence[str], tensors: Collection[Tensor]) -> dict[str, str]:
    """Return the model's names by those that an optimizer uses: the same, or the same behind one prefix for all.

    A file may put its own key before the names of its tensors (`params/`, `model.`); an optimizer does not know it.
    """
    known = {each.name for each in tensors}
    same = {name: name for name in names if name in known}
    if same or not names:
        return same
    prefixes = [name.removesuffix(names[0]) for name in known if name.endswith((f"/{names[0]}", f".{names[0]}"))]
    if len(prefixes) != 1:
        return {}
    return {name: whole for name in names if (whole := prefixes[0] + name) in known}


def step_in(tensor: Tensor | None, read: Read) -> int | None:
    """Return the number of updates that a tensor of one element holds; None where it is no such number."""
    if tensor is None or tensor.size != 1:
        return None
    try:
        return as_step(float(read(tensor, 0, 1)[0].real))
    except CheckpointError:  # the weights may be whole where the counter is not
        return None


def as_step(value: object) -> int | None:
    """Return a number of updates, or None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    is_count = math.isfinite(value) and 0 <= value <= LARGEST_STEP if isinstance(value, float) else value >= 0
    return int(value) if is_count and value <= LARGEST_STEP else None
