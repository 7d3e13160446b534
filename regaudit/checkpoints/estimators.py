"""Fitted linear models and MLPs among the objects of a scikit-learn file, and their arrays as tensors.

The containers (pickle, joblib, skops) differ in how they write an object; a `Tree` says what one node of theirs is, and
everything here works on that. Nothing is built: an estimator is its class's name and its attributes.

Source: sklearn/linear_model, sklearn/neural_network/_multilayer_perceptron.py, scikit-learn 1.9: `coef_` is (out, in), or
(in,) for a single output; `coefs_[i]` of an MLP is (in, out).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from regaudit.checkpoints import limits
from regaudit.checkpoints.base import UNREADABLE_TENSOR
from regaudit.checkpoints.numpy_arrays import _Stored as Stored
from regaudit.checkpoints.text import quoted
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Axis, Module, Remark, Use

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from regaudit.records import Tensor

_INTEGER_BITS = 64  # a longer integer is no setting
SMALL_FILE = 1 << 16  # bytes; below it the ratio of elements to bytes says nothing

# Attributes that hold (name, estimator) pairs: the names go into the path, the attribute's own does not.
_NAMED_STEPS = frozenset({"steps", "transformer_list", "transformers_"})
_OPTIMIZER_LISTS = ("ms", "vs", "velocities")  # Adam's moments, the momentum of SGD
_COEF_AXES = {1: (Axis.IN,), 2: (Axis.OUT, Axis.IN)}
_COEFS_AXES = {2: (Axis.IN, Axis.OUT)}
_BIAS_AXES = {1: (Axis.OUT,)}
_ACTIVATIONS = {"logistic": "sigmoid", "identity": "linear"}  # scikit-learn's words for Keras' functions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Object:
    """An object of the file: the dotted name of its class, and its attributes, not yet looked at."""

    type: str
    attributes: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An array that cannot be read as numbers, and why."""

    reason: str


