"""Which array is which weight: from the groups of an HDF5 file to the names that Keras gives its variables.

Keras 3 numbers a layer's variables (`layers/dense_1/vars/0`): their names follow from the layer's class and settings.
Legacy files list them by name (`weight_names`), with the traces of TensorFlow's name scopes.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.hdf5 import Dataset, Group, printable
from regaudit.checkpoints.keras_config import Node, snake_case
from regaudit.checkpoints.text import quoted
from regaudit.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_KERNEL = (("kernel", ""), ("bias", "use_bias"))
_NORM = (("gamma", "scale"), ("beta", "center"))
_CELL = (("kernel", ""), ("recurrent_kernel", ""), ("bias", "use_bias"))
_SEPARABLE = (("depthwise_kernel", ""), ("pointwise_kernel", ""), ("bias", "use_bias"))
# class → its variables in the order in which it creates them, each with the setting that may switch it off
VARIABLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D"), _KERNEL),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _KERNEL),
    "EinsumDense": (("kernel", ""), ("bias", "bias_axes")),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _SEPARABLE),
    **dict.fromkeys(("SimpleRNNCell", "GRUCell", "LSTMCell", "ConvLSTMCell"), _CELL),
    **dict.fromkeys(("SimpleRNN", "GRU", "LSTM"), _CELL),  # early Keras 2 kept no cell apart
    "BatchNormalization": (*_NORM, ("moving_mean", ""), ("moving_variance", "")),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), _NORM),
    "RMSNormalization": (("scale", ""),),
    "Normalization": (("mean", ""), ("variance", ""), ("count", "")),
    "SpectralNormalization": (("kernel", ""), ("vector_u", "")),
    **dict.fromkeys(("Embedding", "ReversibleEmbedding"), (("embeddings", ""),)),
    "PReLU": (("alpha", ""),),
    **dict.fromkeys(("Attention", "AdditiveAttention"), (("scale", "use_scale"),)),
    "SeedGenerator": (("seed_generator_state", ""),),
}
_RECURRENT = ("SimpleRNN", "GRU", "LSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_ATTENTION = ("MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention")
_HOLDERS = ("Sequential", "Functional", "Bidirectional", "TimeDistributed", "RNN", *_RECURRENT, *_ATTENTION)
_CLASSES = {snake_case(name): name for name in (*VARIABLES, *_HOLDERS)}
_PROJECTIONS = {
    "query_dense": "query", "key_dense": "key", "value_dense": "value", "output_dense": "attention_output",
}  # fmt: skip
_MODEL_LISTS = ("layers", "_layer_checkpoint_dependencies")  # Keras 3; Keras 2.12 to 2.15
_QUANTIZED = ("kernel", "embeddings")  # Keras quantizes these and adds `kernel_scale`
_WHOLE_MODEL = "top_level_model_weights"
_COUNTED = re.compile(r"_\d+$")
_PROBED = 16  # layers of one name in one model that are told apart by their path


@dataclass(slots=True, eq=False, kw_only=True)
class Weight:
    """An array of the file, the layer that it belongs to, and its name there (`kernel`)."""

    node: Node
    variable: str
    dataset: Dataset

    @property
    def name(self) -> str:
        """The name as in `keras.Variable.path`."""
        return "/".join(filter(None, (self.node.path, self.variable)))


def numbered_weights(group: Group, root: Node) -> list[Weight]:
    """Return the weights of a Keras 3 file in the order of the network.

    Args:
        group: Root of the HDF5 file.
        root: The model; layers that its configuration does not mention are added to it.

    Returns:
        All variables of all layers; not the optimizer's.
    """
    found = list(_Numbered().weights(group, root))
    position = {id(node): index for index, node in enumerate(root.every())}
    return sorted(found, key=lambda weight: position.get(id(weight.node), -1))


def listed_weights(group: Group, root: Node) -> list[Weight]:
    """Return the weights of a legacy HDF5 file in the order of its lists.

    Args:
        group: The one with the list `layer_names`.
        root: The model; layers that its configuration does not mention are added to it.

    Returns:
        All arrays of the group, those first that a list names.

    Raises:
        CorruptCheckpoint: A list names what the file does not hold.
    """
    found: dict[str, Weight] = {}
    members = {member.name: member for member in root.members}
    for name in dict.fromkeys((*group.lists.get("layer_names", ()), *group.groups)):
        below = _at(group, name)
        if below is None:
            raise CorruptCheckpoint(quoted(group.path), f"lists the layer {quoted(name)}, which the file does not hold")
        top = root if name == _WHOLE_MODEL else members.get(printable(name))
        datasets = [dataset for dataset in dict.fromkeys(_listed(below)) if dataset.path not in found]
        if datasets:
            finder = _Listed(top or _implied(root, printable(name), name))
            found |= {dataset.path: finder.weight(dataset, below) for dataset in datasets}
    return list(found.values())


def unnamed_network(group: Group) -> Node:
    """Return the network of a Keras 3 weights file without configuration: what its groups tell of the model."""
    name = _label(group)
    members = next((group.groups[key] for key in _MODEL_LISTS if key in group.groups), None)
    # Only functional models store their input layers, and only they keep their name out of their weights' paths.
    is_graph = members is not None and any(key.startswith("input_layer") for key in members.groups)
    scope = "" if is_graph else name
    return Node(name=name, type="Functional" if is_graph else "", path=name, scope=scope, full=scope)


def legacy_scope(group: Group) -> str:
    """Return what stands before the layers' names in a legacy file: Keras 3 puts the name of a chain of layers there."""
    for name, below in group.groups.items():
        for weight in below.lists.get("weight_names", ())[:1]:
            first, _, rest = weight.partition("/")
            if rest.startswith(f"{name}/"):
                return first
    return ""


