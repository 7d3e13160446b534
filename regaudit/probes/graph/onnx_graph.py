"""An ONNX graph as nodes that torch can run.

Source: https://onnx.ai/onnx/repo-docs/IR.html, ONNX 1.23.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from regaudit.checkpoints import onnx_names
from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.onnx_messages import TensorMessage
from regaudit.checkpoints.onnx_tensors import Refused, Stored, stored
from regaudit.probes.base import ModelInput
from regaudit.probes.graph.layers import Rules, Slots, find_layers
from regaudit.probes.graph.nodes import Node, Program, Ref
from regaudit.probes.graph.onnx_elementwise import ELEMENTWISE
from regaudit.probes.graph.onnx_recurrent import RECURRENT
from regaudit.probes.graph.onnx_settings import Settings, same_device
from regaudit.probes.graph.onnx_shapes import SHAPES
from regaudit.probes.graph.onnx_windows import WINDOWS
from regaudit.probes.graph.opening import Weights, as_tensor
from regaudit.records import Use

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.checkpoints.onnx_flow import Flow, Step, Value
    from regaudit.checkpoints.onnx_messages import Model
    from regaudit.checkpoints.onnx_tensors import Files
    from regaudit.records import Tensor

OPERATORS: dict[str, Callable[..., Any]] = {**ELEMENTWISE, **SHAPES, **WINDOWS, **RECURRENT}
# Operators of onnxruntime's own domain that are ONNX's under the same name.
_CONTRIBUTED = {"com.microsoft": {"Gelu"}}
_CONV = (Slots(0, 1, 2, 1),)
_SLOTS: dict[str, tuple[Slots, ...]] = {
    "Gemm": (Slots(0, 1, 2),),
    "MatMul": (Slots(0, 1), Slots(1, 0, None, -2)),
    **dict.fromkeys(
        ("Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "GroupNormalization", "PRelu"), _CONV
    ),
    "LayerNormalization": (Slots(0, 1, 2),),
    "RMSNormalization": (Slots(0, 1),),
    "Gather": (Slots(1, 0),),
}
_ELEMENTS = {1: "F32", 6: "I32", 7: "I64", 9: "BOOL", 10: "F32", 11: "F32", 16: "F32", 2: "U8", 3: "I8", 5: "I16"}


def missing_operators(flow: Flow, opset: int) -> list[str]:
    """Return the operators of a graph that torch is not told how to run, each once; some only with these settings."""
    return sorted({name for step in flow.steps if (name := _missing(step, opset))})


def _missing(step: Step, opset: int) -> str:
    known = OPERATORS if not step.domain else _CONTRIBUTED.get(step.domain, ())
    if step.op not in known:
        return f"{step.domain}.{step.op}" if step.domain else step.op
    judge = _UNFIT.get(step.op)
    setting = judge(step, opset) if judge else ""
    return f"{step.op} ({setting})" if setting else ""


def _unfit_resize(step: Step, opset: int) -> str:
    mode = step.text("mode") or "nearest"
    place = "asymmetric" if opset <= 10 else step.text("coordinate_transformation_mode") or "half_pixel"
    places = (
        ("asymmetric", "half_pixel") if mode == "nearest" else ("align_corners", "half_pixel", "pytorch_half_pixel")
    )
    rounds = opset > 10 and mode == "nearest" and place == "asymmetric" and step.text("nearest_mode") != "floor"
    is_known = mode in {"nearest", "linear"} and place in places and not rounds
    return "" if is_known and "axes" not in step.attributes else f"{mode}, {place}"


def _unfit_recurrent(step: Step, opset: int) -> str:
    if step.op == "GRU" and not step.integer("linear_before_reset"):
        return "reset before the product"
    has_more = any(step.value(place) is not None for place in (4, 7))
    odd = {"clip", "layout"} & set(step.attributes) or has_more
    return "sequence lengths, clipping or peepholes" if odd else ""


def _unfit_pool(step: Step, opset: int) -> str:
    return "indices" if len(step.outputs) > 1 and step.outputs[1].takers else ""


def _unfit_transpose(step: Step, opset: int) -> str:
    return "output_shape" if "output_shape" in step.attributes or step.text("auto_pad").startswith("SAME") else ""


_UNFIT: dict[str, Callable[[Step, int], str]] = {
    **dict.fromkeys(("Resize", "Upsample"), _unfit_resize),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _unfit_recurrent),
    "MaxPool": _unfit_pool,
    "ConvTranspose": _unfit_transpose,
}


def input_types(model: Model, flow: Flow) -> tuple[ModelInput, ...]:
    """Return what the graph takes; an axis of any length where it says nothing."""
    found = []
    for value in flow.inputs:
        element, shape = model.graph.types.get(value.name, (1, None))
        found.append(ModelInput(name=value.name, shape=shape, dtype=_ELEMENTS.get(element, "F32")))
    return tuple(found)


def batch_of(inputs: Iterable[ModelInput]) -> int | None:
    """Return the batch size that a graph was exported for, None where it takes any."""
    sizes = {each.shape[0] for each in inputs if each.shape}
    return next(iter(sizes)) if len(sizes) == 1 else None


def read_steps(model: Model, flow: Flow, files: Files, checkpoint: Checkpoint) -> tuple[Program, Weights]:
    """Return a graph whose operators are all known as nodes, with its weights.

    Args:
        model: Its messages.
        flow: Its steps.
        files: Where its tensors lie.
        checkpoint: The same file, with what its graph says of each tensor.

    Returns:
        The program; the values of its constants.
    """
    where, opset = checkpoint.path, model.opsets.get("", 1)
    weights, names = _constants(flow, {each.name: each for each in checkpoint.tensors})
    nodes = tuple(_node(step, opset, files, index) for index, step in enumerate(flow.steps))
    inputs = input_types(model, flow)
    output: Hashable = id(flow.outputs[0]) if flow.outputs else None
    layers = {each.name: each.layer for each in checkpoint.tensors if each.layer}
    rules = Rules(
        slots=_SLOTS,
        products=frozenset({"MatMul", "Conv", "Gemm"}),
        sums=frozenset({"Add"}),
        name=lambda name: layers.get(name) or onnx_names.of_tensor(name, "") or name,
        is_layer=_is_layer,
    )
    program = Program(
        where=where,
        nodes=find_layers(nodes, names, weights.shapes(), output, rules),
        inputs=inputs,
        keys=tuple(id(value) for value in flow.inputs),
        output=output,
        weights=names,
        batch=batch_of(inputs),
    )
    return program, weights


def _is_layer(node: Node, shape: tuple[int, ...]) -> bool:
    return node.operator != "Gather" or len(shape) == 2


def _constants(flow: Flow, told: Mapping[str, Tensor]) -> tuple[Weights, dict[Hashable, str]]:
    """Return the values of the constants that some step takes, and for the names of values theirs in the network."""
    weights = Weights()
    names: dict[Hashable, str] = {}
    known: dict[int, str] = {}
    used = {id(value): value for step in flow.steps for value in step.inputs if value is not None and value.is_constant}
    used |= {id(value): value for value in flow.outputs if value.is_constant}
    for key, value in used.items():
        held = value.tensor
        name = known.get(id(held), "") if held is not None else ""
        if not name:
            name = _free(held.name if held is not None else value.name, weights)
            values = _values(held) if held is not None else np.array(value.number)
            weights.add(name, values, is_trained=held is not None and _is_trained(value, told.get(held.name)))
            if held is not None:
                known[id(held)] = name
        names[key] = name
    return weights, names


def _free(name: str, weights: Weights) -> str:
    while name in weights.parameters or name in weights.buffers:
        name += "'"
    return name


def _is_trained(value: Value, tensor: Tensor | None) -> bool:
    """Return whether a constant is a weight: a layer has it, or it is an initializer that the network's author named."""
    if tensor is None:
        # A kernel that is stored with others (both directions of an LSTM) is told in parts.
        return value.is_initializer and value.tensor is not None and value.tensor.size > 1
    if tensor.layer:
        return tensor.use not in {Use.MEAN, Use.VARIANCE}
    return value.is_initializer and tensor.size > 1 and not onnx_names.is_made_up(tensor.name)


