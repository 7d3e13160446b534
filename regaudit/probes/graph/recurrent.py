"""Torch's recurrent operators, with every shape checked first: called directly, they check none and write past the end.

`torch.nn.LSTM` makes these checks in Python; a graph calls what is below it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from regaudit.probes.base import Tensor

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _recurrent(
    name: str, x: Tensor, state: Any, weights: Sequence[Tensor], has_biases: bool, layers: int, _: float, __: bool,  # noqa: ANN401, FBT001
    both_ways: bool, batch_first: bool,  # noqa: FBT001
) -> Any:  # fmt: skip  # noqa: ANN401
    import torch

    directions = 2 if both_ways else 1
    states = list(state) if name == "lstm" else [state]
    if x.ndim != 3 or len(states) != (2 if name == "lstm" else 1) or any(each.ndim != 3 for each in states):
        raise ValueError(f"{name} takes (time, examples, features) and its states, found {_shapes([x, *states])}")
    hidden = states[0].shape[-1]
    wanted = (layers * directions, x.shape[0 if batch_first else 1], hidden)
    if any(tuple(each.shape) != wanted for each in states):
        raise ValueError(f"{name} takes states of shape {list(wanted)}, found {_shapes(states)}")
    needed = list(_weights(_GATES[name] * hidden, hidden, x.shape[-1], layers, directions, biased=has_biases))
    if [tuple(each.shape) for each in weights] != needed:
        raise ValueError(f"{name} takes weights of shapes {needed[:4]}, found {_shapes(weights)[:200]}")
    apply: Callable[..., Any] = getattr(torch, name)
    given = tuple(states) if name == "lstm" else state
    return apply(x, given, list(weights), has_biases, layers, 0.0, False, both_ways, batch_first)  # noqa: FBT003


def _weights(
    rows: int, hidden: int, features: int, layers: int, directions: int, *, biased: bool
) -> Iterator[tuple[int, ...]]:
    for layer in range(layers):
        for _ in range(directions):
            yield (rows, directions * hidden if layer else features)
            yield (rows, hidden)
            yield from [(rows,)] * 2 if biased else []


def _shapes(tensors: Sequence[Tensor]) -> str:
    return ", ".join(str(list(each.shape)) for each in tensors)


RECURRENT: dict[str, Callable[..., Any]] = {name: partial(_recurrent, name) for name in _GATES}
