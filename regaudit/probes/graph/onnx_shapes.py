"""ONNX operators that move elements: reshape, slice, gather, pad.

Source: https://onnx.ai/onnx/operators/ (opset 23).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from regaudit.probes.graph.bounds import MAX_ELEMENTS
from regaudit.probes.graph.errors import TooLarge
from regaudit.probes.graph.onnx_elementwise import dtype_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.probes.base import Tensor
    from regaudit.probes.graph.onnx_settings import Settings


def _numbers(values: list[int] | tuple[int, ...]) -> Tensor:
    import torch

    return torch.tensor(values, dtype=torch.int64)


def _shape(at: Settings, x: Tensor) -> Tensor:
    start, end = at.integer("start"), at.attributes.get("end")
    return _numbers(tuple(x.shape)[start:end])


def _size(_: Settings, x: Tensor) -> Tensor:
    return _numbers([x.numel()]).reshape(())


def _reshape(at: Settings, x: Tensor, shape: Tensor | None = None) -> Tensor:
    wanted = at.listed("shape", shape) or []
    if not at.integer("allowzero"):
        wanted = [x.shape[k] if n == 0 and k < x.ndim else n for k, n in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(at: Settings, x: Tensor) -> Tensor:
    cut = at.integer("axis", 1)
    cut = cut + x.ndim if cut < 0 else cut
    return x.reshape(math.prod(x.shape[:cut]), -1) if x.numel() else x.reshape(math.prod(x.shape[:cut]), 0)


def _transpose(at: Settings, x: Tensor) -> Tensor:
    return x.permute(at.several("perm") or tuple(range(x.ndim))[::-1])


def _squeeze(at: Settings, x: Tensor, axes: Tensor | None = None) -> Tensor:
    found = at.listed("axes", axes)
    if found is None:
        return x.squeeze()
    gone = {axis % x.ndim for axis in found}
    if any(x.shape[axis] != 1 for axis in gone):
        raise ValueError(f"an axis of {list(x.shape)} is to be left out that is longer than 1")
    return x.reshape([n for axis, n in enumerate(x.shape) if axis not in gone])


def _unsqueeze(at: Settings, x: Tensor, axes: Tensor | None = None) -> Tensor:
    found = at.listed("axes", axes) or []
    rank = x.ndim + len(found)
    for axis in sorted(each % rank for each in found):
        x = x.unsqueeze(axis)
    return x


def _concat(at: Settings, *inputs: Tensor) -> Tensor:
    import torch

    return torch.cat(inputs, at.integer("axis"))


def _split(at: Settings, x: Tensor, split: Tensor | None = None) -> Any:  # noqa: ANN401
    axis, sizes = at.integer("axis"), at.listed("split", split)
    if sizes is None:
        count = at.integer("num_outputs", at.outputs)
        sizes = [-(-x.shape[axis] // count)] * (count - 1)
        sizes.append(x.shape[axis] - sum(sizes))
    parts = x.split(sizes, axis)
    return parts if at.outputs > 1 else parts[0]


def _slice(
    at: Settings, x: Tensor, starts: Tensor | None = None, ends: Tensor | None = None,
    axes: Tensor | None = None, steps: Tensor | None = None,
) -> Tensor:  # fmt: skip
    first, last = at.listed("starts", starts) or [], at.listed("ends", ends) or []
    along = at.listed("axes", axes) or list(range(len(first)))
    strides = at.listed("steps", steps) or [1] * len(first)
    for start, stop, axis, step in zip(first, last, along, strides, strict=True):
        begin, end, stride = slice(start, stop, step).indices(x.shape[axis])
        if stride > 0:
            x = x.narrow(axis, begin, max(0, end - begin))
            x = x if stride == 1 else x.index_select(axis, _range(0, x.shape[axis], stride, x))
        else:
            x = x.index_select(axis, _range(begin, end, stride, x))
    return x


def _range(start: int, stop: int, step: int, x: Tensor) -> Tensor:
    import torch

    return torch.arange(start, stop, step, device=x.device) if (stop - start) * step > 0 else _numbers([]).to(x.device)


def gather(at: Settings, x: Tensor, indices: Tensor) -> Tensor:
    """Return entries of x along an axis; a table that is looked up by rows is an embedding."""
    from torch.nn import functional

    axis = at.integer("axis") % max(1, x.ndim)
    indices = indices.long()
    indices = indices.where(indices >= 0, indices + x.shape[axis])
    if axis == 0 and x.ndim == 2 and x.is_floating_point():
        return functional.embedding(indices, x)
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _gather_elements(at: Settings, x: Tensor, indices: Tensor) -> Tensor:
    axis = at.integer("axis")
    return x.gather(axis, indices.where(indices >= 0, indices + x.shape[axis]))


def _gather_nd(at: Settings, x: Tensor, indices: Tensor) -> Tensor:
    if at.integer("batch_dims"):
        raise ValueError("batch_dims is not known")
    return x[tuple(indices.unbind(-1))]


def _scatter_elements(at: Settings, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis, how = at.integer("axis"), at.text("reduction", "none")
    indices = indices.where(indices >= 0, indices + x.shape[axis])
    if how == "none":
        return x.scatter(axis, indices, updates)
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    return x.scatter_reduce(axis, indices, updates, names[how])


def _scatter_nd(at: Settings, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    how = at.text("reduction", "none")
    if how not in {"none", "add"}:
        raise ValueError(f"the reduction {how!r:.80} is not known")
    return x.index_put(tuple(indices.unbind(-1)), updates, accumulate=how == "add")


def _expand(_: Settings, x: Tensor, shape: Tensor) -> Tensor:
    import torch

    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(shape.tolist())))  # type: ignore[no-untyped-call]


def _tile(_: Settings, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(repeats.tolist())


def _constant_of_shape(at: Settings, shape: Tensor, *value: Tensor) -> Tensor:
    import torch

    fill = value[0].reshape(()) if value else torch.zeros(())
    return fill.expand(shape.tolist())


def _range_of(_: Settings, start: Tensor, stop: Tensor, step: Tensor) -> Tensor:
    import torch

    _require_count((stop.item() - start.item()) / step.item())
    return torch.arange(start.item(), stop.item(), step.item(), dtype=start.dtype, device=start.device)


def _require_count(count: float) -> None:
    if count > MAX_ELEMENTS:
        raise TooLarge(f"a list of {count:.3g} numbers is asked for; at most {MAX_ELEMENTS:,} elements are made")


def _pad(
    at: Settings, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    from torch.nn import functional

    found = at.listed("pads", pads) or []
    along = [axis % x.ndim for axis in (at.listed("axes", axes) or range(x.ndim))]
    before = dict(zip(along, found[: len(along)], strict=True))
    after = dict(zip(along, found[len(along) :], strict=True))
    mode = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}.get(at.text("mode", "constant"), "constant")
    fill = float(value.item()) if value is not None and value.numel() else at.number("value", 0.0)
    if mode == "constant":
        both = [n for axis in reversed(range(x.ndim)) for n in (before.get(axis, 0), after.get(axis, 0))]
        return functional.pad(x, both, value=fill)
    return _pad_by_index(x, before, after, mode)


def _pad_by_index(x: Tensor, before: dict[int, int], after: dict[int, int], mode: str) -> Tensor:
    # Pad by picking from x itself, axis by axis.
    import torch

    for axis, first in before.items():
        length = x.shape[axis]
        places = torch.arange(-first, length + after[axis], device=x.device)
        if mode == "replicate":
            places = places.clamp(0, length - 1)
        elif mode == "circular":
            places = places % length
        else:
            places = (places.abs() % (2 * length - 2)) if length > 1 else places * 0
            places = places.where(places < length, 2 * length - 2 - places)
        x = x.index_select(axis, places)
    return x


def _top_k(at: Settings, x: Tensor, count: Tensor | None = None) -> Any:  # noqa: ANN401
    number = at.integer("k") if count is None else int(count.item())
    found = x.topk(number, at.integer("axis", -1), bool(at.integer("largest", 1)), bool(at.integer("sorted", 1)))
    return tuple(found) if at.outputs > 1 else found.values


def _one_hot(at: Settings, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    import torch

    axis, number = at.integer("axis", -1), int(depth.item())
    _require_count(number)
    places = torch.arange(number, device=indices.device)
    hot = (indices.long() % number).unsqueeze(-1) == places
    return torch.where(hot, values[1], values[0]).movedim(-1, axis)


def _trilu(at: Settings, x: Tensor, k: Tensor | None = None) -> Tensor:
    number = 0 if k is None else int(k.item())
    return x.triu(number) if at.integer("upper", 1) else x.tril(number)


def _eye_like(at: Settings, x: Tensor) -> Tensor:
    import torch

    places = [torch.arange(n, device=x.device) for n in x.shape]
    made = (places[0][:, None] + at.integer("k")) == places[1]
    return made.to(dtype_of(at.integer("dtype")) if "dtype" in at.attributes else x.dtype)


def _non_zero(_: Settings, x: Tensor) -> Tensor:
    return x.nonzero().T


def _depth_to_space(at: Settings, x: Tensor) -> Tensor:
    size = at.integer("blocksize", 1)
    batch, channels, *window = x.shape
    inner = channels // size**2
    if at.text("mode", "DCR") == "CRD":
        parts = x.reshape(batch, inner, size, size, *window).permute(0, 1, 4, 2, 5, 3)
    else:
        parts = x.reshape(batch, size, size, inner, *window).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(batch, inner, window[0] * size, window[1] * size)


SHAPES: dict[str, Callable[..., Any]] = {
    "Shape": _shape, "Size": _size, "Reshape": _reshape, "Flatten": _flatten, "Transpose": _transpose,
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Concat": _concat, "Split": _split, "Slice": _slice, "Gather": gather,
    "GatherElements": _gather_elements, "GatherND": _gather_nd, "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd, "Expand": _expand, "Tile": _tile, "ConstantOfShape": _constant_of_shape, "Range": _range_of,
    "Pad": _pad, "TopK": _top_k, "OneHot": _one_hot, "Trilu": _trilu, "EyeLike": _eye_like, "NonZero": _non_zero,
    "DepthToSpace": _depth_to_space,
}  # fmt: skip
