"""Layers of formats that carry their graph: what uses each array, and which axis is out, is known and not inferred.

A reader fills `Tensor.layer`, `use` and `axes` (ONNX operators, scikit-learn's `coef_`); the module of the layer's name
gives its class. Names still tell which dense layers are projections of an attention.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from regaudit.layers.bundles import Bundle, Surroundings
from regaudit.layers.dequantize_noise import noise_note
from regaudit.layers.roles import decide
from regaudit.layers.split import Plan, parts
from regaudit.layers.values import stored
from regaudit.records import Axis, Confidence, Layer, Module, Parameter, Role, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.layers.values import Values
    from regaudit.records import Tensor

# Operators of ONNX by what they do with their weights; classes of other frameworks are in `roles`.
_OPERATORS = {
    "Gemm": Role.DENSE,
    "MatMul": Role.DENSE,
    "Gather": Role.EMBEDDING,
    "PRelu": Role.ACTIVATION,
}
_LEAF = {Use.KERNEL: "weight", Use.BIAS: "bias", Use.SCALE: "gamma", Use.OFFSET: "beta", Use.MEAN: "running_mean",
         Use.VARIANCE: "running_var"}  # fmt: skip


def is_stated(tensor: Tensor) -> bool:
    """Return whether the file's graph says what the tensor is for."""
    return bool(tensor.layer) and tensor.use is not None


def stated(checkpoint: Checkpoint, tensors: Iterable[Tensor], modules: Mapping[str, Module]) -> tuple[Layer, ...]:
    """Return the layers that the file's graph states.

    Args:
        checkpoint: An open checkpoint.
        tensors: Those of its tensors that are stated and not skipped.
        modules: By path.

    Returns:
        One layer for each name, gates of recurrent kernels apart.
    """
    groups: dict[tuple[str, int], list[Tensor]] = {}
    seen: Counter[tuple[str, Use | None]] = Counter()
    for tensor in tensors:
        # A second array of one use (hostile, or a shared name) is a layer of its own: no array gets lost.
        groups.setdefault((tensor.layer, seen[tensor.layer, tensor.use]), []).append(tensor)
        seen[tensor.layer, tensor.use] += 1
    return tuple(
        layer
        for (name, _), group in groups.items()
        for layer in _gated(_layer(checkpoint, name, group, modules.get(name)), modules.get(name))
    )


def _layer(checkpoint: Checkpoint, name: str, group: list[Tensor], module: Module | None) -> Layer:
    parameters: dict[Use, Parameter] = {}
    for tensor in group:
        if tensor.use is not None:
            axes = tensor.axes if len(tensor.axes) == len(tensor.shape) else ()
            parameters[tensor.use] = stored(checkpoint, tensor).parameter(tensor.use, axes)
    kernel = parameters.get(Use.KERNEL)
    role, op = _role(checkpoint, name, group, module, kernel)
    said = f"the file says how it is used{f': {op}' if op else ''}"
    main = next((stored(checkpoint, tensor) for tensor in group if tensor.use is Use.KERNEL), None)
    return Layer(
        name=name,
        role=role,
        op=op,
        parameters=tuple(parameters[use] for use in Use if use in parameters),
        evidence=(said, *_rounding(main, module)),
        confidence=Confidence.HIGH if kernel is None or kernel.axes else Confidence.MEDIUM,
        activation=module.activation if module else "",
    )


def _rounding(kernel: Values | None, module: Module | None) -> tuple[str, ...]:
    """Return what the file says of a kernel's quantisation: how it was undone, and the noise that rounding has added."""
    codes = module.settings.get("quantized") if module else None
    if kernel is None or module is None or not isinstance(codes, str):
        return ()
    width = module.settings.get("quantization_step")
    note = f"{codes} on disk, dequantised as the graph does: scale · (code - zero)"
    if codes.startswith("F8") or not isinstance(width, float):
        return (note,)  # the steps between floats are not equal
    steps = replace(kernel, flat=lambda start, stop: np.full(stop - start, width))
    return (note, *noise_note(kernel, steps))


def _role(
    checkpoint: Checkpoint, name: str, group: list[Tensor], module: Module | None, kernel: Parameter | None
) -> tuple[Role, str]:
    op = module.type.rpartition(".")[2] if module else ""
    values = {_LEAF[t.use]: stored(checkpoint, t) for t in group if t.use is not None}
    decision = decide(Bundle(path=name, values=values, module=module), Surroundings())
    role = _OPERATORS.get(op, decision.role)
    if role is Role.DENSE and decision.role is Role.ATTENTION:
        role = Role.ATTENTION
    if role is Role.CONV and kernel is not None and _is_depthwise(kernel, module):
        role = Role.DEPTHWISE
    return role, op or decision.op


def _is_depthwise(kernel: Parameter, module: Module | None) -> bool:
    groups = module.settings.get("group", module.settings.get("groups", 1)) if module else 1
    return isinstance(groups, int) and groups > 1 and kernel.extent(Axis.IN) == 1


def _gated(layer: Layer, module: Module | None) -> tuple[Layer, ...]:
    """Return the parts of a recurrent kernel whose module says the order of its gates (`settings["gates"]`: "iofc")."""
    gates = module.settings.get("gates") if module else None
    kernel = layer.get(Use.KERNEL)
    if not isinstance(gates, str) or len(gates) < 2 or kernel is None or kernel.extent(Axis.OUT) % len(gates):
        return (layer,)
    units = kernel.extent(Axis.OUT) // len(gates)
    reason = f"{len(gates)} gates of {units} units are stacked: measured apart"
    names = tuple(f"gate {gate}" for gate in gates)
    return parts(layer, Plan(names=names, lengths=(units,) * len(gates), reason=reason))
