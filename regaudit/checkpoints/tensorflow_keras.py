"""What Keras 2 wrote beside a SavedModel, `keras_metadata.pb`: every layer's class and configuration, as JSON.

The JSON is the same as in Keras' own files and is read in the same way; no class that it names is ever imported.

Source: keras/protobuf/saved_metadata.proto, keras/saving/legacy/saved_model/save.py (Keras 2.5 to 2.15).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import keras_declared, limits
from regaudit.checkpoints.keras_config import as_dict, as_list, read_network
from regaudit.checkpoints.keras_graph import connect, modules
from regaudit.checkpoints.source import read_whole
from regaudit.checkpoints.tensorflow_protos import KerasObject, keras_objects
from regaudit.checkpoints.text import parse_object

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from regaudit.records import Declared, Module, Remark

METADATA = "keras_metadata.pb"

_ROOT = "root"
_LAYER = ("_tf_keras_layer", "_tf_keras_rnn_layer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the metadata say of the network."""

    modules: tuple[Module, ...] = ()
    declared: tuple[Declared, ...] = ()
    remarks: tuple[Remark, ...] = ()


def describe(metadata: Path, names: Iterable[str]) -> Described:
    """Return the layers of a model and what they declare.

    Args:
        metadata: The file `keras_metadata.pb`.
        names: Names of the variables: a layer is called as they call it (`model/dense` for `model/dense/kernel`).

    Returns:
        Layers in the order of the network; nothing where no Keras model was saved.

    Raises:
        CheckpointError: The file is too large or malformed.
    """
    where = str(metadata)
    objects = list(keras_objects(read_whole(metadata, limit=limits.TENSORFLOW_KERAS_BYTES), where))
    root = next((parse_object(each.json, where) for each in objects if each.path == _ROOT), {})
    model = root if as_list(as_dict(root.get("config")).get("layers")) else _of_layers(objects, where)
    network = read_network(model, named=False)
    connect(network)
    training = keras_declared.in_training(as_dict(root.get("training_config")), f"{METADATA}: training_config")
    declared = (*keras_declared.in_layers(network, METADATA), *training)
    paths = _paths(names)
    found = modules(network)
    called = {each.name: paths.get(each.name.rpartition("/")[2], each.name) for each in found}
    return Described(
        modules=tuple(
            replace(each, name=called[each.name], inputs=tuple(called.get(name, name) for name in each.inputs))
            for each in found
        ),
        declared=tuple(replace(each, target=called.get(each.target, each.target)) for each in declared),
        remarks=keras_declared.code_in_layers(network, METADATA),
    )


def _of_layers(objects: list[KerasObject], where: str) -> dict[str, Any]:
    """Return a model of the layers that hold no others: a model by subclassing has no list of its layers."""
    layers = [each for each in objects if each.kind in _LAYER]
    holders = {path.rpartition(".")[0] for path in (each.path for each in layers)}
    configs = [parse_object(each.json, where) for each in layers if each.path not in holders]
    members = [{key: each.get(key) for key in ("class_name", "config", "name")} for each in configs]
    return {"class_name": "Model", "config": {"name": "", "layers": members}}


def _paths(names: Iterable[str]) -> dict[str, str]:
    """Return the scopes of variables by their last part, where only one ends so."""
    scopes: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        scope = name.rpartition("/")[0]
        scopes[scope.rpartition("/")[2]].add(scope)
    return {last: min(found) for last, found in scopes.items() if len(found) == 1}
