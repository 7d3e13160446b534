"""Adam's moments in a Keras file: named in legacy HDF5, numbered since Keras 3.

Source: keras/src/optimizers/adam.py (Keras 3.0 to 3.15), tf_keras/optimizers/adam.py (2.11), optimizer_v2/adam.py (2.0).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.keras_config import as_dict, class_name
from regaudit.checkpoints.moments import certain, named, step_in
from regaudit.records import Moments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from regaudit.checkpoints.moments import Read
    from regaudit.records import Tensor

    Kept = Sequence[tuple[Tensor, Tensor]]

# Only these two: others give the same names, or as many variables, to something else (SGD's momentum, Adamax, Ftrl).
_ADAM = frozenset({"Adam", "AdamW"})
_NUMBERED = re.compile(r"optimizer/vars/(\d+)")
_NAMED = (
    re.compile(r"optimizer_weights/(?P<state>[^/]+)/(?P<path>.+)_(?P<kind>momentum|velocity)"),  # Keras 3
    re.compile(r"optimizer_weights/(?P<state>[^/]+)/(?P<kind>[mv])/(?P<path>.+)"),  # Keras 2.11 to 2.15
    re.compile(r"optimizer_weights/(?P<state>(?:training/)?[^/]+)/(?P<path>.+)/(?P<kind>[mv])"),  # earlier
)
_FIRSTS = frozenset({"momentum", "m"})
_STEPS = ("iteration", "iterations", "iter")
_STATISTICS = ("moving_mean", "moving_variance")  # never trained
# A layer's own variables, or its cell's. Those of layers in layers come in the order of the alphabet, not the model's.
_OWN = re.compile(r"/layers/[^/]+(?:/cell)?/vars/\d+")


def uses_adam(training: Mapping[str, Any]) -> bool:
    """Return whether the arguments of `compile` name Adam or AdamW, with no further variables than the moments."""
    chosen = as_dict(training.get("optimizer_config", training.get("optimizer")))
    return class_name(chosen) in _ADAM


def is_in_order(paths: Sequence[str]) -> bool:
    """Return whether weights that lie at these paths are sure to be listed in the order of the model."""
    return all(_OWN.fullmatch(path) for path in paths)


def in_state(tensors: Sequence[Tensor], apart: Sequence[Tensor], read: Read, *, in_order: bool) -> tuple[Moments, ...]:
    """Return the moments that Adam keeps of a model's weights.

    Args:
        tensors: The model's.
        apart: The optimizer's.
        read: As in `Checkpoint`, for both.
        in_order: Whether `tensors` are in the order in which the model trains them.
    """
    by_number = {int(found[1]): each for each in apart if (found := _NUMBERED.fullmatch(each.name))}
    if by_number:
        return _numbered(tensors, [by_number[key] for key in sorted(by_number)], read) if in_order else ()
    return _named(tensors, {each.name: each for each in apart}, read)


def _numbered(tensors: Sequence[Tensor], state: Sequence[Tensor], read: Read) -> tuple[Moments, ...]:
    """Return moments by their place: behind the counter and the learning rate, pair by pair or all first ones first.

    Both orders have been written. Their shapes tell them apart, or nothing is certain.
    """
    weights = [each for each in tensors if _is_trained(each)]
    shapes = [each.shape for each in weights]
    count = len(weights)
    scalars, kept = state[: max(len(state) - 2 * count, 0)], state[max(len(state) - 2 * count, 0) :]
    if not count or len(scalars) not in {1, 2} or any(each.shape for each in scalars):
        return ()
    layouts: list[Kept] = [
        list(zip(kept[::2], kept[1::2], strict=False)),
        list(zip(kept[:count], kept[count:], strict=False)),
    ]
    fitting = [each for each in layouts if [(m.shape, v.shape) for m, v in each] == [(n, n) for n in shapes]]
    if not fitting or any(each != fitting[0] for each in fitting):
        return ()
    step = step_in(scalars[0], read)
    pairs = zip(weights, fitting[0], strict=True)
    return certain(tensors, (Moments(tensor=each.name, first=m, second=v, step=step) for each, (m, v) in pairs))


def _named(tensors: Sequence[Tensor], state: Mapping[str, Tensor], read: Read) -> tuple[Moments, ...]:
    # Keras 3 puts underscores for the slashes of a weight's path
    plain: dict[str, list[str]] = {}
    for each in tensors:
        plain.setdefault(each.name.replace("/", "_"), []).append(each.name)
    both: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    at = ""
    for name, tensor in state.items():
        if found := next(filter(None, (form.fullmatch(name) for form in _NAMED)), None):
            same = plain.get(found["path"].replace("/", "_"), [])
            at = found["state"]
            if len(same) == 1:
                both[found["kind"] not in _FIRSTS][same[0]] = tensor
    counters = (state.get(f"optimizer_weights/{at}/{key}") for key in _STEPS)
    return named(tensors, *both, step_in(next(filter(None, counters), None), read))


def _is_trained(tensor: Tensor) -> bool:
    is_statistic = tensor.name.rpartition("/")[2] in _STATISTICS
    return DTYPES[tensor.dtype].is_float and not tensor.shares and not is_statistic
