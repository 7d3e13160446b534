"""ONNX operators that compute element by element, and reductions.

Source: https://onnx.ai/onnx/operators/ (opset 23).
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.probes.base import Tensor
    from regaudit.probes.graph.onnx_settings import Settings

# TensorProto.DataType; floats of every width are computed in float32.
_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "int64", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float32",
    11: "float32", 12: "int64", 13: "int64", 16: "float32",
}  # fmt: skip


def dtype_of(code: int) -> Any:  # noqa: ANN401
    """Return torch's dtype for ONNX's number of one.

    Raises:
        ValueError: It is none of numbers.
    """
    import torch

    if code not in _DTYPES:
        raise ValueError(f"the element type {code} is not known")
    return getattr(torch, _DTYPES[code])


def _unary(name: str) -> Callable[..., Tensor]:
    def apply(_: Settings, x: Tensor) -> Tensor:
        import torch

        return getattr(torch, name)(x)

    return apply


def _binary(name: str) -> Callable[..., Tensor]:
    def apply(_: Settings, x: Tensor, y: Tensor) -> Tensor:
        import torch

        return getattr(torch, name)(x, y)

    return apply


def _folded(name: str) -> Callable[..., Tensor]:
    def apply(_: Settings, *inputs: Tensor) -> Tensor:
        import torch

        return reduce(getattr(torch, name), inputs)

    return apply


def _mean(at: Settings, *inputs: Tensor) -> Tensor:
    return _folded("add")(at, *inputs) / len(inputs)


def _div(_: Settings, x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else x.div(y, rounding_mode="trunc")


def _mod(at: Settings, x: Tensor, y: Tensor) -> Tensor:
    return x.fmod(y) if at.integer("fmod") else x.remainder(y)


def _pow(_: Settings, x: Tensor, y: Tensor) -> Tensor:
    return x.pow(y).to(x.dtype)


def _cast(at: Settings, x: Tensor) -> Tensor:
    return x.to(dtype_of(at.integer("to", 1)))


def _cast_like(_: Settings, x: Tensor, y: Tensor) -> Tensor:
    return x.to(y.dtype)


def _identity(_: Settings, x: Tensor, *__: Tensor) -> Tensor:
    return x


def _dropout(at: Settings, x: Tensor, *_: Tensor) -> Any:  # noqa: ANN401
    import torch

    return (x, torch.ones_like(x, dtype=torch.bool)) if at.outputs > 1 else x


def _where(_: Settings, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return condition.where(x, y) if condition.is_floating_point() else x.where(condition, y)


def _clip(at: Settings, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    import torch

    low_, high_ = (_bound(at, name, given) for name, given in (("min", low), ("max", high)))
    if low_ == 0 and high_ is None:
        return torch.relu(x)
    return x if low_ is None and high_ is None else torch.clamp(x, low_, high_)


def _bound(at: Settings, name: str, given: Tensor | None) -> float | None:
    if given is not None and given.numel() == 1 and given.device.type != "meta":
        return float(given.item())
    found = at.attributes.get(name)
    return float(found) if isinstance(found, int | float) else None


def _activation(name: str, **defaults: float) -> Callable[..., Tensor]:
    """Return an activation of torch whose settings are the node's `alpha`, `gamma` or so, in torch's order."""

    def apply(at: Settings, x: Tensor) -> Tensor:
        from torch.nn import functional

        return getattr(functional, name)(x, *(at.number(key, value) for key, value in defaults.items()))

    return apply


def _selu(at: Settings, x: Tensor) -> Tensor:
    import torch

    alpha, gamma = at.number("alpha", 1.67326319217681884765625), at.number("gamma", 1.05070102214813232421875)
    return gamma * torch.where(x > 0, x, alpha * x.clamp(max=0).expm1())


def _hard_sigmoid(at: Settings, x: Tensor) -> Tensor:
    return (at.number("alpha", 0.2) * x + at.number("beta", 0.5)).clamp(0, 1)


def _thresholded(at: Settings, x: Tensor) -> Tensor:
    return x * (x > at.number("alpha", 1.0))


def _gelu(at: Settings, x: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.gelu(x, approximate=at.text("approximate", "none"))


def _swish(at: Settings, x: Tensor) -> Tensor:
    from torch.nn import functional

    alpha = at.number("alpha", 1.0)
    return functional.silu(x) if alpha == 1 else x * (alpha * x).sigmoid()


def prelu(_: Settings, x: Tensor, slope: Tensor) -> Tensor:
    """Return x where positive, slope · x elsewhere; the slope broadcasts as the file has it."""
    import torch

    return torch.where(x >= 0, x, slope * x)


def _softmax(name: str) -> Callable[..., Tensor]:
    def apply(at: Settings, x: Tensor) -> Tensor:
        if at.opset >= 13:
            return getattr(x, name)(at.integer("axis", -1))
        axis = at.integer("axis", 1) % max(1, x.ndim)  # before, all axes from this one on were one
        flat = x.reshape(*x.shape[:axis], -1) if x.ndim - axis > 1 else x
        return getattr(flat, name)(-1).reshape(x.shape)

    return apply


def _reduction(apply: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[..., Tensor]:
    def reduced(at: Settings, x: Tensor, axes: Tensor | None = None) -> Tensor:
        found = at.listed("axes", axes) or []
        if not found and at.integer("noop_with_empty_axes"):
            return x
        return apply(x, found or list(range(x.ndim)), bool(at.integer("keepdims", 1)))

    return reduced


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001
    for axis in sorted((each % x.ndim for each in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _arg(name: str) -> Callable[..., Tensor]:
    def apply(at: Settings, x: Tensor) -> Tensor:
        axis = at.integer("axis")
        if at.integer("select_last_index"):
            return x.shape[axis] - 1 - getattr(x.flip(axis), name)(axis, keepdim=bool(at.integer("keepdims", 1)))
        return getattr(x, name)(axis, keepdim=bool(at.integer("keepdims", 1)))

    return apply


def _cumsum(at: Settings, x: Tensor, axis: Tensor) -> Tensor:
    where = int(axis.item())
    x = x.flip(where) if at.integer("reverse") else x
    total = x.cumsum(where) - (x if at.integer("exclusive") else 0)
    return total.flip(where) if at.integer("reverse") else total


def _shift(at: Settings, x: Tensor, y: Tensor) -> Tensor:
    return x << y if at.text("direction") == "LEFT" else x >> y


def _is_inf(at: Settings, x: Tensor) -> Tensor:
    up, down = at.integer("detect_positive", 1), at.integer("detect_negative", 1)
    return (x.isposinf() if up else x.isnan() & False) | (x.isneginf() if down else x.isnan() & False)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{op: _unary(name) for op, name in (
        ("Abs", "abs"), ("Acos", "acos"), ("Acosh", "acosh"), ("Asin", "asin"), ("Asinh", "asinh"), ("Atan", "atan"),
        ("Atanh", "atanh"), ("BitwiseNot", "bitwise_not"), ("Ceil", "ceil"), ("Cos", "cos"), ("Cosh", "cosh"),
        ("Erf", "erf"), ("Exp", "exp"), ("Floor", "floor"), ("IsNaN", "isnan"), ("Log", "log"), ("Neg", "neg"),
        ("Not", "logical_not"), ("Reciprocal", "reciprocal"), ("Relu", "relu"), ("Round", "round"),
        ("Sigmoid", "sigmoid"), ("Sign", "sign"), ("Sin", "sin"), ("Sinh", "sinh"), ("Sqrt", "sqrt"), ("Tan", "tan"),
        ("Tanh", "tanh"),
    )},
    **{op: _binary(name) for op, name in (
        ("Add", "add"), ("Sub", "sub"), ("Mul", "mul"), ("And", "logical_and"), ("Or", "logical_or"),
        ("Xor", "logical_xor"), ("Equal", "eq"), ("Greater", "gt"), ("GreaterOrEqual", "ge"), ("Less", "lt"),
        ("LessOrEqual", "le"), ("BitwiseAnd", "bitwise_and"), ("BitwiseOr", "bitwise_or"), ("BitwiseXor", "bitwise_xor"),
    )},
    "Div": _div, "Mod": _mod, "Pow": _pow, "BitShift": _shift, "IsInf": _is_inf,
    "Max": _folded("maximum"), "Min": _folded("minimum"), "Sum": _folded("add"), "Mean": _mean,
    "Cast": _cast, "CastLike": _cast_like, "Identity": _identity, "Dropout": _dropout, "Where": _where, "Clip": _clip,
    "LeakyRelu": _activation("leaky_relu", alpha=0.01), "Elu": _activation("elu", alpha=1.0),
    "Celu": _activation("celu", alpha=1.0), "Selu": _selu, "ThresholdedRelu": _thresholded, "Gelu": _gelu,
    "Swish": _swish, "HardSigmoid": _hard_sigmoid, "HardSwish": _activation("hardswish"), "Mish": _activation("mish"),
    "Softplus": _activation("softplus"), "Softsign": _activation("softsign"), "PRelu": prelu,
    "Softmax": _softmax("softmax"), "LogSoftmax": _softmax("log_softmax"),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": _reduction(_prod),
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: x.norm(dim=axes, keepdim=keep)),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "ReduceLogSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep).log()),
    "ReduceLogSumExp": _reduction(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
    "ArgMax": _arg("argmax"), "ArgMin": _arg("argmin"), "CumSum": _cumsum,
}  # fmt: skip
