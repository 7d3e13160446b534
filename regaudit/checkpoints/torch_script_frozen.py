"""Frozen TorchScript programs (`torch.jit.freeze`): the weights are constants, the calls that take them tell their use."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.checkpoints.torch_operators import OPERATORS
from regaudit.records import Module

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.records import Tensor

_CALL = re.compile(r"torch\.(\w{1,40})\(([^()]{0,2000})\)")
_CONSTANT = re.compile(r"CONSTANTS\.c\d{1,9}")


def constants_used(tensors: Iterable[Tensor], text: str) -> tuple[tuple[Tensor, ...], tuple[Module, ...]]:
    """Return the constants with what the program uses them for, and a module for each call that takes some.

    Args:
        tensors: Named `CONSTANTS.c0`, `CONSTANTS.c1` …, as in the text.
        text: The program.

    Returns:
        The tensors, `layer`, `use` and `axes` filled in where an operator of torch.nn takes them; the layers.
    """
    known = {tensor.name: tensor for tensor in tensors}
    modules: list[Module] = []
    count: Counter[str] = Counter()
    for match in _CALL.finditer(text):
        operator = OPERATORS.get(match[1])
        if operator is None or not _CONSTANT.search(match[2]):
            continue
        given = dict(zip(operator.arguments, match[2].split(", "), strict=False))
        used = {name: known[each] for name, each in given.items() if name in operator.uses and each in known}
        if not used or any(each.layer for each in used.values()):
            continue
        name = f"{match[1]}_{count[match[1]]}" if count[match[1]] else match[1]
        count[match[1]] += 1
        modules.append(Module(name=name, type=operator.type))
        for argument, tensor in used.items():
            use = operator.uses[argument]
            axes = operator.axes_of(use, len(tensor.shape))
            known[tensor.name] = replace(tensor, layer=name, use=use, axes=axes)
    return tuple(known.values()), tuple(modules)
