"""Parts of a fused kernel, each measured alone: query, key and value; gate and up; the gates of an RNN."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from regaudit.layers.names import components
from regaudit.records import Axis, Layer, Parameter, Role, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from regaudit.layers.architecture import Architecture
    from regaudit.records import Array

QKV = ("query", "key", "value")
_KV = ("key", "value")
_GATE_UP = ("gate", "up")

_FUSED_QKV = frozenset({"qkv", "qkv_proj", "c_attn", "Wqkv", "wqkv", "in_proj_weight", "attn_qkv", "W_pack", "to_qkv",
                        "query_key_value", "linear_qkv", "in_proj"})  # fmt: skip
_FUSED_KV = frozenset({"kv", "to_kv"})
_FUSED_GATE = frozenset({"gate_up_proj", "gate_up", "w12", "ffn_gate_up"})
# Per head, query, key and value rows lie together: (heads, 3, head_dim).
_INTERLEAVED = frozenset({"gpt_neox", "gpt_neox_japanese", "bloom", "falcon", "RefinedWeb", "deberta", "persimmon"})
_UNKNOWN_ORDER = frozenset({"codegen", "moss"})  # (model-parallel blocks, q, v, k): not (q, k, v)
_PER_HEAD_NAMES = frozenset({"query_key_value", "linear_qkv"})  # Megatron and its heirs: the order differs by model


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the OUT axis divides: `groups` runs of rows, in each run `lengths[k]` rows of part k."""

    names: tuple[str, ...]
    lengths: tuple[int, ...]
    groups: int = 1
    reason: str

    @property
    def total(self) -> int:
        """Rows in all."""
        return self.groups * sum(self.lengths)


def split(layer: Layer, architecture: Architecture) -> tuple[Layer, ...]:
    """Return the parts of a fused layer, or the layer alone; where the order is unknown its evidence says so."""
    kernel = layer.get(Use.KERNEL)
    if kernel is None or kernel.axes.count(Axis.OUT) != 1:
        return (layer,)
    found = _plan(_stem(layer), kernel.extent(Axis.OUT), kernel.extent(Axis.IN), layer.role, architecture)
    if isinstance(found, str):
        return (replace(layer, evidence=(*layer.evidence, found)),) if found else (layer,)
    return parts(layer, found)


def parts(layer: Layer, plan: Plan) -> tuple[Layer, ...]:
    """Return a layer for each part of a plan, its parameters cut along their OUT axes."""
    return tuple(
        replace(
            layer,
            name=_part_name(layer.name, name),
            part=f"{layer.part} {name}".strip(),
            parameters=tuple(cut(p, plan, k) for p in layer.parameters),
            evidence=(*layer.evidence, plan.reason),
        )
        for k, name in enumerate(plan.names)
    )


def cut(parameter: Parameter, plan: Plan, k: int) -> Parameter:
    """Return part k of a parameter; it stays whole where its OUT axis does not fit the plan."""
    axis = parameter.axes.index(Axis.OUT) if Axis.OUT in parameter.axes else -1
    if axis < 0 or parameter.shape[axis] != plan.total:
        return parameter
    length, offset = plan.lengths[k], sum(plan.lengths[:k])
    shape = (*parameter.shape[:axis], plan.groups * length, *parameter.shape[axis + 1 :])
    rows = (
        _rows_of(parameter, plan, offset, length) if axis == 0 else _columns_of(parameter, plan, axis, offset, length)
    )
    return replace(parameter, shape=shape, load=rows)


def _rows_of(parameter: Parameter, plan: Plan, offset: int, length: int) -> Callable[[int, int], Array]:
    """Return a loader of the part's rows: read where they lie, run by run."""
    run = sum(plan.lengths)

    def rows(start: int, stop: int) -> Array:
        if plan.groups == 1:
            return parameter.load(offset + start, offset + stop)
        first, last = start // length, -(-stop // length)
        block = parameter.load(first * run, last * run)
        block = block.reshape(last - first, run, *block.shape[1:])[:, offset : offset + length]
        block = block.reshape((last - first) * length, *block.shape[2:])
        return np.ascontiguousarray(block[start - first * length : stop - first * length])

    return rows


