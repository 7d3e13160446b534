"""From a module's arrays to its layers: a kernel with its bias, a scale with its offset, or parts of them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.layers.bundles import Bundle, Surroundings
from regaudit.layers.layouts import Layout, layout
from regaudit.layers.names import LEAVES, components, join
from regaudit.layers.recurrent import flax_cell, recurrent
from regaudit.layers.roles import Decision, decide, is_bias_name, part_of
from regaudit.layers.values import Values, slab
from regaudit.records import Axis, Confidence, Layer, Parameter, Role, Use

if TYPE_CHECKING:
    from collections.abc import Callable

_ORDER = (Confidence.LOW, Confidence.MEDIUM, Confidence.HIGH)
_EXPERTS = frozenset({"experts", "moe", "expert", "switch_mlp"})  # the last is MLX's
_GGUF_EXPERTS = re.compile(r"^ffn_(?:gate|up|down|gate_up)_(?:ch)?exps$")


def layers_of(bundle: Bundle, around: Surroundings) -> tuple[Layer, ...]:
    """Return the layers of a module; every array of the bundle is in one of them."""
    found: tuple[Layer, ...] = ()
    for build in _BUILDERS:
        found = build(bundle, around)
        if found:
            break
    used = {name for layer in found for parameter in layer.parameters for name in parameter.tensors}
    rest = [(leaf, v) for leaf, v in bundle.values.items() if not used.issuperset(v.tensors)]
    return (*found, *(_leftover(bundle, leaf, values) for leaf, values in rest))


def _recurrent(bundle: Bundle, around: Surroundings) -> tuple[Layer, ...]:
    return recurrent(bundle) or flax_cell(bundle, around)


def _separable(bundle: Bundle, around: Surroundings) -> tuple[Layer, ...]:
    """Return the two kernels of a Keras SeparableConv: one filter a channel, then a 1 × 1 convolution."""
    depthwise, pointwise = (bundle.values.get(leaf) for leaf in ("depthwise_kernel", "pointwise_kernel"))
    if depthwise is None or pointwise is None:
        return ()
    parts = {"depthwise": {"depthwise_kernel": depthwise}, "pointwise": {"pointwise_kernel": pointwise}}
    if bundle.bias is not None:
        parts["pointwise"]["bias"] = bundle.bias
    decision = Decision(
        role=Role.CONV, op=bundle.type or "SeparableConv", confidence=Confidence.HIGH,
        reason="it has a depthwise and a pointwise kernel: a separable convolution, measured apart",
    )  # fmt: skip
    return tuple(
        replace(
            _with_kernel(replace(bundle, values=values), next(iter(values.values())), decision, around),
            name=f"{bundle.name}[{part}]", part=part,
        )
        for part, values in parts.items()
    )  # fmt: skip


def _experts(bundle: Bundle, around: Surroundings) -> tuple[Layer, ...]:
    """Return one layer for each expert of a stacked kernel (experts, …, …)."""
    kernel = bundle.kernel
    path = components(bundle.path)
    is_named = not _EXPERTS.isdisjoint(path) or _GGUF_EXPERTS.match(bundle.last)
    if kernel is None or kernel.ndim != 3 or bundle.type or not is_named:
        return ()
    is_in_out, how = _expert_layout(bundle, kernel, around)
    axes = (Axis.IN, Axis.OUT) if is_in_out else (Axis.OUT, Axis.IN)
    bias = bundle.bias if bundle.bias is not None and bundle.bias.ndim == 2 else None
    evidence = (*bundle.notes, f"{kernel.shape[0]} experts are stacked on axis 0: measured apart", how)
    found = []
    for index in range(kernel.shape[0]):
        parameters = [slab(kernel, index).parameter(Use.KERNEL, axes)]
        if bias is not None and bias.shape[0] == kernel.shape[0]:
            parameters.append(slab(bias, index).parameter(Use.BIAS, (Axis.OUT,)))
        found.append(
            Layer(
                name=f"{bundle.name}[expert {index}]", role=Role.DENSE, op="Linear", parameters=tuple(parameters),
                evidence=evidence, part=f"expert {index}",
                confidence=_sureness(how),
            )
        )  # fmt: skip
    return tuple(found)


def _sureness(how: str) -> Confidence:
    """Return how sure the orientation of experts is: stored so by one program, by sizes, or assumed."""
    if "stores" in how:
        return Confidence.HIGH
    return Confidence.LOW if "assumed" in how else Confidence.MEDIUM


def _expert_layout(bundle: Bundle, kernel: Values, around: Surroundings) -> tuple[bool, str]:
    """Return whether experts are stored (in, out), by the stacked kernel beside them, then by the model's width."""
    if around.framework == "MLX" or _GGUF_EXPERTS.match(bundle.last):
        return False, f"{around.framework or 'llama.cpp'} stores experts (experts, out, in)"
    rows, columns = kernel.shape[1:]
    stem = bundle.path[: len(bundle.path) - len(bundle.last)]
    up = around.shapes.get(stem + "gate_up_proj", (0, 0, 0))[1:]
    down = around.shapes.get(stem + "down_proj", (0, 0, 0))[1:]
    if len(up) == len(down) == 2 and up[0] and down[0]:
        fits_in_out = up[1] == 2 * down[0] and up[0] == down[1]
        fits_out_in = up[0] == 2 * down[1] and up[1] == down[0]
        if fits_in_out != fits_out_in:
            return (
                fits_in_out,
                f"gate_up_proj and down_proj fit together as ({'in, out' if fits_in_out else 'out, in'})",
            )
    width = around.architecture.hidden_size
    if width in (rows, columns) and rows != columns:
        takes_width = not bundle.last.startswith(("down", "w2"))
        return (
            rows == width
        ) is takes_width, f"the model is {width} wide: that axis is {'in' if takes_width else 'out'}"
    return False, "nothing tells the orientation: (out, in) is assumed"


