"""Whole numbers in the data, for a model that says nothing of its inputs: ids, or counts that are numbers like others?"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Final

from regaudit.errors import RegauditError
from regaudit.probes.user_code import UserCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from regaudit.probes.base import Data, Runner, Tensor

MOST: Final = 6  # arrays of whole numbers: 64 ways to read them
EXAMPLES: Final = 2


def settled(runner: Runner, data: Data) -> Data:
    """Return the data with each array of whole numbers as ids or as floats, by the first way in which the model runs.

    Args:
        runner: Runs the user's code.
        data: With ids wherever the file has integers.

    Returns:
        The data as they were where no way runs: the error that follows tells why.
    """
    whole = [name for name, each in data.inputs.items() if not each.is_floating_point()]
    if not whole or len(whole) > MOST:
        return data
    batch, _ = next(data.batches(EXAMPLES))
    for floats in _subsets(whole):
        if _runs(runner, _as_floats(batch, floats)):
            return replace(data, inputs=_as_floats(data.inputs, floats))
    return data


def _subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    for size in range(len(names) + 1):
        yield from combinations(names, size)


def _as_floats(inputs: Mapping[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: each.float() if name in names else each for name, each in inputs.items()}


def _runs(runner: Runner, batch: Mapping[str, Tensor]) -> bool:
    import torch

    try:
        with torch.no_grad(), UserCode("the model"):
            runner(batch)
    except (RegauditError, RuntimeError, MemoryError):
        return False
    return True
