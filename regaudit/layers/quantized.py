"""Packed integer weights: recognised by their companions, dequantised, or skipped; never measured as numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.ggml import BLOCKS
from regaudit.layers.dequantize_base import Packed, Unfit, Unpacked
from regaudit.layers.dequantize_bytes import STATES, bitsandbytes_4bit, keras, mxfp4
from regaudit.layers.dequantize_noise import noise_note
from regaudit.layers.dequantize_words import bitsandbytes_8bit, gptq_or_awq, int8, mlx, pack_quantized
from regaudit.layers.values import Values, stored
from regaudit.records import Tensor, TensorSkip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.layers.architecture import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A way of packing: the suffix of the packed tensor, one that proves it, the other companions', and its formula.

    `is_by_row`: no row knows of another, so that experts stacked on an axis in front are only more rows.
    """

    name: str
    packed: str
    proof: str
    helpers: tuple[str, ...] = ()
    bits: int = 0
    dtypes: frozenset[str] = frozenset()
    is_by_row: bool = False
    unpack: Callable[[Packed], Unpacked] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel that stands for packed weights: the name that it would have unpacked, its values, and the evidence."""

    name: str
    values: Values
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dequantised:
    """Kernels, and why others cannot be had, each by the name of the packed tensor."""

    kernels: Mapping[str, Kernel]
    refused: Mapping[str, str]

    @property
    def tensors(self) -> frozenset[str]:
        """Names of all tensors that the kernels are made of."""
        return frozenset(name for kernel in self.kernels.values() for name in kernel.values.tensors)


# Layouts of quantised weights inside safetensors, by the names that their tools give.
SCHEMES: tuple[Scheme, ...] = (
    Scheme(name="GPTQ or AWQ", packed="qweight", proof="scales", helpers=("qzeros", "g_idx"), unpack=gptq_or_awq),
    Scheme(
        name="compressed-tensors", packed="weight_packed", proof="weight_scale",
        helpers=("weight_shape", "weight_zero_point", "weight_g_idx", "weight_global_scale", "input_global_scale"),
        unpack=pack_quantized,
    ),
    Scheme(
        name="bitsandbytes", packed="weight", proof="weight.absmax", bits=4,
        helpers=("weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map", *STATES),
        unpack=bitsandbytes_4bit,
    ),
    Scheme(
        name="bitsandbytes", packed="weight", proof="SCB", helpers=("weight_format",), bits=8, unpack=bitsandbytes_8bit
    ),
    Scheme(
        name="MLX", packed="weight", proof="scales", helpers=("biases",), dtypes=frozenset({"U32"}), is_by_row=True, unpack=mlx
    ),
    Scheme(
        name="NVFP4", packed="weight", proof="weight_scale_2", helpers=("weight_scale", "input_scale"), bits=4,
        dtypes=frozenset({"U8", "F4"}),
    ),
    Scheme(
        name="8-bit integers", packed="weight", proof="weight_scale", helpers=("weight_zero_point",), bits=8,
        is_by_row=True, unpack=int8,
    ),
    Scheme(
        name="Keras 8-bit integers", packed="kernel", proof="kernel_scale", helpers=("kernel_zero", "g_idx"), bits=8,
        unpack=keras,
    ),
    Scheme(name="Keras 8-bit integers", packed="embeddings", proof="embeddings_scale", bits=8, unpack=keras),
    Scheme(name="torch quantised", packed="weight", proof="zero_point", helpers=("scale",)),
    Scheme(name="MXFP4", packed="_blocks", proof="_scales", bits=4, unpack=mxfp4),
)  # fmt: skip
_SUFFIXES = tuple({scheme.packed for scheme in SCHEMES})
_OWN_NAMES = frozenset({"weight", "kernel", "embeddings"})  # packed tensors that are called as the kernel would be


def rounding_note(tensor: Tensor) -> tuple[str, ...]:
    """Return the evidence sentence on a tensor that its reader dequantises (GGUF); () for others."""
    block = BLOCKS.get(tensor.dtype)
    if block is None or not block.noise:
        return ()
    return (f"{tensor.dtype}: rounding noise is about {100 * block.noise:.2g} % of the rms of normal weights",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """A packed tensor, how it is packed, and all tensors of the scheme that are there, by suffix."""

    scheme: Scheme
    stem: str
    tensor: Tensor
    parts: Mapping[str, Tensor]


def dequantised(checkpoint: Checkpoint) -> Dequantised:
    """Return the kernels that packed weights stand for; 65,536 elements of each are read for its noise floor.

    Args:
        checkpoint: An open checkpoint.
    """
    settings = checkpoint.config.get("quantization_config") or checkpoint.config.get("quantization")  # MLX: the second
    settings = settings if isinstance(settings, dict) else {}
    taken = {tensor.name for tensor in checkpoint.tensors}
    kernels: dict[str, Kernel] = {}
    refused: dict[str, str] = {}
    for claim in _claims(checkpoint.tensors):
        if claim.scheme.unpack is None:
            continue
        parts = {suffix: stored(checkpoint, tensor) for suffix, tensor in claim.parts.items()}
        try:
            made = _unpacked(claim.scheme, claim.scheme.unpack, Packed(parts=parts, settings=settings))
        except Unfit as error:
            refused[claim.tensor.name] = str(error)
            continue
        name = claim.tensor.name if claim.scheme.packed in _OWN_NAMES else claim.stem + made.leaf
        if name != claim.tensor.name and name in taken:
            refused[claim.tensor.name] = f"there is {name} too"
            continue
        taken.add(name)
        notes = (made.note, *noise_note(made.values, made.steps))
        kernels[claim.tensor.name] = Kernel(name=name, values=made.values, notes=notes)
    return Dequantised(kernels=kernels, refused=refused)


def _unpacked(scheme: Scheme, unpack: Callable[[Packed], Unpacked], packed: Packed) -> Unpacked:
    """Return the kernel; of stacked experts all together, (experts, out, in)."""
    experts = packed.parts[scheme.packed].shape[:-2]
    if not (scheme.is_by_row and len(experts) == 1):
        return unpack(packed)
    rows = {suffix: _as_rows(values, experts[0]) for suffix, values in packed.parts.items()}
    made = unpack(replace(packed, parts=rows))
    shape = (experts[0], made.values.shape[0] // experts[0], *made.values.shape[1:])
    return replace(made, values=replace(made.values, shape=shape), steps=replace(made.steps, shape=shape))


def _as_rows(values: Values, experts: int) -> Values:
    """Return an array (experts, rows, …) with the rows of all experts one below the other."""
    if values.ndim < 2 or values.shape[0] != experts:
        return values
    return replace(values, shape=(experts * values.shape[1], *values.shape[2:]))


def packed(
    tensors: tuple[Tensor, ...], architecture: Architecture, made: Dequantised | None = None
) -> dict[str, TensorSkip]:
    """Return a skip for each packed weight that is not dequantised (blocking) and for its companions, by name."""
    by_name = {tensor.name: tensor for tensor in tensors}
    used = made.tensors if made else frozenset[str]()
    found: dict[str, TensorSkip] = {}
    for claim in _claims(tensors):
        name = claim.tensor.name
        if made and name in made.kernels:
            continue
        reason = _reason(claim.scheme, claim.tensor, claim.stem, by_name, architecture)
        why = made.refused.get(name) if made else None
        found.update({each.name: _companion(each.name, name) for each in claim.parts.values()})
        found[name] = TensorSkip(tensor=name, reason=f"{reason}{f' ({why})' if why else ''}", blocking=True)
    return {name: skip for name, skip in found.items() if name not in used}


def _claims(tensors: tuple[Tensor, ...]) -> Iterator[_Claim]:
    by_name = {tensor.name: tensor for tensor in tensors}
    for tensor in tensors:
        if tensor.name.endswith(_SUFFIXES) and not _is_plain_float(tensor.dtype):
            claim = next(filter(None, (_claim(scheme, tensor, by_name) for scheme in SCHEMES)), None)
            if claim:
                yield claim


def _claim(scheme: Scheme, tensor: Tensor, by_name: Mapping[str, Tensor]) -> _Claim | None:
    stem = tensor.name.removesuffix(scheme.packed)
    if stem == tensor.name or stem + scheme.proof not in by_name:
        return None
    if scheme.dtypes and tensor.dtype not in scheme.dtypes:
        return None
    suffixes = (scheme.packed, scheme.proof, *scheme.helpers)
    parts = {suffix: by_name[stem + suffix] for suffix in suffixes if stem + suffix in by_name}
    return _Claim(scheme=scheme, stem=stem, tensor=tensor, parts=parts)


def _is_plain_float(dtype: str) -> bool:
    return dtype != "F4" and dtype in DTYPES and DTYPES[dtype].is_float


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
