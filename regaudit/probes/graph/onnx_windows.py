"""ONNX operators with weights or windows: products, convolutions, normalizations, pools, resizing.

Source: https://onnx.ai/onnx/operators/ (opset 23).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.probes.base import Tensor
    from regaudit.probes.graph.onnx_settings import Settings


def _gemm(at: Settings, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if at.integer("transA") else a
    b = b.T if at.integer("transB") else b
    product = a @ b * at.number("alpha", 1.0) if at.number("alpha", 1.0) != 1 else a @ b
    return product if c is None else product + (c if at.number("beta", 1.0) == 1 else at.number("beta", 1.0) * c)


def _matmul(_: Settings, a: Tensor, b: Tensor) -> Tensor:
    return a @ b


def _einsum(at: Settings, *inputs: Tensor) -> Tensor:
    import torch

    return torch.einsum(at.text("equation"), *inputs)


def _pads(
    at: Settings, x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]
) -> list[tuple[int, int]]:
    """Return how much each axis of the window gets before and after."""
    mode, rank = at.text("auto_pad", "NOTSET"), len(kernel)
    if mode.startswith("SAME"):
        found = []
        for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
            total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            small = total // 2
            found.append((small, total - small) if mode == "SAME_UPPER" else (total - small, small))
        return found
    flat = at.several("pads") or [0] * (2 * rank)
    return list(zip(flat[:rank], flat[rank:], strict=True)) if mode != "VALID" else [(0, 0)] * rank


def _padded(x: Tensor, pads: list[tuple[int, int]], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """Return x with what is left to pad by the operator itself, the same on both sides."""
    from torch.nn import functional

    if all(before == after for before, after in pads):
        return x, [before for before, _ in pads]
    return functional.pad(x, [n for pair in reversed(pads) for n in pair], value=value), [0] * len(pads)


def _window(at: Settings, kernel: list[int]) -> tuple[list[int], list[int]]:
    ones = [1] * len(kernel)
    return at.several("strides") or ones, at.several("dilations") or ones


def _conv(at: Settings, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    from torch.nn import functional

    kernel = list(weight.shape[2:])
    strides, dilations = _window(at, kernel)
    x, padding = _padded(x, _pads(at, x, kernel, strides, dilations))
    apply = getattr(functional, f"conv{_rank(kernel)}d")
    return apply(x, weight, bias, strides, padding, dilations, at.integer("group", 1))


def _conv_transpose(at: Settings, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    from torch.nn import functional

    kernel = list(weight.shape[2:])
    if at.text("auto_pad", "NOTSET") not in {"NOTSET", "VALID"} or "output_shape" in at.attributes:
        raise ValueError("auto_pad and output_shape of a ConvTranspose are not known")
    strides, dilations = _window(at, kernel)
    pads = _pads(at, x, kernel, strides, dilations)
    extra = at.several("output_padding") or [0] * len(kernel)
    least = [min(pair) for pair in pads]
    apply = getattr(functional, f"conv_transpose{_rank(kernel)}d")
    y = apply(x, weight, bias, strides, least, extra, at.integer("group", 1), dilations)
    for axis, ((before, after), cut) in enumerate(zip(pads, least, strict=True), start=2):
        y = y.narrow(axis, before - cut, y.shape[axis] - before - after + 2 * cut)
    return y


def _rank(kernel: list[int]) -> int:
    if not 1 <= len(kernel) <= 3:
        raise ValueError(f"a window of {len(kernel)} axes")
    return len(kernel)


def _batch_norm(at: Settings, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=at.number("epsilon", 1e-5))


def _layer_norm(at: Settings, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Any:  # noqa: ANN401
    from torch.nn import functional

    shape = x.shape[at.integer("axis", -1) % x.ndim :]
    own = tuple(scale.shape) == tuple(shape)
    y = functional.layer_norm(x, shape, scale if own else None, bias if own else None, at.number("epsilon", 1e-5))
    if not own:
        y = y * scale if bias is None else y * scale + bias
    return (y, None, None)[: at.outputs] if at.outputs > 1 else y


def _rms_norm(at: Settings, x: Tensor, scale: Tensor) -> Tensor:
    axes = tuple(range(at.integer("axis", -1) % x.ndim, x.ndim))
    return x * (x.square().mean(axes, keepdim=True) + at.number("epsilon", 1e-5)).rsqrt() * scale


def _group_norm(at: Settings, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    from torch.nn import functional

    groups, channels = at.integer("num_groups", 1), x.shape[1]
    if len(scale) != channels:  # before opset 21, one for each group
        scale, bias = (each.repeat_interleave(channels // groups) for each in (scale, bias))
    return functional.group_norm(x, groups, scale, bias, at.number("epsilon", 1e-5))


def _instance_norm(at: Settings, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.instance_norm(x, weight=scale, bias=bias, eps=at.number("epsilon", 1e-5))


def _lp_normalization(at: Settings, x: Tensor) -> Tensor:
    return x / x.norm(at.integer("p", 2), at.integer("axis", -1), keepdim=True)


def _lrn(at: Settings, x: Tensor) -> Tensor:
    from torch.nn import functional

    alpha, beta, bias = at.number("alpha", 1e-4), at.number("beta", 0.75), at.number("bias", 1.0)
    return functional.local_response_norm(x, at.integer("size", 1), alpha, beta, bias)


def _max_pool(at: Settings, x: Tensor) -> Tensor:
    from torch.nn import functional

    if at.outputs > 1:
        raise ValueError("the indices of a MaxPool are not known")
    kernel = at.several("kernel_shape") or []
    strides, dilations = _window(at, kernel)
    pads = _pads(at, x, kernel, strides, dilations)
    lowest = -math.inf if x.is_floating_point() else 0.0
    x, padding = (x, [p for p, _ in pads]) if _fits(pads, kernel) else _padded(x, pads, lowest)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError("a MaxPool pads more than half of its window")
    apply = getattr(functional, f"max_pool{_rank(kernel)}d")
    return apply(x, kernel, strides, padding, dilations, bool(at.integer("ceil_mode")))


def _fits(pads: list[tuple[int, int]], kernel: list[int]) -> bool:
    return all(a == b and 2 * a <= k for (a, b), k in zip(pads, kernel, strict=True))


def _average_pool(at: Settings, x: Tensor) -> Tensor:
    # Average over windows; where padding does not count, the sum is divided by how many elements there are.
    from torch.nn import functional

    kernel = at.several("kernel_shape") or []
    strides, dilations = _window(at, kernel)
    if any(d != 1 for d in dilations):
        raise ValueError("dilations of an AveragePool are not known")
    pads = _pads(at, x, kernel, strides, dilations)
    ceil, counts = bool(at.integer("ceil_mode")), bool(at.integer("count_include_pad"))
    apply = getattr(functional, f"avg_pool{_rank(kernel)}d")
    if _fits(pads, kernel):
        return apply(x, kernel, strides, [p for p, _ in pads], ceil, counts)
    flat = [n for pair in reversed(pads) for n in pair]
    y = apply(functional.pad(x, flat), kernel, strides, 0, ceil)
    return y if counts else y / apply(functional.pad(x.new_ones(x.shape), flat), kernel, strides, 0, ceil)


def _global_average(_: Settings, x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def _global_max(_: Settings, x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def _resize(at: Settings, x: Tensor, *inputs: Tensor | None) -> Tensor:
    # Resize by the nearest element or linearly, as torch does; other ways to place the pixels are not known.
    from torch.nn import functional

    held = [*inputs, None, None, None][:3]
    scales, sizes = (held[0], None) if len(inputs) == 1 else (held[1], held[2])
    mode = at.text("mode", "nearest")
    place = at.text("coordinate_transformation_mode", "half_pixel") if at.opset > 10 else "asymmetric"
    target = _target(at, x, scales, sizes)
    if mode == "nearest":
        if place not in {"asymmetric", "half_pixel"} or (place == "half_pixel" and not _is_multiple(x, target)):
            raise ValueError(f"Resize with {place!r:.40} is not known")
        if place == "asymmetric" and at.text("nearest_mode", "round_prefer_floor") != "floor" and at.opset > 10:
            raise ValueError("Resize to the nearest element is only known with the mode floor")
        return functional.interpolate(x, target, mode="nearest")
    kind = {3: "linear", 4: "bilinear", 5: "trilinear"}.get(x.ndim, "")
    if mode != "linear" or place not in {"half_pixel", "pytorch_half_pixel", "align_corners"} or not kind:
        raise ValueError(f"Resize with {mode!r:.40} and {place!r:.40} is not known")
    return functional.interpolate(x, target, mode=kind, align_corners=place == "align_corners")


def _target(at: Settings, x: Tensor, scales: Tensor | None, sizes: Tensor | None) -> list[int]:
    if at.several("axes") is not None or at.integer("antialias"):
        raise ValueError("axes and antialias of a Resize are not known")
    if sizes is not None and sizes.numel():
        whole = sizes.tolist()
    else:
        factors = at.several("scales") if scales is None else scales.tolist()
        whole = [math.floor(n * f) for n, f in zip(x.shape, factors or [], strict=True)]
    if tuple(whole[:2]) != tuple(x.shape[:2]):
        raise ValueError("a Resize of examples or channels is not known")
    return [int(n) for n in whole[2:]]


def _is_multiple(x: Tensor, target: list[int]) -> bool:
    return all(n and t % n == 0 for n, t in zip(x.shape[2:], target, strict=True))


WINDOWS: dict[str, Callable[..., Any]] = {
    "Gemm": _gemm, "MatMul": _matmul, "Einsum": _einsum, "Conv": _conv, "ConvTranspose": _conv_transpose,
    "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm, "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm, "InstanceNormalization": _instance_norm, "LpNormalization": _lp_normalization,
    "LRN": _lrn, "MaxPool": _max_pool, "AveragePool": _average_pool, "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max, "Resize": _resize, "Upsample": _resize,
}  # fmt: skip
