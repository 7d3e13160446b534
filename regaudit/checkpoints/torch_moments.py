"""Adam's moments in a torch optimizer's state: parameters have numbers there, and rarely names.

Source: torch/optim/optimizer.py (`state_dict`; `param_names` since 2.6), torch/optim/adam.py, PyTorch 2.13.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from regaudit.checkpoints import limits
from regaudit.checkpoints.moments import as_step, certain, names_of, step_in
from regaudit.checkpoints.torch_declared import (
    Optimizer,
    optimizer,
    parameters,
    stated_names,
    trainable,
)
from regaudit.checkpoints.torch_objects import fields
from regaudit.records import Moments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from regaudit.checkpoints.moments import Read
    from regaudit.records import Tensor

    Shape: TypeAlias = tuple[int, ...]

_FIRST, _SECOND, _STEP = "exp_avg", "exp_avg_sq", "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What the optimizer keeps for one parameter of a group; no moments where it never had a gradient."""

    first: Tensor | None
    second: Tensor | None
    step: Tensor | int | None

    @property
    def shape(self) -> Shape | None:
        return self.first.shape if self.first else None


def in_states(
    states: Mapping[str, object],
    tensors: Sequence[Tensor],
    apart: Sequence[Tensor],
    read: Read,
    *,
    in_order: bool = True,
) -> tuple[Moments, ...]:
    """Return the moments that optimizers keep of a model's tensors.

    Args:
        states: State dicts by what the names of their tensors begin with.
        tensors: The model's.
        apart: The optimizers' tensors.
        read: As in `Checkpoint`, for both.
        in_order: Whether `tensors` are in the order in which the model has them, as in a state dict.
    """
    stored = {each.name: each for each in apart}
    found = (optimizer(prefix, state) for prefix, state in states.items())
    moments = (each for state in found if state for each in _in_state(state, tensors, stored, read, in_order=in_order))
    return certain(tensors, moments)


def _in_state(
    of: Optimizer, tensors: Sequence[Tensor], stored: Mapping[str, Tensor], read: Read, *, in_order: bool
) -> Iterator[Moments]:
    groups = [[_kept(of, key, stored) for key in group] for group in parameters(of)]
    if sum(map(len, groups)) > limits.TORCH_MATCHED.value:
        return
    stated = stated_names(of)
    if stated and [len(each) for each in stated] == [len(each) for each in groups]:
        flat = [name for group in stated for name in group]
        called = names_of(flat, tensors)
        pairs = [(called.get(name), kept) for name, kept in zip(flat, (k for g in groups for k in g), strict=True)]
    else:
        pairs = list(_by_shape(groups, trainable(tensors), in_order=in_order))
    for name, kept in pairs:
        if name and kept.first and kept.second:
            step = kept.step if isinstance(kept.step, int) else step_in(kept.step, read)
            yield Moments(tensor=name, first=kept.first, second=kept.second, step=step, family=of.family)


def _kept(of: Optimizer, key: object, stored: Mapping[str, Tensor]) -> _Kept:
    if not isinstance(key, int | str):
        return _Kept(first=None, second=None, step=None)
    at = f"{of.key}.state.{key}"
    step = as_step(fields(of.state.get(key)).get(_STEP))  # a plain number before torch 1.12
    return _Kept(
        first=stored.get(f"{at}.{_FIRST}"),
        second=stored.get(f"{at}.{_SECOND}"),
        step=stored.get(f"{at}.{_STEP}") if step is None else step,
    )


def _by_shape(groups: list[list[_Kept]], tensors: list[Tensor], *, in_order: bool) -> Iterator[tuple[str, _Kept]]:
    """Yield names and states, as far as shapes and order leave one reading.

    Every group keeps the model's order, but the groups' own order says nothing. So a group has the tensors of its
    shapes if no other has such a shape, and if they follow each other as in the model. Where they do not, a shape that
    only one tensor and one state have still tells.
    """
    shapes = [[kept.shape for kept in group] for group in groups]
    model = Counter(each.shape for each in tensors)
    states = Counter(shape for group in shapes for shape in group if shape is not None)
    if any(count > model[shape] for shape, count in states.items()):
        return  # the optimizer of some other model
    is_whole = len(groups) == 1 and len(groups[0]) == len(tensors)
    owners = Counter(shape for group in shapes for shape in set(group))
    where: dict[Shape | None, list[int]] = {}
    for i, each in enumerate(tensors):
        where.setdefault(each.shape, []).append(i)
    for group in groups:
        mine = {kept.shape for kept in group if kept.shape is not None and owners[kept.shape] == 1}
        members = group if is_whole else [kept for kept in group if kept.shape in mine]
        places = tensors if is_whole else [tensors[i] for i in sorted(chain.from_iterable(where[s] for s in mine))]
        if in_order and _agree(members, places):
            yield from ((each.name, kept) for each, kept in zip(places, members, strict=True))
        else:
            alone = (kept for kept in group if kept.shape is not None and model[kept.shape] == states[kept.shape] == 1)
            yield from ((tensors[where[kept.shape][0]].name, kept) for kept in alone)


def _agree(members: list[_Kept], places: list[Tensor]) -> bool:
    if len(members) != len(places):
        return False
    return all(kept.shape in (each.shape, None) for kept, each in zip(members, places, strict=True))