class Tree(Protocol):
    """The nodes of a file. They live as long as the tree, and so do its arrays, each made once."""

    @property
    def where(self) -> str:
        """The file, for messages."""

    def look(self, node: object) -> object:
        """Return what a node is: an `Object`, `Stored`, `Refused`, a dict, list, number or text; None for the rest."""

    def identity(self, node: object) -> Hashable:
        """Return what two nodes have in common that are one object."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimator:
    """A fitted estimator that keeps its weights in `coef_` or `coefs_`.

    `path` leads to it from the root, "" where it is the only one.
    """

    path: str
    record: Object
    tree: Tree

    @property
    def kind(self) -> str:
        """The name of its class without the package."""
        return self.record.type.rpartition(".")[2]

    def get(self, key: str) -> object:
        """Return what an attribute is; None where there is none."""
        return self.tree.look(self.record.attributes.get(key))

    def number(self, key: str) -> float | None:
        """Return an attribute that is one number, or an array of one and the same number; None for anything else."""
        value = self.get(key)
        if isinstance(value, Stored) and value.tensor.dtype.startswith(("F", "I", "U")):
            numbers = value.read(0, min(value.tensor.size, limits.SKLEARN_CHILDREN.value))
            return float(numbers[0]) if numbers.size and (numbers == numbers[0]).all() else None
        if isinstance(value, float) or (type(value) is int and value.bit_length() < _INTEGER_BITS):
            return float(value)
        return None

    def text(self, key: str) -> str:
        """Return an attribute that is text, "" for anything else."""
        value = self.get(key)
        return value if isinstance(value, str) else ""

    @property
    def settings(self) -> dict[str, str | int | float | bool]:
        """Its attributes that are plain values."""
        looked = ((key, self.tree.look(node)) for key, node in self.record.attributes.items())
        return {key: value for key, value in looked if isinstance(value, str | int | float | bool)}


@dataclass(slots=True, kw_only=True)
class Weights:
    """The arrays of all estimators. Those of the optimizer are `apart`."""

    own: list[Stored] = field(default_factory=list)
    apart: list[Stored] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)


def estimators(tree: Tree, root: object) -> tuple[Estimator, ...]:
    """Return every estimator with weights that the root holds, each once, in the order of the file.

    Raises:
        UnsafeCheckpoint: The objects are nested without end.
    """
    found: list[Estimator] = []
    stack: list[tuple[str, object, int]] = [("", root, 0)]
    seen: set[Hashable] = set()
    while stack:
        path, node, depth = stack.pop()
        value = tree.look(node)
        if not isinstance(value, Object | dict | list) or tree.identity(node) in seen:
            continue
        seen.add(tree.identity(node))
        if depth > limits.OBJECT_DEPTH.value or len(path) > limits.NAME_CHARACTERS.value:
            raise UnsafeCheckpoint(tree.where, f"the objects around {quoted(path)} hold each other without end")
        if isinstance(value, Object) and _has_weights(tree, value):
            found.append(Estimator(path=path, record=value, tree=tree))
        children = list(_children(tree, path, value))
        stack.extend((name, child, depth + 1) for name, child in reversed(children))
    return (replace(found[0], path=""),) if len(found) == 1 else tuple(found)


def weights(found: tuple[Estimator, ...], nbytes: int) -> Weights:
    """Return the arrays of the estimators as tensors with layer, use and axes.

    Args:
        found: From `estimators`.
        nbytes: Bytes of the file.

    Raises:
        CorruptCheckpoint: Two tensors have one name.
        UnsafeCheckpoint: They are far more than the file can hold, by one array named again and again.
    """
    collected = Weights()
    first: dict[int, str] = {}
    for each in found:
        if isinstance(each.get("coefs_"), list):
            _perceptron(each, collected, first)
        else:
            _linear(each, collected, first)
    tensors = [stored.tensor for stored in (*collected.own, *collected.apart)]
    if found and len({tensor.name for tensor in tensors}) != len(tensors):
        raise CorruptCheckpoint(found[0].tree.where, "two of its estimators have one name")
    elements = sum(tensor.size for tensor in tensors)
    if found and (len(tensors) > limits.TENSORS.value or elements > limits.EXPANSION.value * max(nbytes, SMALL_FILE)):
        limit = limits.TENSORS if len(tensors) > limits.TENSORS.value else limits.EXPANSION
        problem = f"claims {len(tensors):,} tensors of {elements:,} elements in {nbytes:,} bytes"
        raise UnsafeCheckpoint(found[0].tree.where, *limit.exceeded(problem))
    return collected


def join(path: str, name: str) -> str:
    """Return a dotted path."""
    return f"{path}.{name}" if path else name


def _has_weights(tree: Tree, value: Object) -> bool:
    if isinstance(tree.look(value.attributes.get("coef_")), Stored | Refused | Object):
        return True
    kernels = tree.look(value.attributes.get("coefs_"))
    return isinstance(kernels, list) and any(isinstance(tree.look(each), Stored | Refused) for each in kernels[:1])


def _children(
    tree: Tree, path: str, value: Object | dict[object, object] | list[object]
) -> Iterator[tuple[str, object]]:
    entries: list[tuple[object, object]]
    if isinstance(value, Object):
        entries = list(value.attributes.items())
    else:
        entries = list(value.items() if isinstance(value, dict) else enumerate(value))
    if len(entries) > limits.SKLEARN_CHILDREN.value:
        return
    for key, child in entries:
        if child is None or isinstance(child, str | bytes | int | float):
            continue
        if isinstance(value, Object) and key in _NAMED_STEPS:
            yield path, child
        else:
            yield _named(tree, path, str(key), child)


def _named(tree: Tree, path: str, key: str, child: object) -> tuple[str, object]:
    """Return a child with its path: an estimator in a (name, estimator) pair goes by that name."""
    pair = tree.look(child)
    if isinstance(pair, list) and 2 <= len(pair) <= 3 and isinstance(name := tree.look(pair[0]), str):
        return join(path, name), pair[1]
    return join(path, key), child


def _linear(each: Estimator, collected: Weights, first: dict[int, str]) -> None:
    layer = join(each.path, "coef_")
    _add(each, "coef_", collected, first, layer=layer, use=Use.KERNEL, axes=_COEF_AXES)
    if isinstance(each.get("intercept_"), Stored | Refused):  # a plain 0.0 where none was fitted
        _add(each, "intercept_", collected, first, layer=layer, use=Use.BIAS, axes=_BIAS_AXES)
    collected.modules.append(Module(name=layer, type=each.record.type, settings=each.settings))


def _perceptron(each: Estimator, collected: Weights, first: dict[int, str]) -> None:
    count = _length(each.get("coefs_"))
    hidden, last = each.text("activation"), each.text("out_activation_")
    settings = each.settings
    for i in range(count):
        layer = join(each.path, f"coefs_.{i}")
        _add(each, f"coefs_.{i}", collected, first, layer=layer, use=Use.KERNEL, axes=_COEFS_AXES)
        if i < _length(each.get("intercepts_")):
            _add(each, f"intercepts_.{i}", collected, first, layer=layer, use=Use.BIAS, axes=_BIAS_AXES)
        activation = last if i == count - 1 else hidden
        collected.modules.append(
            Module(
                name=layer,
                type=each.record.type,
                activation=_ACTIVATIONS.get(activation, activation),
                inputs=(join(each.path, f"coefs_.{i - 1}"),) if i else (),
                settings=settings,
            )
        )
    _optimizer(each, collected, first)


def _optimizer(each: Estimator, collected: Weights, first: dict[int, str]) -> None:
    state = each.get("_optimizer")
    if not isinstance(state, Object):
        return
    inner = Estimator(path=join(each.path, "_optimizer"), record=state, tree=each.tree)
    for key in _OPTIMIZER_LISTS:
        for i in range(_length(inner.get(key))):
            value = _at(inner, f"{key}.{i}")
            if isinstance(value, Stored):
                collected.apart.append(_as_tensor(inner, f"{key}.{i}", value, first))


def _add(
    each: Estimator,
    key: str,
    collected: Weights,
    first: dict[int, str],
    *,
    layer: str,
    use: Use,
    axes: Mapping[int, tuple[Axis, ...]],
) -> None:
    value = _at(each, key)
    if isinstance(value, Stored):
        stored = _as_tensor(each, key, value, first)
        tensor = replace(stored.tensor, layer=layer, use=use, axes=axes.get(len(stored.tensor.shape), ()))
        collected.own.append(replace(stored, tensor=tensor))
        return
    name = join(each.path, key)
    kind = f"a {value.type}" if isinstance(value, Object) else "no array"
    reason = value.reason if isinstance(value, Refused) else f"it is {kind}"
    text = f"The array {quoted(name)} was not read: {reason}."
    collected.remarks.append(Remark(kind=UNREADABLE_TENSOR, where=name, text=text))


def _as_tensor(each: Estimator, key: str, stored: Stored, first: dict[int, str]) -> Stored:
    """Return an array under its name; one that the file holds once and names twice says whose it is."""
    name = join(each.path, key)
    shares = first.setdefault(id(stored), name)
    tensor: Tensor = replace(stored.tensor, name=name, shares="" if shares == name else shares)
    return replace(stored, tensor=tensor)


def _at(each: Estimator, key: str) -> object:
    """Return what is under a key, `coef_` or `coefs_.0`."""
    attribute, _, index = key.partition(".")
    value = each.get(attribute)
    if not index:
        return value
    return each.tree.look(value[int(index)]) if isinstance(value, list) else None


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0