def _values(held: Stored) -> np.ndarray:
    if held.dtype not in DTYPES and held.dtype not in {"I4", "U4"}:
        raise ValueError(f"a constant of {held.dtype}")
    return held.read(0, held.size).reshape(held.shape)


def _node(step: Step, opset: int, files: Files, index: int) -> Node:
    attributes = {name: value for name, value in step.attributes.items() if not isinstance(value, TensorMessage)}
    last = max((place for place, value in enumerate(step.outputs) if value.takers or value.is_output), default=0)
    settings = Settings(attributes=attributes, opset=opset, outputs=max(last + 1, _least_outputs(step)))
    arguments: list[Any] = [None if value is None else Ref(id(value)) for value in step.inputs]
    apply: Callable[..., Any] = partial(_apply, OPERATORS[step.op], settings)
    if step.op == "ConstantOfShape" and isinstance(message := step.attributes.get("value"), TensorMessage):
        fill = stored(message, "value", files)
        if isinstance(fill, Refused) or fill.size != 1:
            raise ValueError("a ConstantOfShape with a value that is no number")
        apply = partial(_filled, settings, as_tensor(fill.read(0, 1)))
    return Node(
        name=step.name or f"{step.op} {index}",
        operator=step.op,
        apply=apply,
        arguments=tuple(arguments),
        outputs=tuple(id(value) for value in step.outputs[: settings.outputs]),
        path=onnx_names.of_scopes(step.scopes) or onnx_names.of_node(step.name, step.op),
    )


def _least_outputs(step: Step) -> int:
    return len(step.outputs) if step.op in {"Split", "TopK"} else 1


def _apply(function: Callable[..., Any], settings: Settings, *inputs: Any) -> Any:  # noqa: ANN401
    return function(settings, *same_device(inputs))


def _filled(settings: Settings, fill: Any, shape: Any) -> Any:  # noqa: ANN401
    return SHAPES["ConstantOfShape"](settings, shape, fill)
