"""The network that a Keras configuration describes: a tree of layers, each with its path and its own settings.

The JSON is untrusted: whatever has another type than Keras writes is left out, layer by layer. No class that it
names is ever imported.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from regaudit.checkpoints import limits
from regaudit.checkpoints.hdf5 import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SHOWN_CHARACTERS = 200  # a longer text is no setting but data
_NO_LAYERS = ("_initializer", "_regularizer", "_constraint", "activation", "dtype", "function")
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])")


@dataclass(slots=True, eq=False, kw_only=True)
class Node:
    """One layer of the network; it may hold others (a model, a wrapper, an RNN).

    Args:
        name: The layer's own name.
        type: Its class ("" if unknown).
        path: Unique, as in the names of its weights (`inner/inner_d`).
        scope: What stands before the names of the layers in it.
        full: All names from the top; unlike `path` with those of functional models.
        slot: The attribute of the parent that holds it (`cell`, `forward_layer`); "" for a member of a model.
        config: Its own settings, without those of the layers in it.
        parent: Absent for the model itself.
        members: The layers in it, in the order of the network.
        entry: What the model says of it besides its settings: its inbound nodes.
        inputs: Paths of the layers that feed it.
    """

    name: str
    type: str
    path: str
    scope: str
    full: str
    slot: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    parent: Node | None = None
    members: list[Node] = field(default_factory=list)
    entry: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    @property
    def is_functional(self) -> bool:
        """True for a model with a graph, False for a chain of layers and for a single layer."""
        return "input_layers" in self.config or self.type in {"Functional", "Model"}

    def every(self) -> Iterator[Node]:
        """Yield all layers in it and below, in the order of the network, without the node itself."""
        for member in self.members:
            yield member
            yield from member.every()

    def add(self, name: str, kind: str, *, slot: str = "", config: Mapping[str, Any] | None = None) -> Node:
        """Return a new layer, the last member.

        Its path is its name within the parent's scope. A functional model gives its layers no scope: its graph is
        built before the model exists, so that its name is in no weight's path (`keras.Layer.path`).
        """
        path = _joined(self.scope, name)
        node = Node(name=name, type=kind, path=path, scope=path, full=_joined(self.full, name), slot=slot, parent=self)
        node.config = config or {}
        node.scope = "" if node.is_functional else path
        self.members.append(node)
        return node


def read_network(model: Mapping[str, Any], *, named: bool) -> Node:
    """Return the network of a serialized model.

    Args:
        model: `config.json` of a `.keras` file, or the attribute `model_config` of an HDF5 file.
        named: A model that is no functional one puts its name before its weights' (Keras 3; Keras 2 did not).

    Returns:
        The model itself; its layers are `every()`.
    """
    name, kind = _name(model), as_text(model.get("class_name"))
    root = Node(name=name, type=kind.rpartition(">")[2], path=name, scope="", full="", entry=model)
    root.config, below = _split(_settings(model))
    root.scope = root.full = name if named and not root.is_functional else ""
    _add(root, below, limits.KERAS_DEPTH.value)
    settle_paths(root)
    return root


def settle_paths(root: Node) -> None:
    """Make paths unique: layers that share one get all names from the top, and a number where that is not enough."""
    shared = {path for path, uses in Counter(node.path for node in root.every()).items() if uses > 1}
    taken: Counter[str] = Counter()
    for node in root.every():
        path = node.full if node.path in shared else node.path
        taken[path] += 1
        node.path = path if taken[path] == 1 else f"{path}#{taken[path]}"
        if not node.is_functional:
            node.scope = node.path


def snake_case(name: str) -> str:
    """Return the name under which Keras stores a class (`Conv2DTranspose` → `conv2d_transpose`)."""
    return _SNAKE.sub("_", re.sub(r"\W+", "", name)).lower()


def as_dict(value: object) -> dict[str, Any]:
    """Return the value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return the value where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return the value where it is text, else ""."""
    return printable(value) if isinstance(value, str) else ""


def as_number(value: object) -> float | None:
    """Return a finite number as Keras was given it, None for anything else.

    Keras rounds to float32 when it saves (1e-4 becomes 9.999999747378752e-05): of the decimals that round to the
    same float32, the shortest is the one that was written in the program.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    if not math.isfinite(number):
        return None
    if abs(number) <= float(np.finfo(np.float32).max) and float(np.float32(number)) == number:
        return float(str(np.float32(number)))
    return number


