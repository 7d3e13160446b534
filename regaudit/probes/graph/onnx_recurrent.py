"""LSTM, GRU and RNN of ONNX by torch's: the gates are put into torch's order.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html (opset 22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regaudit.probes.graph.recurrent import RECURRENT as KERNELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.probes.base import Tensor
    from regaudit.probes.graph.onnx_settings import Settings

# Of each gate in torch's order, its place in ONNX's: i o f c → i f g o; z r h → r z n.
_ORDERS = {"lstm": (0, 2, 3, 1), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
_USUAL = {
    "lstm": ("sigmoid", "tanh", "tanh"),
    "gru": ("sigmoid", "tanh"),
    "rnn_tanh": ("tanh",),
    "rnn_relu": ("relu",),
}


def _recurrent(kind: str) -> Callable[..., Any]:
    def apply(at: Settings, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, *states: Tensor | None) -> Any:  # noqa: ANN401
        lengths, h, c, peepholes = [*states, None, None, None, None][:4]
        name = _checked(at, kind, lengths, peepholes)
        x = x.flip(0) if at.text("direction") == "reverse" else x
        directions, hidden = w.shape[0], r.shape[-1]
        h, c = (x.new_zeros(directions, x.shape[1], hidden) if each is None else each for each in (h, c))
        state = (h, c) if name == "lstm" else h
        y, *ends = _call(name, x, state, _flat(name, w, r, b), b is not None, directions)
        y = y.reshape(*y.shape[:2], directions, hidden).transpose(1, 2)
        y = y.flip(0) if at.text("direction") == "reverse" else y
        return (y, *ends)[: at.outputs] if at.outputs > 1 else y

    return apply


def _checked(at: Settings, kind: str, lengths: Tensor | None, peepholes: Tensor | None) -> str:
    """Return torch's name for the operator.

    Raises:
        ValueError: It does what torch's do not.
    """
    given = [each.lower() for each in at.several("activations") or []]
    name = kind if kind != "rnn" else f"rnn_{given[0] if given else 'tanh'}"
    usual = _USUAL.get(name, ())
    is_usual = not given or tuple(given) in {usual, usual * 2}
    if lengths is not None or peepholes is not None or at.integer("layout") or "clip" in at.attributes or not is_usual:
        raise ValueError("sequence lengths, peepholes, clipping and other activations than the usual are not known")
    if kind == "gru" and not at.integer("linear_before_reset"):
        raise ValueError("a GRU that resets before its product is not known")
    return name


def _flat(name: str, w: Tensor, r: Tensor, b: Tensor | None) -> list[Tensor]:
    found: list[Tensor] = []
    for direction in range(w.shape[0]):
        own = [w[direction], r[direction]]
        own += [] if b is None else list(b[direction].chunk(2))
        found += [_in_order(name, each) for each in own]
    return found


def _in_order(name: str, stacked: Tensor) -> Tensor:
    import torch

    gates = stacked.chunk(len(_ORDERS[name]))
    return torch.cat([gates[place] for place in _ORDERS[name]])


def _call(name: str, x: Tensor, state: Any, weights: list[Tensor], biased: bool, directions: int) -> Any:  # noqa: ANN401, FBT001
    return KERNELS[name](x, state, weights, biased, 1, 0.0, False, directions > 1, False)  # noqa: FBT003


RECURRENT: dict[str, Callable[..., Any]] = {
    "LSTM": _recurrent("lstm"),
    "GRU": _recurrent("gru"),
    "RNN": _recurrent("rnn"),
}