def _columns_of(parameter: Parameter, plan: Plan, axis: int, offset: int, length: int) -> Callable[[int, int], Array]:
    """Return a loader that reads whole rows and keeps the part's positions along a later axis."""
    run = sum(plan.lengths)

    def rows(start: int, stop: int) -> Array:
        block = parameter.load(start, stop)
        before, after = block.shape[:axis], block.shape[axis + 1 :]
        block = block.reshape(*before, plan.groups, run, *after)
        kept = np.take(block, range(offset, offset + length), axis=axis + 1)
        return np.ascontiguousarray(kept.reshape(*before, plan.groups * length, *after))

    return rows


def _part_name(name: str, part: str) -> str:
    return f"{name[:-1]}, {part}]" if name.endswith("]") else f"{name}[{part}]"


def _stem(layer: Layer) -> str:
    return components(layer.name.partition("[")[0])[-1]


def _plan(stem: str, total: int, inputs: int, role: Role, architecture: Architecture) -> Plan | str:
    """Return the plan for a fused kernel, a sentence where its order is unknown, or "" where it is not fused."""
    if role is Role.ATTENTION and stem in _FUSED_QKV:
        return _qkv(stem, total, inputs, architecture)
    if role is Role.ATTENTION and stem in _FUSED_KV and total == 2 * inputs:
        return Plan(names=_KV, lengths=(inputs, inputs), reason="key and value are fused: measured apart")
    if role is Role.DENSE and stem in _FUSED_GATE and total % 2 == 0:
        is_alternating = architecture.model_type == "gpt_oss"
        lengths, groups = ((1, 1), total // 2) if is_alternating else ((total // 2, total // 2), 1)
        return Plan(names=_GATE_UP, lengths=lengths, groups=groups, reason="gate and up are fused: measured apart")
    return ""


def _qkv(stem: str, total: int, inputs: int, a: Architecture) -> Plan | str:
    if stem == "in_proj" and total != 3 * inputs:
        return ""
    if stem == "attn_qkv":  # llama.cpp's converters put the rows in this order, whatever the model's own was
        a = replace(a, model_type="", grouped=False)
    unknown = "query, key and value are fused in an order that nothing tells: measured together"
    if a.model_type in _UNKNOWN_ORDER:
        return unknown
    shared = a.key_value_heads or a.heads
    is_declared = a.heads > 0 and a.head_dim > 0 and (a.heads + 2 * shared) * a.head_dim == total
    if a.grouped and is_declared and a.heads % shared == 0:
        per_group = a.heads // shared * a.head_dim
        return _fused((per_group, a.head_dim, a.head_dim), shared, "group by group")
    if a.model_type in _INTERLEAVED and is_declared and shared == a.heads:
        return _fused((a.head_dim,) * 3, a.heads, "head by head")
    if is_declared and (stem not in _PER_HEAD_NAMES or shared == 1 < a.heads):
        return _fused((a.heads * a.head_dim, shared * a.head_dim, shared * a.head_dim), 1, "one after the other")
    is_thirds = total == 3 * inputs or (stem == "to_qkv" and total % 3 == 0)
    if stem in _PER_HEAD_NAMES or a.model_type in _INTERLEAVED or not is_thirds:
        return unknown
    return _fused((total // 3,) * 3, 1, "one after the other")


def _fused(lengths: tuple[int, ...], groups: int, order: str) -> Plan:
    return Plan(
        names=QKV, lengths=lengths, groups=groups, reason=f"query, key and value are fused, {order}: measured apart"
    )


def split_all(layers: Iterable[Layer], architecture: Architecture) -> Iterator[Layer]:
    """Yield every layer, the fused ones in parts."""
    layers = tuple(layers)
    widths = {layer.name: kernel.extent(Axis.IN) for layer in layers if (kernel := layer.get(Use.KERNEL))}
    for layer in layers:
        yield from _gate_and_up(layer, widths) or split(layer, architecture)


def _gate_and_up(layer: Layer, widths: Mapping[str, int]) -> tuple[Layer, ...]:
    """Return the parts of an `ffn_up` of GGUF that holds the gate too (Phi-3, GLM-4): ffn_down takes half of its rows."""
    stem, kernel = layer.name.removesuffix("ffn_up"), layer.get(Use.KERNEL)
    is_up = stem != layer.name and kernel is not None and f"{stem}ffn_gate" not in widths
    if not is_up or kernel is None or kernel.extent(Axis.OUT) != 2 * widths.get(f"{stem}ffn_down", -1):
        return ()
    half = kernel.extent(Axis.OUT) // 2
    return parts(layer, Plan(names=_GATE_UP, lengths=(half, half), reason="gate and up are fused: measured apart"))
