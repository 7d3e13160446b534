"""What the operators of ONNX do with the tensors that they are given: which input is a kernel, and which axis is out.

Source: https://onnx.ai/onnx/operators/ (opset 23) and onnxruntime's ContribOperators.md (domain com.microsoft).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.records import Axis, Use

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.checkpoints.onnx_flow import Step

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP

Axes = tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """An input that an operator uses as a parameter: which, as what, and its axes for a given number of them."""

    index: int
    use: Use
    axes: Callable[[int], Axes]


def _vector(rank: int) -> Axes:
    return (OUT,) * rank


def _conv(rank: int) -> Axes:
    return (OUT, IN, *[TAP] * (rank - 2)) if rank > 1 else ()


def _conv_transpose(rank: int) -> Axes:
    return (IN, OUT, *[TAP] * (rank - 2)) if rank > 1 else ()


def _in_out(rank: int) -> Axes:
    # More axes are a stack of kernels; a vector has one output.
    return (IN,) if rank == 1 else (IN, OUT) if rank == 2 else ()


def _out_in(rank: int) -> Axes:
    return (IN,) if rank == 1 else (OUT, IN) if rank == 2 else ()


def _table(rank: int) -> Axes:
    return (IN, *[OUT] * (rank - 1)) if rank > 1 else ()


_NORM = (Slot(1, Use.SCALE, _vector), Slot(2, Use.OFFSET, _vector))
_SKIP_NORM = (Slot(2, Use.SCALE, _vector), Slot(3, Use.OFFSET, _vector))
_CONV = (Slot(1, Use.KERNEL, _conv), Slot(2, Use.BIAS, _vector))

# The first slot decides: the operator is a layer where that input is a tensor of the file.
SLOTS: dict[str, tuple[Slot, ...]] = {
    "Conv": _CONV,
    "FusedConv": _CONV,
    "ConvInteger": (Slot(1, Use.KERNEL, _conv),),
    "QLinearConv": (Slot(3, Use.KERNEL, _conv), Slot(8, Use.BIAS, _vector)),
    "ConvTranspose": (Slot(1, Use.KERNEL, _conv_transpose), Slot(2, Use.BIAS, _vector)),
    "BatchNormalization": (*_NORM, Slot(3, Use.MEAN, _vector), Slot(4, Use.VARIANCE, _vector)),
    "InstanceNormalization": _NORM,
    "LayerNormalization": _NORM,
    "GroupNormalization": _NORM,
    "GroupNorm": _NORM,
    "RMSNormalization": _NORM[:1],
    "SimplifiedLayerNormalization": _NORM[:1],
    "SkipLayerNormalization": _SKIP_NORM,
    "SkipSimplifiedLayerNormalization": _SKIP_NORM[:1],
    "PRelu": (Slot(1, Use.SCALE, _vector),),
    "Gather": (Slot(0, Use.KERNEL, _table),),
    "Attention": (Slot(1, Use.KERNEL, _in_out), Slot(2, Use.BIAS, _vector)),
    "QLinearMatMul": (Slot(3, Use.KERNEL, _in_out),),
    "MatMulInteger": (Slot(1, Use.KERNEL, _in_out),),
    "DynamicQuantizeMatMul": (Slot(1, Use.KERNEL, _in_out), Slot(4, Use.BIAS, _vector)),
    "QGemm": (Slot(3, Use.KERNEL, _in_out), Slot(6, Use.BIAS, _vector)),
    "MatMulNBits": (Slot(1, Use.KERNEL, _out_in),),
}
# Inputs that are the scale or the zero point of quantised numbers: no weights of their own.
QUANTIZATION: dict[str, tuple[int, ...]] = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
    "DynamicQuantizeMatMul": (2, 3),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "MatMulNBits": (2, 3, 4),
}
PACKED = frozenset(QUANTIZATION) - {"QuantizeLinear", "DequantizeLinear"}
# Gates of each recurrent operator, in the order in which they are stacked.
GATES = {"LSTM": "iofc", "GRU": "zrh", "RNN": "i"}
INITIAL_STATES = (5, 6)  # inputs of those three: the state to start from

# What hands on its data, rearranged or not; a kernel's output is the same before and after.
PASSING = frozenset({
    "Identity", "Cast", "CastLike", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
    "QuantizeLinear", "DequantizeLinear", "Expand", "Slice", "Split", "If", "Loop", "Scan",
})  # fmt: skip
# What makes numbers of a shape: nothing of the data goes on.
SHAPES = frozenset({"Shape", "Size", "NonZero"})

ACTIVATIONS = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "ThresholdedRelu": "thresholded_relu", "Elu": "elu", "Selu": "selu",
    "Celu": "celu", "Gelu": "gelu", "FastGelu": "gelu", "BiasGelu": "gelu", "QuickGelu": "quick_gelu", "Sigmoid": "sigmoid",
    "HardSigmoid": "hard_sigmoid", "HardSwish": "hard_swish", "Swish": "silu", "Mish": "mish", "Tanh": "tanh",
    "Softplus": "softplus", "Softsign": "softsign", "Softmax": "softmax", "LogSoftmax": "log_softmax",
    "Hardmax": "hardmax", "Clip": "clip",
}  # fmt: skip
# Activations that exporters write out, by the operators in them: those needed, and those that may be there too.
WRITTEN_OUT: tuple[tuple[str, frozenset[str], frozenset[str]], ...] = (
    ("gelu", frozenset({"Erf", "Mul"}), frozenset({"Div", "Add"})),
    ("mish", frozenset({"Softplus", "Tanh", "Mul"}), frozenset()),
    ("gelu", frozenset({"Tanh", "Mul", "Add"}), frozenset({"Pow"})),
    ("silu", frozenset({"Sigmoid", "Mul"}), frozenset()),
    ("hard_swish", frozenset({"HardSigmoid", "Mul"}), frozenset()),
    ("hard_swish", frozenset({"Add", "Clip", "Mul"}), frozenset({"Div"})),
)
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mod"})
ELEMENTWISE = frozenset().union(*(needed | more for _, needed, more in WRITTEN_OUT))

DENSE = frozenset({"Gemm", "MatMul", "FusedGemm", "FusedMatMul", "GemmFastGelu", "Einsum"})
CONVOLUTIONS = frozenset({"Conv", "FusedConv", "ConvTranspose"})

_EQUATION = re.compile(r"^([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)$")


def dense(step: Step, is_constant: tuple[bool, bool]) -> tuple[Slot, ...]:
    """Return how a matrix product uses a constant on one of its sides.

    Args:
        step: A Gemm, MatMul, Einsum, or one of their fused forms.
        is_constant: Whether the left and the right factor are tensors of the file.

    Returns:
        The constant as a kernel, and the bias where the operator takes one; () for two constants or none.
    """
    if is_constant[0] == is_constant[1]:
        return ()
    side = 0 if is_constant[0] else 1
    if step.op == "Einsum":
        return _einsum(step, side)
    is_swapped = bool(step.integer("transA" if side == 0 else "transB"))
    # On the right (in, out), on the left (out, in): the activation's shared axis is the inner one.
    axes = _in_out if (side == 1) is not is_swapped else _out_in
    kernel = Slot(side, Use.KERNEL, axes)
    return (kernel, Slot(2, Use.BIAS, _vector)) if "Gemm" in step.op else (kernel,)


def _einsum(step: Step, side: int) -> tuple[Slot, ...]:
    match = _EQUATION.match(step.text("equation").replace(" ", ""))
    if match is None:
        return ()
    terms, result = match.groups()[:2], match[3]
    own, other = terms[side], terms[1 - side]
    if any(letter in other and letter in result for letter in own):
        return (Slot(side, Use.KERNEL, lambda _: ()),)  # a stack of kernels
    axes = tuple(OUT if letter in result else IN for letter in own)
    return (Slot(side, Use.KERNEL, lambda rank: axes if rank == len(axes) else ()),)
