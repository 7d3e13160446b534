"""onnxruntime, for ONNX models with operators that torch is not told how to run: every value, but no gradients.

The model's bytes are given to it with more outputs: a graph's outputs are a repeated field, so they are written behind
the graph. No library of custom operators is loaded, no graph is optimised away.

Source: onnx/onnx.proto, ONNX 1.23; https://onnxruntime.ai/docs/api/python/ (1.32).
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints.text import listed
from regaudit.errors import ConfigError
from regaudit.networks.places import Place
from regaudit.probes.base import Runner
from regaudit.probes.graph.batch_axis import layouts
from regaudit.probes.graph.errors import NodeError
from regaudit.probes.graph.onnx_graph import input_types
from regaudit.probes.runners.base import RunnerKind
from regaudit.records import Skip, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.checkpoints.onnx_flow import Flow
    from regaudit.checkpoints.onnx_messages import Model
    from regaudit.config import Probing
    from regaudit.probes.base import Network, Tensor
    from regaudit.probes.graph.batch_axis import Layout
    from regaudit.records import Layer

_MAX_BYTES = (1 << 31) - 1  # of a protocol buffer in memory
_GRAPH, _OUTPUT, _NAME = 7, 12, 1  # fields of ModelProto, GraphProto, ValueInfoProto
_PRODUCTS = {"Gemm": -1, "MatMul": -1, "Conv": 1, "ConvTranspose": 1, "Gather": -1}
# Activations without settings: of others the graph's own settings would count.
_ACTIVATIONS = frozenset(
    {"gelu", "hardswish", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh"}
)
_NO_NODE = "no operator of the graph applies its kernel to the data by itself, so its output is not visible"
NOTE = (
    "The graph has operators that regaudit does not run by torch ({operators}): onnxruntime runs it, without gradients."
)


def open_model(
    checkpoint: Checkpoint, layers: Sequence[Layer], model: Model, flow: Flow, missing: Sequence[str]
) -> Runner:
    """Return an ONNX model that onnxruntime runs, on the CPU.

    Args:
        checkpoint: Open.
        layers: Its audited layers.
        model: Its messages.
        flow: Its steps.
        missing: Operators that torch is not told how to run, for the note.

    Raises:
        ConfigError: onnxruntime is not installed, or does not run the model.
    """
    runtime = _imported(checkpoint.path, missing)
    watched = _watched(flow, layers, {node.outputs[0] for node in model.graph.nodes if node.outputs})
    outputs = [each.name for each in flow.outputs]
    session = _session(runtime, Path(checkpoint.path), [each.output for each in watched if each.output not in outputs])
    network = _classes()(partial(_run, session, outputs[0], checkpoint.path), watched)
    laid_out = layouts(input_types(model, flow))
    seen = {each.layer for each in watched}
    kernels = [layer for layer in layers if layer.get(Use.KERNEL) is not None]
    return Runner(
        kind="onnxruntime",
        network=network,
        inputs=tuple(each.taken for each in laid_out),
        places=tuple(each.place(f"layer_{index}") for index, each in enumerate(watched)),
        device="cpu",
        is_differentiable=False,
        skips=tuple(
            Skip(layer=each.name, measure="activity", reason=_NO_NODE) for each in kernels if each.name not in seen
        ),
        notes=(NOTE.format(operators=listed(list(missing))),),
        call=partial(_call, laid_out),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A layer, the value z that it gives, and the activation that the graph applies to z ("" if none)."""

    layer: str
    output: str
    channel_axis: int
    activation: str = ""

    def place(self, module: str) -> Place:
        """Return its place, a submodule that hands on what the session gave."""
        return Place(layer=self.layer, module=module, channel_axis=self.channel_axis)


def _watched(flow: Flow, layers: Iterable[Layer], visible: set[str]) -> list[Watched]:
    """Return for each layer the value of the outer graph that its operator gives, its bias included."""
    owners = {
        name: layer
        for layer in layers
        if (kernel := layer.get(Use.KERNEL)) is not None and not layer.part
        for name in kernel.tensors
    }
    found: dict[str, Watched] = {}
    for step in flow.steps:
        if step.op not in _PRODUCTS:
            continue
        held = [value.tensor.name for value in step.inputs if value is not None and value.tensor is not None]
        layer = next((owners[name] for name in held if name in owners), None)
        if layer is None or layer.name in found:
            continue
        output, bias = step.outputs[0], layer.get(Use.BIAS)
        if bias is not None and not set(bias.tensors) & set(held):
            [*takers] = output.takers
            adds = takers[0] if len(takers) == 1 and takers[0].op == "Add" else None
            if adds is None:
                continue
            output = adds.outputs[0]
        if output.name in visible:
            axis = _PRODUCTS[step.op]
            found[layer.name] = Watched(
                layer=layer.name, output=output.name, channel_axis=axis, activation=layer.activation
            )
    return list(found.values())


