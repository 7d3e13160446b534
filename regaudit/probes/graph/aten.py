"""The operators of torch that a graph may call, and what is called for them.

Operators are looked up in torch only by names of this list. None of them reads files, makes random numbers, returns
memory that was not written, or changes the state of the process. Where torch has a kernel of its own for one device or
for training, the plain function is called, which has all derivatives.

Source: aten/src/ATen/native/native_functions.yaml, PyTorch 2.13.
"""

from __future__ import annotations

import math
import operator
from functools import partial
from typing import TYPE_CHECKING, Any

from regaudit.probes.graph.layers import Slots
from regaudit.probes.graph.recurrent import RECURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regaudit.probes.base import Tensor

# Names without their overload; an operator in place (`relu_`) goes by the name of the one that is not.
_NAMES = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _cdist_forward _local_scalar_dense _to_copy _unsafe_index _weight_norm
_weight_norm_interface abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
adaptive_max_pool2d adaptive_max_pool3d add addbmm addcdiv addcmul addmm addmv addr alias all amax amin aminmax angle any
arange argmax argmin argsort asin asinh atan atan2 atanh atleast_1d atleast_2d atleast_3d avg_pool1d avg_pool2d avg_pool3d
baddbmm bilinear bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm broadcast_tensors
broadcast_to bucketize cat cdist ceil celu chunk clamp clamp_max clamp_min clip clone concat concatenate constant_pad_nd
contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution copy copysign cos cosh
cosine_similarity cross cummax cummin cumprod cumsum detach diag diag_embed diagonal diff div divide dot einsum elu embedding
eq erf erfc erfinv exp exp2 expand expand_as expm1 eye fill flatten flip floor floor_divide fmax fmin fmod frac full full_like
gather ge gelu glu grid_sampler_2d group_norm gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot im2col index
index_add index_copy index_fill index_put index_select instance_norm isfinite isinf isnan isneginf isposinf item kthvalue
layer_norm le leaky_relu lerp lift_fresh_copy linalg_norm linalg_vector_norm linear linspace log log10 log1p log2 log_sigmoid
log_sigmoid_forward log_softmax logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit logsumexp lt
masked_fill masked_scatter masked_select matmul max max_pool1d max_pool2d max_pool3d max_pool2d_with_indices
max_pool3d_with_indices maximum mean median meshgrid min minimum mish mm movedim mul multiply mv nan_to_num narrow ne neg
negative new_full new_ones new_zeros nonzero norm ones ones_like outer pad permute pixel_shuffle pixel_unshuffle pow prelu prod
reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu relu6 remainder repeat repeat_interleave replication_pad1d
replication_pad2d replication_pad3d reshape reshape_as resolve_conj resolve_neg rms_norm roll rot90 round
rrelu rsqrt rsub scalar_tensor scaled_dot_product_attention scatter scatter_add scatter_reduce searchsorted select
select_scatter selu sgn sigmoid sign silu sin sinc sinh slice slice_scatter softmax softplus softshrink sort special_erf
special_expit special_log1p special_logit split split_with_sizes sqrt square squeeze stack std std_mean sub subtract sum
swapaxes sym_numel sym_size sym_stride t take take_along_dim tan tanh tanhshrink tensor_split threshold tile to topk trace
transpose tril tril_indices triu triu_indices true_divide trunc type_as unbind unflatten unfold unsafe_chunk unsafe_split
unsafe_split_with_sizes unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
upsample_nearest2d upsample_nearest3d upsample_trilinear3d var var_mean view view_as where xlogy zero zeros zeros_like
"""
ALLOWED = frozenset(_NAMES.split())
# What only checks its inputs: shapes are checked where they are used.
CHECKS = frozenset({
    "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "sym_constrain_range_for_size",
})  # fmt: skip
# Flags that say that the network is being trained; a probe looks at the finished network.
TRAINING = frozenset({"train", "training"})
_MOST_BITS = 62  # of a size

_CONV = (Slots(0, 1, 2, 1),)
SLOTS: dict[str, tuple[Slots, ...]] = {
    "linear": (Slots(0, 1, 2),),
    "addmm": (Slots(1, 2, 0),),
    "baddbmm": (Slots(1, 2, 0, join_axis=1),),
    "bmm": (Slots(0, 1, join_axis=1), Slots(1, 0, channel_axis=-2, join_axis=2)),
    **dict.fromkeys(("mm", "matmul", "mv"), (Slots(0, 1), Slots(1, 0, None, -2))),
    **dict.fromkeys(
        (
            "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution",
            "batch_norm", "_native_batch_norm_legit_no_training", "instance_norm", "native_group_norm",
        ),
        _CONV,
    ),
    "group_norm": (Slots(0, 2, 3, 1),),
    "layer_norm": (Slots(0, 2, 3),),
    "native_layer_norm": (Slots(0, 2, 3),),
    "rms_norm": (Slots(0, 2),),
    "_fused_rms_norm": (Slots(0, 2),),
    "prelu": (Slots(0, 1, None, 1),),
    "embedding": (Slots(1, 0),),
}  # fmt: skip
PRODUCTS = frozenset({"mm", "bmm", "matmul", "linear", "convolution", "conv1d", "conv2d", "conv3d"})
SUMS = frozenset({"add"})


def find(target: str) -> tuple[str, Any] | None:
    """Return the plain name of an operator and the operator; None where it is not allowed.

    Args:
        target: As the file has it (`torch.ops.aten.relu.default`); hostile.
    """
    parts = target.split(".")
    if len(parts) != 5 or parts[:3] != ["torch", "ops", "aten"]:
        return None
    name, overload = parts[3:]
    plain = name.rstrip("_")
    if not (plain in ALLOWED or plain in CHECKS or plain in INSTEAD) or name not in {plain, f"{plain}_"}:
        return None
    if plain in RECURRENT and overload != "input":  # packed sequences
        return None
    import torch

    packet = getattr(torch.ops.aten, name, None)
    if packet is None or overload not in packet.overloads() or "out" in overload:
        return None
    return plain, getattr(packet, overload)


def plain_name(called: Any) -> str:  # noqa: ANN401
    """Return the name of an operator without its overload, and as if it did not write in place."""
    return str(called._schema.name).rpartition("::")[2].rstrip("_")


def function(name: str, called: Any) -> Callable[..., Any]:  # noqa: ANN401
    """Return what is called for an operator: itself, or a plain function that does the same.

    Args:
        name: Its plain name.
        called: The operator.
    """
    return INSTEAD.get(name) or called


# --- Plain functions for operators that have kernels of their own ------------------------------------------------------


def _same(x: Tensor, *_: object) -> Tensor:
    return x


def _native_dropout(x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return x, x.new_ones(x.shape).bool()


def _softmax(x: Tensor, dim: int, _: bool = False) -> Tensor:  # noqa: FBT001, FBT002
    return x.softmax(dim)


def _log_softmax(x: Tensor, dim: int, _: bool = False) -> Tensor:  # noqa: FBT001, FBT002
    return x.log_softmax(dim)


def _batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    _: object,
    momentum: float,
    eps: float,
    *__: object,
) -> Tensor:
    from torch.nn import functional

    return functional.batch_norm(x, mean, variance, weight, bias, mean is None, momentum, eps)


def _batch_norm_alone(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, momentum: float, eps: float
) -> tuple[Any, ...]:
    return _batch_norm(x, weight, bias, mean, variance, False, momentum, eps), None, None  # noqa: FBT003


def _layer_norm(x: Tensor, shape: Sequence[int], weight: Tensor, bias: Tensor, eps: float) -> tuple[Any, ...]:
    from torch.nn import functional

    return functional.layer_norm(x, shape, weight, bias, eps), None, None


def _group_norm(x: Tensor, weight: Tensor, bias: Tensor, *sizes: Any) -> tuple[Any, ...]:  # noqa: ANN401
    from torch.nn import functional

    *_, groups, eps = sizes
    return functional.group_norm(x, groups, weight, bias, eps), None, None


def _rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor = None, eps: float | None = None) -> tuple[Any, ...]:
    from torch.nn import functional

    return functional.rms_norm(x, list(shape), weight, eps), None


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    _: float = 0.0,
    causal: bool = False,  # noqa: FBT001, FBT002
    **options: Any,  # noqa: ANN401
) -> tuple[Any, ...]:
    from torch.nn import functional

    return functional.scaled_dot_product_attention(q, k, v, is_causal=causal, **options), None


def _attention_alone(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor = None,
    _: float = 0.0,
    causal: bool = False,  # noqa: FBT001, FBT002
    **options: Any,  # noqa: ANN401
) -> Tensor:
    from torch.nn import functional

    return functional.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, **options)


def _reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.reshape(shape)


def _zeros(size: Sequence[int], **options: Any) -> Tensor:  # noqa: ANN401
    import torch

    return torch.zeros(size, **options)


def _zeros_like(x: Tensor, **options: Any) -> Tensor:  # noqa: ANN401
    import torch

    return torch.zeros_like(x, **options)


def _new_zeros(x: Tensor, size: Sequence[int], **options: Any) -> Tensor:  # noqa: ANN401
    return x.new_zeros(size, **options)


# `empty` gives zeros: memory that nothing wrote is none of the file's business.
INSTEAD: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"), _same),
    "native_dropout": _native_dropout,
    "_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm_alone,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_fused_rms_norm": _rms_norm,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "scaled_dot_product_attention": _attention_alone,
    **dict.fromkeys(("_unsafe_view", "view", "view_copy"), _reshape),
    **RECURRENT,
    "empty": _zeros,
    "empty_like": _zeros_like,
    "new_empty": _new_zeros,
}


# --- Sizes ------------------------------------------------------------------------------------------------------------


def _bounded(name: str, apply: Callable[..., Any], *numbers: Any) -> Any:  # noqa: ANN401
    # Compute with sizes: none of them has more bits than torch's.
    if name == "pow" and abs(numbers[1]) * max(1, int(abs(numbers[0])).bit_length()) > _MOST_BITS:
        raise ValueError(f"{numbers[0]} to the power of {numbers[1]} is no size")
    result = apply(*numbers)
    if isinstance(result, int) and result.bit_length() > _MOST_BITS:
        raise ValueError("a size of more than 64 bits")
    return result


def _choose(condition: object, one: object, other: object) -> object:
    return one if condition else other


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in ("add", "and_", "eq", "floordiv", "ge", "getitem", "gt", "le", "lt", "mod", "mul", "ne", "neg", "not_",
                     "or_", "pos", "pow", "sub", "truediv")
    },
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "sqrt", "trunc")},
    "torch.sym_float": float,
    "torch.sym_int": int,
    "torch.sym_ite": _choose,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch._sym_sqrt": math.sqrt,
}  # fmt: skip


def arithmetic(target: str) -> Callable[..., Any] | None:
    """Return a function on sizes by the name that torch writes for it; None where it is not known."""
    apply = _ARITHMETIC.get(target)
    return None if apply is None else partial(_bounded, target.rpartition(".")[2], apply)
