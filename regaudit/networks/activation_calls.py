"""Which activation a function of torch applies: by its name, or by what a chain of simple functions amounts to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regaudit.networks.places import Tensor

# Names of functions in torch, torch.nn.functional and torch.Tensor, without the underscore of in-place ones.
_NAMES = {
    **{name: name for name in (
        "relu", "relu6", "gelu", "silu", "sigmoid", "tanh", "softmax", "log_softmax", "leaky_relu", "elu", "selu",
        "celu", "softplus", "softsign", "mish", "hardtanh", "hardswish", "hardsigmoid", "hardshrink", "softshrink",
        "tanhshrink", "logsigmoid", "threshold", "rrelu", "prelu", "softmin",
    )},
    "expit": "sigmoid", "special_expit": "sigmoid", "log_sigmoid": "logsigmoid",
}  # fmt: skip
_CLAMPS = frozenset({"clamp", "clip", "clamp_min", "maximum"})
_SCALINGS = frozenset({"mul", "multiply", "__mul__", "__rmul__", "div", "divide", "true_divide", "__truediv__"})
_LINEAR = _SCALINGS | {"add", "sub", "neg", "__add__", "__radd__", "__sub__", "__rsub__", "__neg__", "rsub"}
_BENDS = frozenset({"erf", "tanh", "sigmoid", "exp", "pow", "__pow__", "square", "softplus", "relu6", "hardtanh", "clamp",
                    "hardsigmoid", "clip"})  # fmt: skip
POINTWISE = _LINEAR | _BENDS
_SAME = 1e-5  # relative to the largest |y|: float32 in another order of operations


def activation(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return the name of the activation that a call of a function applies to its first argument, or "".

    Args:
        name: `__name__` of the function.
        args: Its arguments by position.
        kwargs: Its arguments by name.
    """
    plain = name if name.startswith("__") else name.removesuffix("_")
    return _clamp(plain, args, kwargs) if plain in _CLAMPS else _NAMES.get(plain, "")


def in_place(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Return whether a call overwrites its first argument."""
    return kwargs.get("inplace") is True or (name.endswith("_") and not name.endswith("__"))


def out_of_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that gives what an in-place one writes."""
    import torch
    from torch.nn import functional

    name = function.__name__.removesuffix("_")
    found: Callable[..., Any] = getattr(functional, name, None) or getattr(torch, name)
    return found


def is_bent(name: str) -> bool:
    """Return whether a pointwise function is not linear."""
    return name in _BENDS


def composed(name: str, linear: Tensor, result: Tensor) -> str:
    """Return the activation y = f(z) that a product at the end of a chain of pointwise functions amounts to, or "".

    Exporters and older code write GELU as z·(1 + erf(z/√2))/2 and SiLU as z·σ(z). Compared are the values.

    Args:
        name: The last function of the chain.
        linear: z.
        result: What the chain gave, of z's shape.
    """
    import torch

    if name not in _SCALINGS or result.shape != linear.shape:
        return ""
    with torch.no_grad():
        z, y = linear.detach(), result.detach()
        tolerance = _SAME * float(y.abs().max()) if y.numel() else 0.0
        for known, function in _composites().items():
            if bool(((function(z) - y).abs() <= tolerance).all()):
                return known
    return ""


def _composites() -> dict[str, Callable[[Tensor], Tensor]]:
    from torch.nn import functional as f

    return {
        "gelu": f.gelu,
        "gelu_tanh": lambda z: f.gelu(z, approximate="tanh"),
        "silu": f.silu,
        "quick_gelu": lambda z: z * (1.702 * z).sigmoid(),
        "mish": f.mish,
        "hardswish": f.hardswish,
    }


def _clamp(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return relu for max(z, 0), relu6 with 6 on top, hardtanh for other pairs of limits."""
    low = args[1] if len(args) > 1 else kwargs.get("min", kwargs.get("other"))
    high = args[2] if len(args) > 2 else kwargs.get("max")
    low, high = _number(low), _number(high)
    if low is None:
        return ""
    if low == 0 and (high is None or name in {"clamp_min", "maximum"}):
        return "relu"
    return "" if high is None else "relu6" if (low, high) == (0, 6) else "hardtanh"


def _number(value: Any) -> float | None:  # noqa: ANN401
    if hasattr(value, "numel"):
        return float(value) if value.numel() == 1 else None
    return value if isinstance(value, int | float) else None
