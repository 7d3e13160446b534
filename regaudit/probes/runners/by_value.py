"""Names of a file's tensors in a network that renames them as it loads: the arrays with the same values.

Newer versions of a library rename modules and keep reading the old files.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.probes.base import Tensor
    from regaudit.records import Tensor as Stored

COMPARED: Final = 256  # numbers from the start of each array; two trained kernels do not agree in them


def completed(names: Mapping[str, str], checkpoint: Checkpoint, wanted: Mapping[str, Tensor]) -> dict[str, str]:
    """Return names in the network for the tensors of a file, those without one found by their values.

    A tensor whose values are not telling (zeros, ones) goes beside the one of its module that was found.

    Args:
        names: Those known by name.
        checkpoint: Open.
        wanted: The network's parameters and buffers, loaded from it.
    """
    found = dict(names)
    free: dict[bytes, list[str]] = defaultdict(list)
    for name, value in wanted.items():
        if name not in names.values() and value.is_floating_point():
            free[_print_of(value.detach().reshape(-1)[:COMPARED].cpu().numpy(), tuple(value.shape))].append(name)
    rest = [each for each in checkpoint.tensors if each.name not in found and free]
    for each in rest:
        candidates = free.get(_print_of(_start(checkpoint, each), each.shape), [])
        if len(candidates) == 1:
            found[each.name] = candidates[0]
    modules = {_module(name): _module(target) for name, target in found.items()}
    for each in rest:
        beside = f"{modules.get(_module(each.name), '')}.{each.name.rpartition('.')[2]}"
        if each.name not in found and beside in wanted and tuple(wanted[beside].shape) == each.shape:
            found[each.name] = beside
    return found


def _start(checkpoint: Checkpoint, tensor: Stored) -> np.ndarray:
    from regaudit.checkpoints.dtypes import DTYPES

    return checkpoint.read(tensor, 0, min(COMPARED, tensor.size)) if tensor.dtype in DTYPES else np.zeros(0)


def _print_of(values: np.ndarray, shape: tuple[int, ...]) -> bytes:
    return repr(shape).encode() + np.asarray(values, np.float32).tobytes()


def _module(name: str) -> str:
    return name.rpartition(".")[0]