def path_below(dataset: Dataset, group: Group) -> str:
    """Return an array's path below a group, without the `:0` of TensorFlow's variables."""
    return printable(dataset.path.removeprefix(group.path).lstrip("/")).removesuffix(":0")


class _Numbered:
    """Walks the groups of a Keras 3 file and the network side by side."""

    def __init__(self) -> None:
        self._lookups: dict[int, dict[str, Node]] = {}
        self._placed: set[int] = set()

    def weights(self, group: Group, node: Node) -> Iterator[Weight]:
        """Yield the weights of a layer and of those in it."""
        own = group.groups.get("vars")
        if own is not None and own.datasets:
            # "0", "1", … "10": by length first, so that 10 comes after 9
            items = sorted(own.datasets.items(), key=lambda item: (len(item[0]), item[0]))
            names = _variables(node, items)
            for variable, (_, dataset) in zip(names, items, strict=True):
                yield Weight(node=node, variable=variable, dataset=dataset)
        for key, below in group.groups.items():
            if key != "vars" and not (node.parent is None and key == "optimizer"):
                yield from self._below(key, below, node)

    def _below(self, key: str, group: Group, parent: Node) -> Iterator[Weight]:
        """Yield the weights of a sub-layer, or of the sub-layers in a list (`layers`, `cells`, `blocks`)."""
        if "vars" not in group.groups:
            for name, below in group.groups.items():
                yield from self._below(name, below, parent)
        elif next(group.every(), None) is not None:
            yield from self.weights(group, self._member(parent, key, _label(group)))

    def _member(self, parent: Node, key: str, label: str) -> Node:
        if id(parent) not in self._lookups:
            self._lookups[id(parent)] = _lookup(parent)
        known = self._lookups[id(parent)]
        node = known.get(f"name {label}") or known.get(f"slot {key}") or known.get(f"class {key}")
        if node is None or id(node) in self._placed:
            node = _implied(parent, label, key)
        self._placed.add(id(node))
        return node


def _lookup(parent: Node) -> dict[str, Node]:
    """Return the members by name, by the attribute that holds them, and by class and number (`dense_1`)."""
    found: dict[str, Node] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for member in parent.members:
        kind = snake_case(member.type)
        number = counts[member.slot, kind]
        counts[member.slot, kind] += 1
        found.setdefault(f"name {member.name}", member)
        found.setdefault(f"class {kind}_{number}" if number else f"class {kind}", member)
        if member.slot:
            found.setdefault(f"slot {member.slot}", member)
    return found


def _label(group: Group) -> str:
    """Return the layer's name, which Keras writes beside its variables since 3.6; "" if there is none."""
    own = group.groups.get("vars")
    return own.texts.get("name", "") if own else ""


def _implied(parent: Node, label: str, key: str) -> Node:
    """Return a new layer that no configuration mentions; its class follows from its place or its name."""
    key = printable(key).lstrip("_")
    kind = _class_of(key) or _class_of(label.removeprefix("forward_").removeprefix("backward_"))
    if parent.type in _RECURRENT and "cell" in key:
        kind = "ConvLSTMCell" if parent.type.startswith("Conv") else f"{parent.type}Cell"
        return parent.add(label or snake_case(kind), kind, slot="cell")
    if parent.type in _ATTENTION and (key in _PROJECTIONS or label in _PROJECTIONS.values()):
        return parent.add(label or _PROJECTIONS[key], "EinsumDense", config={"use_bias": True})
    return parent.add(label or key, kind)


def _class_of(name: str) -> str:
    """Return the class of which a name is the usual one (`conv2d_3`), "" if it is none."""
    return _CLASSES.get(_COUNTED.sub("", name), "")