def is_there() -> bool:
    """Return whether onnxruntime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def _imported(path: str, missing: Sequence[str]) -> Any:  # noqa: ANN401
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"{path}: its graph has operators that regaudit does not run by torch: {listed(list(missing))}. Either let "
            "onnxruntime run it, without gradients (pip install 'regaudit[onnx]'), or give the code that builds the "
            "model (--model FILE.py:build)"
        ) from error
    return onnxruntime


def _session(runtime: Any, path: Path, outputs: Sequence[str]) -> Any:  # noqa: ANN401
    # Return a session on the model's bytes, with more outputs behind them.
    if path.stat().st_size > _MAX_BYTES:
        raise ConfigError(
            f"{path}: has {path.stat().st_size:,} bytes; onnxruntime takes at most {_MAX_BYTES:,} from memory"
        )
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    # Tensors beside the model stay within its folder: the reader has checked every path.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    try:
        raw = with_outputs(path.read_bytes(), outputs)
        return runtime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except _errors(runtime) as error:
        raise ConfigError(f"{path}: onnxruntime does not take the model: {_said(error)}") from error


def with_outputs(model: bytes, names: Iterable[str]) -> bytes:
    """Return a model with more outputs: its last field is its graph once more, with these alone, which parsers merge.

    Source: https://protobuf.dev/programming-guides/encoding/ ("Last One Wins": embedded messages are merged).
    """
    graph = b"".join(_field(_OUTPUT, _field(_NAME, name.encode())) for name in names)
    return model + _field(_GRAPH, graph) if graph else model


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _run(session: Any, output: str, path: str, inputs: Mapping[str, Any], watched: Sequence[str]) -> list[Any]:  # noqa: ANN401
    import onnxruntime

    try:
        return list(session.run([output, *watched], inputs))
    except _errors(onnxruntime) as error:
        raise NodeError(f"{path}: onnxruntime cannot run the model on these inputs: {_said(error)}") from error


def _errors(runtime: Any) -> tuple[type[BaseException], ...]:  # noqa: ANN401
    state = runtime.capi.onnxruntime_pybind11_state
    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NotImplemented",
        "RuntimeException",
        "NoSuchFile",
    )
    return (RuntimeError, ValueError, *(getattr(state, name) for name in names if hasattr(state, name)))


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _call(laid_out: tuple[Layout, ...], network: Network, batch: Mapping[str, Tensor]) -> Tensor:
    return network({each.taken.name: each(batch[each.taken.name]) for each in laid_out})


@cache
def _classes() -> Callable[..., Network]:
    """Return the module; torch is imported when the first one is made."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Session(nn.Module):
        """Calls the session; each layer is a submodule through which its output passes, so that hooks see it."""

        def __init__(
            self, run: Callable[[Mapping[str, Any], Sequence[str]], list[Any]], watched: list[Watched]
        ) -> None:
            super().__init__()
            self.run = run
            self.watched = watched
            for index in range(len(watched)):
                self.add_module(f"layer_{index}", nn.Identity())

        def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
            hooked = [k for k in range(len(self.watched)) if self.get_submodule(f"layer_{k}")._forward_hooks]
            given = {name: each.detach().cpu().numpy() for name, each in batch.items()}
            output, *values = self.run(given, [self.watched[k].output for k in hooked])
            for k, value in zip(hooked, values, strict=True):
                z = self.get_submodule(f"layer_{k}")(torch.from_numpy(value))
                if self.watched[k].activation in _ACTIVATIONS:  # what follows z sees it, as in other networks
                    getattr(functional, self.watched[k].activation)(z)
            return torch.from_numpy(output)

    return Session


def _open(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, device: str) -> Runner:
    from regaudit.probes.runners import onnx

    return onnx.RUNNER.open(checkpoint, layers, probing, device)


# It is opened by the onnx runner, which knows the operators; on its own it fits nothing.
RUNNER = RunnerKind(name="onnxruntime", fits=lambda checkpoint, probing: False, open=_open)