def _by_role(bundle: Bundle, around: Surroundings) -> tuple[Layer, ...]:
    decision = decide(bundle, around)
    if decision.role in {Role.NORM, Role.ACTIVATION}:
        return _with_scale(bundle, decision)
    kernel = bundle.kernel
    if kernel is None or not kernel.shape or decision.role is Role.UNKNOWN:
        return ()
    return (_with_kernel(bundle, kernel, decision, around),)


def _with_kernel(bundle: Bundle, kernel: Values, decision: Decision, around: Surroundings) -> Layer:
    seen: Layout = layout(bundle, kernel, decision, around)
    parameters = [kernel.parameter(Use.KERNEL, seen.axes)]
    bias = bundle.bias
    if bias is not None and bias.size == parameters[0].extent(Axis.OUT):
        parameters.append(bias.parameter(Use.BIAS, (Axis.OUT,) * bias.ndim))
    op = _transposed(decision.op) if seen.role is Role.CONV_TRANSPOSE and not bundle.type else decision.op
    if not bundle.type and op.startswith("Conv") and seen.role in {Role.DENSE, Role.ATTENTION}:
        op = "EinsumDense"  # its number of axes spoke for a convolution
    return Layer(
        name=bundle.name,
        role=seen.role,
        op=op,
        parameters=tuple(parameters),
        evidence=(decision.reason, seen.reason, *bundle.notes),
        confidence=min(decision.confidence, seen.confidence, key=_ORDER.index),
        part=part_of(bundle, seen.role, around),
        activation=bundle.module.activation if bundle.module else "",
    )


def _transposed(op: str) -> str:
    """Return the class of a transposed convolution, in the spelling of torch (Conv2d) or Keras (Conv2D)."""
    return op.replace("Conv", "ConvTranspose") if op.endswith("d") else f"{op}Transpose"


def _with_scale(bundle: Bundle, decision: Decision) -> tuple[Layer, ...]:
    """Return a normalization or activation: its first array is the scale, its bias the offset."""
    uses: dict[Use, Values] = {}
    for leaf, values in bundle.values.items():
        use = LEAVES.get(leaf, Use.SCALE)
        use = {Use.KERNEL: Use.SCALE, Use.BIAS: Use.OFFSET}.get(use, use)
        uses.setdefault(use, values)
    parameters = tuple(uses[use].parameter(use, (Axis.OUT,) * uses[use].ndim) for use in Use if use in uses)
    return (
        Layer(
            name=bundle.name, role=decision.role, op=decision.op, parameters=parameters,
            evidence=(decision.reason, *bundle.notes), confidence=decision.confidence,
        ),
    )  # fmt: skip


def _leftover(bundle: Bundle, leaf: str, values: Values) -> Layer:
    """Return a layer of its own for an array that no builder could place: measured element by element."""
    decision = decide(replace(bundle, values={leaf: values}), Surroundings())
    is_bias = LEAVES.get(leaf) is Use.BIAS or (not leaf and is_bias_name(bundle.last))
    parameter: Parameter = values.parameter(
        Use.BIAS if is_bias else Use.SCALE, (Axis.OUT,) if is_bias and values.ndim == 1 else ()
    )
    reason = "a bias whose kernel is not in the file, or does not fit" if is_bias else decision.reason
    return Layer(
        name=join(bundle.path, leaf) or bundle.name, role=Role.UNKNOWN, parameters=(parameter,),
        evidence=(reason, *bundle.notes), confidence=Confidence.LOW,
    )  # fmt: skip


_BUILDERS: tuple[Callable[[Bundle, Surroundings], tuple[Layer, ...]], ...] = (
    _recurrent,
    _separable,
    _experts,
    _by_role,
)