def _variables(node: Node, items: Sequence[tuple[str, Dataset]]) -> list[str]:
    """Return the names of a layer's variables; where they do not follow from its class, their numbers."""
    if [key for key, _ in items] != [str(index) for index in range(len(items))]:
        return [printable(key) for key, _ in items]  # a layer that saves its variables by name
    datasets = [dataset for _, dataset in items]
    if node.type not in VARIABLES:
        return _guessed(datasets)
    names = [name for name, setting in VARIABLES[node.type] if _is_on(node.config, setting)]
    if names and names[0] in _QUANTIZED and not _is_float(datasets[0]):
        names = names[: max(1, len(datasets) - 1)]  # its scale is always there, its bias need not be
    if len(names) < len(datasets):
        return _extended(names, datasets)
    if len(names) > len(datasets):
        always = [name for name, setting in VARIABLES[node.type] if not setting]
        return [str(index) for index in range(len(datasets) - len(always))] + always[: len(datasets)]
    return names


def _is_on(config: Mapping[str, object], setting: str) -> bool:
    return not setting or config.get(setting, True) not in (False, None)  # a set would need it hashable


def _extended(names: list[str], datasets: Sequence[Dataset]) -> list[str]:
    """Return the names with those of what quantization and low-rank adaptation store beside a kernel."""
    stem = names[0] if names else "kernel"
    extra = len(datasets) - len(names)
    if stem in _QUANTIZED and not _is_float(datasets[0]):
        further = [f"{stem}_scale", f"{stem}_zero", "g_idx"][:extra]
    elif extra == 2 and all(len(dataset.shape) > 1 for dataset in datasets[-2:]):
        further = [f"lora_{stem}_a", f"lora_{stem}_b"]
    else:
        further = []
    return names + further + [str(index) for index in range(len(names) + len(further), len(datasets))]


def _is_float(dataset: Dataset) -> bool:
    return dataset.dtype in DTYPES and DTYPES[dataset.dtype].is_float


def _guessed(datasets: Sequence[Dataset]) -> list[str]:
    """Return the names of a kernel, or of an RNN's two, where the shapes of an unknown class fit; else numbers."""
    shapes = [dataset.shape for dataset in datasets]
    match shapes:
        case [(_, _, *_)]:
            return ["kernel"]
        case [(_, *_, units), (length,)] if units == length:
            return ["kernel", "bias"]
        case [(_, gates), (units, same), (*_, last)] if gates == same == last and gates in {
            units,
            3 * units,
            4 * units,
        }:
            return ["kernel", "recurrent_kernel", "bias"]
        case _:
            return [str(index) for index in range(len(datasets))]


def _listed(group: Group) -> Iterator[Dataset]:
    for name in group.lists.get("weight_names", ()):
        above, _, leaf = name.rpartition("/")
        holder = _at(group, above)
        if holder is None or leaf not in holder.datasets:
            raise CorruptCheckpoint(
                quoted(group.path), f"lists the weight {quoted(name)}, which the file does not hold"
            )
        yield holder.datasets[leaf]
    yield from group.every()


def _at(group: Group, path: str) -> Group | None:
    for part in filter(None, path.split("/")):
        if part not in group.groups:
            return None
        group = group.groups[part]
    return group


class _Listed:
    """Finds the layers of one top-level layer of a legacy file by the paths of their weights.

    Such a path may lack the models around a layer, or end in a count that TensorFlow added (`bn_1/gamma` in the
    group `bn`).
    """

    def __init__(self, top: Node) -> None:
        self._top = top
        self._by_name: dict[str, list[Node]] = {}
        self._implied: dict[tuple[int, str], Node] = {}
        for node in (top, *top.every()):
            self._by_name.setdefault(node.name, []).append(node)

    def weight(self, dataset: Dataset, group: Group) -> Weight:
        """Return the array with the layer that its path names."""
        *path, variable = path_below(dataset, group).split("/")
        node, end = self._known(path)
        for name in path[end:]:
            if (id(node), name) not in self._implied:
                self._implied[id(node), name] = _implied(node, name, name)
            node = self._implied[id(node), name]
        return Weight(node=node, variable=variable, dataset=dataset)

    def _known(self, path: list[str]) -> tuple[Node, int]:
        """Return the layer that the longest part of a path names, and the length of that part."""
        for end in range(len(path), 0, -1):
            *above, name = path[:end]
            for spelling in (name, _COUNTED.sub("", name)):
                found = self._by_name.get(spelling, ())[:_PROBED]
                if found:
                    return max(found, key=lambda node: _agreement(node, [*above, node.name])), end
        return self._top, 0


def _agreement(node: Node | None, path: list[str]) -> int:
    length = 0
    for name in reversed(path):
        if node is None or node.name != name:
            break
        length, node = length + 1, node.parent
    return length
