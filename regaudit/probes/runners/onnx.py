"""ONNX models, run by torch where all their operators are known, else by onnxruntime without gradients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from regaudit.checkpoints.onnx_flow import flow
from regaudit.checkpoints.onnx_messages import read_model
from regaudit.checkpoints.onnx_tensors import Files
from regaudit.checkpoints.protobuf import Wire
from regaudit.checkpoints.source import Source
from regaudit.errors import ConfigError
from regaudit.probes.graph.onnx_graph import missing_operators, read_steps
from regaudit.probes.graph.opening import runner
from regaudit.probes.runners import onnxruntime
from regaudit.probes.runners.base import RunnerKind

if TYPE_CHECKING:
    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.probes.base import Runner
    from regaudit.records import Layer

_FORMAT = "ONNX"


def _open(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, device: str) -> Runner:
    return open_model(checkpoint, layers, device)


def open_model(checkpoint: Checkpoint, layers: tuple[Layer, ...], device: str) -> Runner:
    """Return an ONNX model as a runner.

    Args:
        checkpoint: Open.
        layers: Its audited layers.
        device: Where to run.

    Raises:
        ConfigError: It has operators that are not known, and onnxruntime is not there or cannot run it either.
        CheckpointError: The file is not what it was when it was opened.
    """
    source = Source(Path(checkpoint.path))
    try:
        files = Files(source)
        model = read_model(Wire(source))
        written = flow(model, files)
        missing = missing_operators(written, model.opsets.get("", 1))
        if missing:
            return onnxruntime.open_model(checkpoint, layers, model, written, missing)
        try:
            program, weights = read_steps(model, written, files, checkpoint)
        except ValueError as error:
            if not onnxruntime.is_there():
                raise ConfigError(f"{checkpoint.path}: its graph cannot be run by torch: {error}") from error
            return onnxruntime.open_model(checkpoint, layers, model, written, [str(error)])
        return runner("onnx", program, weights, layers, device)
    finally:
        source.close()


RUNNER = RunnerKind(
    name="onnx",
    fits=lambda checkpoint, probing: not probing.model and checkpoint.format.startswith(_FORMAT),
    open=_open,
)
