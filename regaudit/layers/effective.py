"""The weight that the network really uses, where the file stores it in pieces.

Weight norm, spectral norm, pruning masks and scaled 8-bit floats: each is computed row by row on demand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from regaudit.layers.dequantize_noise import FLOATS, float_steps, noise_note
from regaudit.layers.values import Values, computed, row_blocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.records import Array

FP8_BLOCK = 128  # rows and columns that share a scale where the configuration names none (DeepSeek-V3, 2024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """The leaves of a module after its pieces were joined.

    `notes` are evidence sentences; `refused` are leaves that cannot be joined, with the reason.
    """

    values: Mapping[str, Values]
    notes: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def effective(values: Mapping[str, Values], block: tuple[int, int] | None = None) -> Effective:
    """Return a module's leaves with every reparametrised one replaced by what it evaluates to.

    Args:
        values: Arrays by leaf name.
        block: Rows and columns that share one scale of an 8-bit float weight, where the configuration says.

    Returns:
        The leaves that remain, how they were made, and what could not be.
    """
    joined = dict(values)
    notes: list[str] = []
    refused: dict[str, str] = {}
    for leaf in values:
        made = _join(leaf, joined, block)
        if made is None:
            continue
        target, pieces, result, note = made
        for piece in pieces:
            joined.pop(piece, None)
        if result is None:
            refused.update(dict.fromkeys(pieces, note))
        else:
            joined[target] = result
            notes.append(note)
    return Effective(values=joined, notes=tuple(notes), refused=refused)


_Joined = tuple[str, tuple[str, ...], Values | None, str]


def _join(leaf: str, values: Mapping[str, Values], block: tuple[int, int] | None) -> _Joined | None:
    """Return the target leaf, the pieces, their value (None if not computable) and a note; None for a plain leaf."""
    base, _, kind = leaf.rpartition("_")
    if leaf not in values or not base:
        return None
    if kind == "g" and f"{base}_v" in values:
        return base, (leaf, f"{base}_v"), *weight_norm(values[leaf], values[f"{base}_v"])
    if kind in {"orig", "bar"}:
        return _original(base, leaf, values)
    if leaf.endswith(("_scale", "_scale_inv")):
        target = leaf.removesuffix("_inv").removesuffix("_scale")
        if target in values and values[target].dtype.startswith("F8"):
            return target, (target, leaf), *scaled(values[target], values[leaf], block)
    return None


def _original(base: str, leaf: str, values: Mapping[str, Values]) -> _Joined:
    original = values[leaf]
    mask, u, v = (values.get(f"{base}_{suffix}") for suffix in ("mask", "u", "v"))
    if mask is not None and mask.shape == original.shape:
        return base, (leaf, f"{base}_mask"), masked(original, mask), "pruned: the weight is original · mask"
    if u is not None and u.ndim == 1 and u.size in original.shape:
        pieces = tuple(f"{base}_{s}" for s in ("u", "v") if f"{base}_{s}" in values)
        return base, (leaf, *pieces), spectral_norm(original, u, v), "spectral norm: the weight is original / uᵀWv"
    kind = "an orthogonal" if f"{base}_base" in values else "an unknown"
    pieces = tuple(p for p in (leaf, f"{base}_base") if p in values)
    return base, pieces, None, f"{kind} parametrization: the effective weight is not computed; save the plain weight"


def weight_norm(g: Values, v: Values) -> tuple[Values | None, str]:
    """Return g·v/‖v‖, the norm taken over the axes along which g has length 1.

    Source: Salimans and Kingma, 2016 (arXiv:1602.07868); torch.nn.utils.parametrizations.weight_norm.
    """
    kept = _kept_axes(g, v)
    if kept is None:
        return None, f"weight norm with g of shape {g.shape} and v of shape {v.shape}: these do not fit"
    others = tuple(axis for axis in range(v.ndim) if axis not in kept)

    def squares(block: Array) -> Array:
        return np.asarray((block.astype(np.float64) ** 2).sum(axis=others, keepdims=True))

    @cache
    def whole_norm() -> Array:
        return np.sqrt(sum(squares(v.rows(a, b)) for a, b in row_blocks(v)))

    def rows(start: int, stop: int) -> Array:
        block = v.rows(start, stop).astype(np.float64)
        norm = np.sqrt(squares(block)) if 0 in kept else whole_norm()
        gain = g.rows(start, stop) if 0 in kept and g.ndim else g.whole()
        gain = gain.reshape([block.shape[axis] if axis in kept else 1 for axis in range(v.ndim)])
        with np.errstate(all="ignore"):  # a zero row is 0/0 in the network too: it comes through as NaN
            return np.asarray(gain * block / norm)

    over = ", ".join(map(str, kept)) or "none"
    return computed((g, v), v.shape, rows), f"weight norm: the weight is g·v/‖v‖, one g for each index of axis {over}"


def _kept_axes(g: Values, v: Values) -> tuple[int, ...] | None:
    if g.size == 1:
        return (0,) if v.shape[:1] == (1,) else ()
    if g.ndim == v.ndim and all(n in {1, m} for n, m in zip(g.shape, v.shape, strict=True)):
        return tuple(axis for axis, n in enumerate(g.shape) if n == v.shape[axis] and n > 1)
    return (0,) if g.shape == v.shape[:1] else None


def spectral_norm(original: Values, u: Values, v: Values | None) -> Values:
    """Return W/σ with σ = uᵀWv from the stored power iteration (‖Wᵀu‖ where v is not stored).

    W is the kernel with the axis that u runs over in front, flattened to a matrix.

    Source: Miyato et al., 2018 (arXiv:1802.05957); torch.nn.utils.parametrizations.spectral_norm.
    """
    axis = original.shape.index(u.size)

    @cache
    def sigma() -> float:
        left = u.whole().astype(np.float64)
        parts = [
            _contract(original.rows(a, b), left[a:b] if axis == 0 else left, axis) for a, b in row_blocks(original)
        ]
        product = sum(parts) if axis == 0 else np.concatenate(parts)
        flat = np.asarray(product).reshape(-1)
        if v is None or v.size != flat.size:
            return float(np.linalg.norm(flat))
        return float(flat @ v.whole().astype(np.float64).reshape(-1))

    def rows(start: int, stop: int) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(original.rows(start, stop).astype(np.float64) / sigma())

    sources = (original, u) if v is None else (original, u, v)
    return computed(sources, original.shape, rows)


def _contract(block: Array, left: Array, axis: int) -> Array:
    return np.tensordot(left, block.astype(np.float64), axes=([0], [axis]))


def masked(original: Values, mask: Values) -> Values:
    """Return the element-wise product with a pruning mask.

    Source: torch.nn.utils.prune.
    """

    def flat(start: int, stop: int) -> Array:
        return np.asarray(original.flat(start, stop) * mask.flat(start, stop))

    return Values(tensors=(*original.tensors, *mask.tensors), dtype=original.dtype, shape=original.shape, flat=flat)


def scaled(weight: Values, scale: Values, block: tuple[int, int] | None) -> tuple[Values | None, str]:
    """Return an 8-bit float weight times its scale: one for the tensor, a row, or a block of rows and columns.

    Source: `weight_scale` of compressed-tensors; `weight_scale_inv` of DeepSeek-V3, which multiplies too.
    """
    if weight.ndim != 2 or scale.ndim > 2:
        return None, f"8-bit float weight of shape {weight.shape} with scales of shape {scale.shape}: not dequantised"
    grid = scale.shape if scale.ndim == 2 else (scale.size, 1)
    steps = [_step(n, s, b) for n, s, b in zip(weight.shape, grid, block or (FP8_BLOCK, FP8_BLOCK), strict=True)]
    if None in steps:
        return None, f"8-bit float weight of shape {weight.shape} with scales of shape {scale.shape}: not dequantised"
    down, across = (step or 1 for step in steps)

    def factors(start: int, stop: int) -> Array:
        first, last = start // down, -(-stop // down)
        blocks = scale.flat(first * grid[1], last * grid[1]).astype(np.float64).reshape(-1, grid[1])
        blocks = blocks[np.arange(start, stop) // down - first]
        return np.repeat(blocks, across, axis=1)[:, : weight.shape[1]]

    def rows(start: int, stop: int) -> Array:
        return np.asarray(weight.rows(start, stop) * factors(start, stop))

    def spacing(start: int, stop: int) -> Array:
        return np.asarray(float_steps(weight.rows(start, stop), weight.dtype) * factors(start, stop))

    values = computed((weight, scale), weight.shape, rows)
    noise = noise_note(values, computed((weight, scale), weight.shape, spacing)) if weight.dtype in FLOATS else ()
    note = f"{weight.dtype} times its scale, one for each block of {down} × {across}"
    return values, "; ".join((note, *noise))


def _step(length: int, count: int, block: int) -> int | None:
    """Return how many neighbours share a scale; None where length and count do not fit."""
    if -(-length // block) == count:
        return block
    return length // count if count and length % count == 0 else None
