"""Graphs that do not have examples on axis 0 of every input: a recurrent state on axis 1, a single number for all.

Data have a row for each example whatever the graph takes; here they are laid out as the graph has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from regaudit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.probes.base import ModelInput, Tensor

SINGLE: Final = -1  # in place of an axis: one number for the whole batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What data give for one input, and on which axis of the graph's own input examples lie."""

    taken: ModelInput
    axis: int = 0

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows of examples as the graph takes them.

        Raises:
            ConfigError: The graph takes one number for all, and the examples have several.
        """
        if self.axis != SINGLE:
            return rows.movedim(0, self.axis) if self.axis else rows
        if rows.numel() and bool((rows != rows[0]).any()):
            raise ConfigError(
                f"the model takes a single {self.taken.name!r} for all examples; the data have {rows.min().item():g}"
                f" to {rows.max().item():g}"
            )
        return rows[0]


def layouts(inputs: Sequence[ModelInput]) -> tuple[Layout, ...]:
    """Return the layout of each input: examples lie on axis 0, but where that is fixed and one other axis is not.

    Args:
        inputs: As the graph has them.
    """
    is_any = any(each.shape and each.shape[0] is None for each in inputs)
    return tuple(_layout(each, is_any=is_any) for each in inputs)


def _layout(each: ModelInput, *, is_any: bool) -> Layout:
    if each.shape is None or not is_any:
        return Layout(taken=each)
    if not each.shape:
        return Layout(taken=replace(each, shape=(None,)), axis=SINGLE)
    free = [axis for axis, length in enumerate(each.shape) if length is None]
    if each.shape[0] is None or len(free) != 1:
        return Layout(taken=each)
    [axis] = free
    return Layout(taken=replace(each, shape=(None, *each.shape[:axis], *each.shape[axis + 1 :])), axis=axis)