def class_name(value: object) -> str:
    """Return the name of a serialized object: its class, or the text itself where Keras writes only that."""
    if isinstance(value, str):
        return as_text(value)
    entry = as_dict(value)
    named = as_text(entry.get("class_name"))
    return as_text(entry.get("config")) if named == "function" else named


def plain_settings(config: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return the plain values of a layer's settings: scalars, tuples as text (`3, 3`), initializers by their class.

    An initializer's own numbers follow it (`kernel_initializer.stddev`).
    """
    found: dict[str, str | int | float | bool] = {}
    for key, value in config.items():
        name = printable(key)
        if key.endswith("_initializer") and value is not None:
            found[name] = class_name(value)
            numbers = as_dict(as_dict(value).get("config"))
            found |= {f"{name}.{printable(k)}": v for k, v in _scalars(numbers).items()}
        elif key.endswith("activation") and key != "activation":
            found[name] = class_name(value)
    return _scalars(config) | found


def _scalars(config: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {}
    for key, value in config.items():
        if isinstance(value, bool | int):
            found[printable(key)] = value
        elif isinstance(value, str) and len(value) <= _SHOWN_CHARACTERS and key != "name":
            found[printable(key)] = printable(value)
        elif (number := as_number(value)) is not None:
            found[printable(key)] = number
        elif isinstance(value, list) and value and all(isinstance(n, int) for n in value[:_SHOWN_CHARACTERS]):
            found[printable(key)] = ", ".join(map(str, value[:_SHOWN_CHARACTERS]))
    return found


def _add(parent: Node, below: Mapping[str, list[Mapping[str, Any]]], depth: int) -> None:
    if depth < 0:
        return
    for slot, entries in below.items():
        for entry in entries:
            config, further = _split(_settings(entry))
            kind = as_text(entry.get("class_name")).rpartition(">")[2]
            for name, place in _places(parent, _name(entry), slot):
                node = parent.add(name, kind, slot=place, config=config)
                node.entry = entry
                _add(node, further, depth - 1)


def _places(parent: Node, name: str, slot: str) -> list[tuple[str, str]]:
    """Return name and slot of the layer that an entry describes, of both layers for a `Bidirectional`.

    Keras 2 stores the forward layer only, under its bare name; the backward one is its copy.
    """
    if parent.type != "Bidirectional" or slot != "layer":
        return [(name, "" if slot == "layers" else slot)]
    bare = name.removeprefix("forward_")
    places = [(f"forward_{bare}", "forward_layer"), (f"backward_{bare}", "backward_layer")]
    return places[:1] if "backward_layer" in _settings(parent.entry) else places


def _split(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[Mapping[str, Any]]]]:
    """Return the settings of a layer itself, and the layers that they hold, by key."""
    below = {key: layers for key, value in config.items() if (layers := _layers_in(key, value))}
    return {key: value for key, value in config.items() if key not in below}, below


def _layers_in(key: str, value: object) -> list[Mapping[str, Any]]:
    if key.endswith(_NO_LAYERS):
        return []
    entries = value if isinstance(value, list) else [value]
    return [as_dict(entry) for entry in entries if _is_layer(entry)]


def _is_layer(entry: object) -> bool:
    """Return whether this is a serialized layer; of all that Keras serializes only layers have a name."""
    settings = _settings(as_dict(entry))
    return bool(as_dict(entry).get("class_name")) and ("name" in settings or "layers" in settings)


def _settings(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    config = entry.get("config")
    return {"layers": config} if isinstance(config, list) else as_dict(config)  # Keras < 2.2: a bare list of layers


def _name(entry: Mapping[str, Any]) -> str:
    named = as_text(_settings(entry).get("name")) or as_text(entry.get("name"))
    return named or snake_case(as_text(entry.get("class_name"))) or "layer"


def _joined(scope: str, name: str) -> str:
    return f"{scope}/{name}" if scope else name
