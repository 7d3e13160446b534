"""torch.export programs (`.pt2`), run by regaudit's own interpreter: no unpickling, no code of the file's.

Only operators of a list are called; `torch.export.load` is not used, since it executes what a file brings.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from regaudit.checkpoints.torch_export import read_program
from regaudit.errors import ConfigError
from regaudit.probes.graph import aten
from regaudit.probes.graph.export import read_nodes
from regaudit.probes.graph.layers import Rules, find_layers
from regaudit.probes.graph.opening import runner, stored_weights
from regaudit.probes.runners.base import RunnerKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.probes.base import Runner
    from regaudit.records import Layer

_FORMAT = "torch.export"


def _open(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, device: str) -> Runner:
    return open_program(checkpoint, layers, device)


def open_program(checkpoint: Checkpoint, layers: tuple[Layer, ...], device: str) -> Runner:
    """Return the program of a `.pt2` file as a runner.

    Args:
        checkpoint: Open.
        layers: Its audited layers.
        device: Where to run.

    Raises:
        ConfigError: Its graph calls operators that are not known, or cannot be run.
        CheckpointError: The file is not what it was when it was opened.
    """
    module = read_program(Path(checkpoint.path))
    program = read_nodes(module, checkpoint.path)
    used = set(program.weights.values())
    tensors = [each for each in (*checkpoint.tensors, *checkpoint.apart) if each.name in used]
    weights = stored_weights(checkpoint, tensors, _trained(module))
    missing = used - set(weights.parameters) - set(weights.buffers)
    if missing:
        raise ConfigError(
            f"{checkpoint.path}: its graph takes the tensor {min(missing)!r:.120}, which the file does not hold as "
            "plain numbers; save the program again with a current PyTorch"
        )
    rules = Rules(slots=aten.SLOTS, products=aten.PRODUCTS, sums=aten.SUMS, name=_layer)
    nodes = find_layers(program.nodes, program.weights, weights.shapes(), program.output, rules)
    return runner("pt2", replace(program, nodes=nodes), weights, layers, device)


def _layer(weight: str) -> str:
    """Return the module of a weight; one of the program's own is a layer by itself."""
    own, _, reparametrised = weight.partition(".parametrizations.")
    return own if reparametrised else weight.rpartition(".")[0] or weight


def _trained(module: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the parameters; the file was read before, so they have the form that is expected."""
    specs = module["signature"]["input_specs"]
    return frozenset(each["parameter"]["parameter_name"] for each in specs if "parameter" in each)


RUNNER = RunnerKind(
    name="pt2",
    fits=lambda checkpoint, probing: not probing.model and checkpoint.format == _FORMAT,
    open=_open,
)
