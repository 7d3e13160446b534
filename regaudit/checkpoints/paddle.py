"""What is special in PaddlePaddle's parameter files: the table of names, which tells classes, and the layout of Linear.

Source: paddle/nn/layer/common.py (`Linear`: weight of shape (in_features, out_features)), PaddlePaddle 3.2.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.errors import CheckpointError
from regaudit.records import Axis, Module, Tensor, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAMES = (
    "StructuredToParameterName@@"  # from names in the model (`fc.weight`) to those of its parameters (`linear_0.w_0`)
)

_PARAMETER = re.compile(r"(?P<kind>[a-z][a-z0-9_]*?)_\d+\.[wb]_\d+")
_CLASSES = {
    "linear": "Linear", "embedding": "Embedding", "conv1d": "Conv1D", "conv2d": "Conv2D", "conv3d": "Conv3D",
    "conv1d_transpose": "Conv1DTranspose", "conv2d_transpose": "Conv2DTranspose",
    "conv3d_transpose": "Conv3DTranspose", "batch_norm": "BatchNorm", "batch_norm1d": "BatchNorm1D",
    "batch_norm2d": "BatchNorm2D", "batch_norm3d": "BatchNorm3D", "layer_norm": "LayerNorm", "group_norm": "GroupNorm",
}  # fmt: skip
_IN_OUT = {"Linear", "Embedding", ""}  # and no other class has a `weight` of two axes
_STATE = re.compile(r".*_(?:moment[12]?|beta[12]_pow_acc|velocity|inf_norm|mean_square|mean_grad)_\d+")


def as_in_paddle(tensors: tuple[Tensor, ...], table: Mapping[object, object], where: str) -> tuple[Tensor, ...]:
    """Return the tensors with what PaddlePaddle's conventions say of them.

    Args:
        tensors: As they lie in the pickle.
        table: The file's own table of names.
        where: The file, for errors.

    Returns:
        The same; bfloat16 is called so (Paddle saves its codes as uint16), and the weights of Linear and Embedding,
        which are (in, out), have their layer, use and axes.

    Raises:
        CheckpointError: The file holds the state of an optimizer only (`.pdopt`).
    """
    if tensors and all(_STATE.fullmatch(each.name) for each in tensors):
        raise CheckpointError(where, "holds optimizer state and no weights", "Give the .pdparams file beside it.")
    typed = [replace(each, dtype="BF16") if each.dtype == "U16" else each for each in tensors]
    dense = {_layer(each.name) for each in typed if _is_in_out(each, table)}
    return tuple(_stated(each, dense, table) for each in typed)


def modules(tensors: Iterable[Tensor], table: Mapping[object, object]) -> tuple[Module, ...]:
    """Return the class of every layer whose parameters have Paddle's own names."""
    kinds = {_layer(each.name): _class(each.name, table) for each in tensors}
    return tuple(Module(name=name, type=kind) for name, kind in kinds.items() if kind)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _class(name: str, table: Mapping[object, object]) -> str:
    parameter = table.get(name)
    found = _PARAMETER.fullmatch(parameter) if isinstance(parameter, str) else None
    return _CLASSES.get(found["kind"], "") if found else ""


def _is_in_out(each: Tensor, table: Mapping[object, object]) -> bool:
    return each.name.endswith(".weight") and len(each.shape) == 2 and _class(each.name, table) in _IN_OUT


def _stated(each: Tensor, dense: set[str], table: Mapping[object, object]) -> Tensor:
    layer, _, leaf = each.name.rpartition(".")
    if layer in dense and _is_in_out(each, table):
        return replace(each, layer=layer, use=Use.KERNEL, axes=(Axis.IN, Axis.OUT))
    if layer in dense and leaf == "bias" and len(each.shape) == 1:
        return replace(each, layer=layer, use=Use.BIAS, axes=(Axis.OUT,))
    return each
