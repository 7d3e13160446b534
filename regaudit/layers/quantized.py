"""Packed integer weights: recognised by their companions, never measured as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints.dtypes import DTYPES
from regaudit.records import Tensor, TensorSkip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.layers.architecture import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A way of packing: the suffix of the packed tensor, one that proves it, and the other companions'."""

    name: str
    packed: str
    proof: str
    helpers: tuple[str, ...] = ()
    bits: int = 0
    dtypes: frozenset[str] = frozenset()


# Layouts of formats.md section 2 ("Quantised weights inside safetensors").
SCHEMES: tuple[Scheme, ...] = (
    Scheme(name="GPTQ or AWQ", packed="qweight", proof="scales", helpers=("qzeros", "g_idx")),
    Scheme(
        name="compressed-tensors", packed="weight_packed", proof="weight_scale",
        helpers=("weight_shape", "weight_zero_point", "weight_g_idx", "weight_global_scale", "input_global_scale"),
    ),
    Scheme(
        name="bitsandbytes", packed="weight", proof="weight.absmax", bits=4,
        helpers=("weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map",
                 "weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4"),
    ),
    Scheme(name="bitsandbytes", packed="weight", proof="SCB", helpers=("weight_format",), bits=8),
    Scheme(name="MLX", packed="weight", proof="scales", helpers=("biases",), dtypes=frozenset({"U32"})),
    Scheme(
        name="NVFP4", packed="weight", proof="weight_scale_2", helpers=("weight_scale", "input_scale"), bits=4,
        dtypes=frozenset({"U8", "F4"}),
    ),
    Scheme(name="8-bit integers", packed="weight", proof="weight_scale", helpers=("weight_zero_point",), bits=8),
    Scheme(name="Keras 8-bit integers", packed="kernel", proof="kernel_scale", helpers=("kernel_zero",), bits=8),
    Scheme(name="Keras 8-bit integers", packed="embeddings", proof="embeddings_scale", bits=8),
    Scheme(name="torch quantised", packed="weight", proof="zero_point", helpers=("scale",)),
    Scheme(name="MXFP4", packed="_blocks", proof="_scales", bits=4),
)  # fmt: skip
_SUFFIXES = tuple({scheme.packed for scheme in SCHEMES})


def packed(tensors: tuple[Tensor, ...], architecture: Architecture) -> dict[str, TensorSkip]:
    """Return a skip for each packed weight (blocking) and for each of its companions, by tensor name."""
    by_name = {tensor.name: tensor for tensor in tensors}
    found: dict[str, TensorSkip] = {}
    for tensor in tensors:
        if tensor.name.endswith(_SUFFIXES) and not _is_plain_float(tensor.dtype):
            found.update(_claim(tensor, by_name, architecture))
    return found


def _is_plain_float(dtype: str) -> bool:
    return dtype != "F4" and dtype in DTYPES and DTYPES[dtype].is_float


def _claim(tensor: Tensor, by_name: Mapping[str, Tensor], architecture: Architecture) -> dict[str, TensorSkip]:
    for scheme in SCHEMES:
        stem = tensor.name.removesuffix(scheme.packed)
        if stem == tensor.name or stem + scheme.proof not in by_name:
            continue
        if scheme.dtypes and tensor.dtype not in scheme.dtypes:
            continue
        companions = [stem + suffix for suffix in (scheme.proof, *scheme.helpers) if stem + suffix in by_name]
        skips = {name: _companion(name, tensor.name) for name in companions}
        skips[tensor.name] = TensorSkip(
            tensor=tensor.name, reason=_reason(scheme, tensor, stem, by_name, architecture), blocking=True
        )
        return skips
    return {}


def _companion(name: str, weight: str) -> TensorSkip:
    return TensorSkip(tensor=name, reason=f"belongs to the packed weight {weight}", blocking=False)


def _reason(
    scheme: Scheme, tensor: Tensor, stem: str, by_name: Mapping[str, Tensor], architecture: Architecture
) -> str:
    name, bits = scheme.name, scheme.bits or architecture.bits
    order = by_name.get(stem + "g_idx")
    if scheme.packed == "qweight":
        named = architecture.quantization.upper() or ("GPTQ" if order else "")
        name = named or name
        # GPTQ packs along the input axis, and g_idx has one entry for each input.
        bits = bits or (32 * tensor.shape[0] // order.shape[0] if order and order.size else 0)
    return f"{name}{f', {bits} bits' if bits else ''}: packed integers are not weights"
