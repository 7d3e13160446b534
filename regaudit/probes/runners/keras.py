"""A Keras file on Keras' torch backend, only where the user trusts it: the file's configuration constructs classes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regaudit.errors import ConfigError, MissingExtra
from regaudit.probes.base import ModelInput, Runner
from regaudit.probes.runners.base import RunnerKind
from regaudit.probes.runners.loading import matched
from regaudit.probes.runners.outputs import pick
from regaudit.probes.runners.places import places
from regaudit.probes.user_code import UserCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.probes.base import Network, Tensor
    from regaudit.records import Layer

_SUFFIXES = frozenset({".keras", ".h5", ".hdf5"})
_DTYPES = {"float": "F32", "int": "I64", "uint": "I64", "bool": "BOOL"}


def _open(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, device: str) -> Runner:
    network = _loaded(checkpoint.path).to(device).float().eval()
    names, _ = matched([tensor.name for tensor in checkpoint.tensors], network.state_dict(keep_vars=True))
    found = places(network, layers, names, channels_last=True)
    return Runner(
        kind="keras",
        network=network,
        inputs=_inputs(network),
        places=found.places,
        skips=found.skips,
        device=device,
        names=names,
        notes=("Ran with Keras on its torch backend; the classes that the file names were constructed (--trust).",),
        call=_call,
    )


def _loaded(path: str) -> Network:
    """Return the model in a file, its Lambda layers refused.

    Raises:
        ConfigError: Keras cannot build it, or runs on another backend in this process.
        MissingExtra: Keras is not installed.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        import keras
    except ImportError as error:
        raise MissingExtra(path, "keras", "keras-run") from error
    if keras.backend.backend() != "torch":
        raise ConfigError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=torch to have {path} run")
    with UserCode(f"{path}: Keras {keras.__version__}"):
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def _inputs(network: Network) -> tuple[ModelInput, ...]:
    return tuple(
        ModelInput(name=each.name, shape=tuple(each.shape), dtype=_dtype(str(each.dtype)))
        for each in getattr(network, "inputs", None) or ()
    )


def _dtype(name: str) -> str:
    return _DTYPES.get(name.rstrip("0123456789"), "F32")


def _call(network: Network, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the output, in inference mode; several inputs in the model's order."""
    given: Any = next(iter(batch.values())) if len(batch) == 1 else [batch[each.name] for each in network.inputs]
    return pick(network(given, training=False))


def _fits(checkpoint: Checkpoint, probing: Probing) -> bool:
    path = Path(checkpoint.path)
    return probing.trust and path.suffix in _SUFFIXES and path.is_file() and bool(checkpoint.modules)


RUNNER = RunnerKind(name="keras", fits=_fits, open=_open)
