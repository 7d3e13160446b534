"""Operators of torch's graphs (`torch.ops.aten.*`, and `torch.*` in TorchScript) that use weights or bend their output.

Source: aten/src/ATen/native/native_functions.yaml, PyTorch 2.13.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from regaudit.records import Axis, Use

# Operators that only bend their input, by name, and torch's classes that do nothing else.
_WORDS = """
celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax mish prelu relu relu6 rrelu
selu sigmoid silu softmax softplus softshrink softsign tanh tanhshrink
"""
ACTIVATIONS = frozenset(_WORDS.split())
_OF_CLASS = {
    **{name.replace("_", ""): name for name in ACTIVATIONS},
    "softmax2d": "softmax",
    "swish": "silu",
}
DROPOUTS = frozenset({"alpha_dropout", "dropout", "feature_alpha_dropout", "feature_dropout", "native_dropout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator that takes weights.

    Args:
        type: The class of torch.nn that does the same.
        arguments: Their names, in order.
        uses: What those that are weights are used for, by name.
        axes: Of the kernel; positions of a window come behind them.
    """

    type: str
    arguments: tuple[str, ...]
    uses: dict[str, Use] = field(default_factory=dict)
    axes: tuple[Axis, ...] = (Axis.OUT, Axis.IN)

    def axes_of(self, use: Use, rank: int) -> tuple[Axis, ...]:
        """Return what each axis of a weight runs over; () where the rank is not what the operator takes."""
        if use is Use.KERNEL:
            taps = rank - len(self.axes)
            is_known = taps == 0 or (taps > 0 and self.type.startswith("Conv"))
            return self.axes + (Axis.TAP,) * taps if is_known else ()
        return (Axis.OUT,) if rank == 1 else ()


_KERNEL = {"weight": Use.KERNEL, "bias": Use.BIAS}
_SCALE = {"weight": Use.SCALE, "bias": Use.OFFSET, "running_mean": Use.MEAN, "running_var": Use.VARIANCE}
_IN_OUT = (Axis.IN, Axis.OUT)
_INPUT = ("input", "weight", "bias")

OPERATORS: dict[str, Operator] = {
    "linear": Operator(type="Linear", arguments=_INPUT, uses=_KERNEL),
    "addmm": Operator(
        type="Linear",
        arguments=("self", "mat1", "mat2"),
        uses={"self": Use.BIAS, "mat2": Use.KERNEL},
        axes=_IN_OUT,
    ),
    **{
        name: Operator(type="Linear", arguments=("self", other), uses={other: Use.KERNEL}, axes=_IN_OUT)
        for name, other in (("matmul", "other"), ("mm", "mat2"))
    },
    **{f"conv{n}d": Operator(type=f"Conv{n}d", arguments=_INPUT, uses=_KERNEL) for n in (1, 2, 3)},
    **{
        f"conv_transpose{n}d": Operator(type=f"ConvTranspose{n}d", arguments=_INPUT, uses=_KERNEL, axes=_IN_OUT)
        for n in (1, 2, 3)
    },
    "embedding": Operator(type="Embedding", arguments=("weight", "indices"), uses={"weight": Use.KERNEL}, axes=_IN_OUT),
    "batch_norm": Operator(type="BatchNorm", arguments=(*_INPUT, "running_mean", "running_var"), uses=_SCALE),
    "instance_norm": Operator(type="InstanceNorm", arguments=(*_INPUT, "running_mean", "running_var"), uses=_SCALE),
    "layer_norm": Operator(type="LayerNorm", arguments=("input", "normalized_shape", "weight", "bias"), uses=_SCALE),
    "group_norm": Operator(type="GroupNorm", arguments=("input", "num_groups", "weight", "bias"), uses=_SCALE),
    "rms_norm": Operator(type="RMSNorm", arguments=("input", "normalized_shape", "weight"), uses=_SCALE),
    "prelu": Operator(type="PReLU", arguments=("self", "weight"), uses={"weight": Use.SCALE}),
}


def activation_of_class(name: str) -> str:
    """Return the activation that a class of torch.nn is (`ReLU` is `relu`); "" for any other class."""
    return _OF_CLASS.get(name.rpartition(".")[2].lower(), "")


def activation_of_operator(name: str) -> str:
    """Return the activation that an operator is (`relu_` is `relu`); "" for any other operator."""
    plain = name.strip("_")
    return plain if plain in ACTIVATIONS else ""
