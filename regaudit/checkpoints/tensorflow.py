"""TensorFlow: checkpoints (`ckpt.index` and its shards) and the variables of a SavedModel.

Variables are read by their offsets; no graph is loaded or run. What a SavedModel by Keras 2 says of its layers lies in
`keras_metadata.pb`, as JSON.

Source: https://www.tensorflow.org/guide/checkpoint, https://www.tensorflow.org/guide/saved_model
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from regaudit.checkpoints import dtypes, limits, tensorflow_protos
from regaudit.checkpoints.base import OPTIMIZER_STATE, OTHER_WEIGHTS, UNREADABLE_TENSOR, Candidate, Checkpoint, Format
from regaudit.checkpoints.moments import certain, named, step_in
from regaudit.checkpoints.source import Source, inside, is_file, read_whole
from regaudit.checkpoints.tensorflow_bundle import SUFFIX, Bundle, Variable
from regaudit.checkpoints.tensorflow_keras import METADATA, Described, describe
from regaudit.checkpoints.tensorflow_table import is_table
from regaudit.checkpoints.text import listed, quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Remark, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from regaudit.records import Array, Moments

_SAVED_MODEL, _VARIABLES, _LATEST = "saved_model.pb", "variables", "checkpoint"
_DATA = re.compile(r"(?P<stem>.+)\.data-\d{5}-of-\d{5}")
_LATEST_PATH = re.compile(rb'^model_checkpoint_path: "([^"\n]*)"', re.MULTILINE)
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SLOT = "/.OPTIMIZER_SLOT/"  # between the path of a variable and that of the optimizer's moment of it
_ATTRIBUTE = "/.ATTRIBUTES/VARIABLE_VALUE"  # behind the path of every object that is a variable

# What is the optimizer's: by the path in the tree of objects (TensorFlow 2), or by the variable's name (TensorFlow 1:
# tf.compat.v1.train.*Optimizer; BERT's own optimizer, google-research/bert, 2018).
_OPTIMIZER = re.compile(
    r"(?:^|/)_?(?:\w+_)?optimizer(?:s|_\w+)?/|/\.OPTIMIZER_SLOT/|(?:^|/)beta[12]_power(?:_\d+)?$", re.IGNORECASE
)
_SLOTS = frozenset({
    "Adadelta", "Adadelta_1", "Adagrad", "AdaMax", "AdaMax_1", "Adam", "Adam_1", "Ftrl", "Ftrl_1", "LAMB", "LAMB_1",
    "Momentum", "RMSProp", "RMSProp_1", "adam_m", "adam_v", "lamb_m", "lamb_v",
})  # fmt: skip
# Adam's moments: in TensorFlow 2 and Keras, as TensorFlow 1 named its slots, and as BERT did.
_FIRSTS = frozenset({"m", "Adam", "adam_m"})
_SECONDS = frozenset({"v", "Adam_1", "adam_v"})
_STEPS = ("{}/iter", "{}/iteration", "{}/_iterations", "global_step")  # the optimizer's own, or TensorFlow 1's
_AVERAGE = "ExponentialMovingAverage"
_METRICS = re.compile(r"(?:^|/)keras_api/")  # sums and counts of the metrics, which Keras saves with the model


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sorted:
    """The variables by what they are for."""

    model: list[Variable] = field(default_factory=list)
    optimizer: list[Variable] = field(default_factory=list)
    averages: list[Variable] = field(default_factory=list)
    metrics: list[Variable] = field(default_factory=list)

    def every(self) -> Iterator[Variable]:
        """Return all of them, the model's first."""
        return chain(self.model, self.optimizer, self.averages, self.metrics)


def _claims(candidate: Candidate) -> bool:
    if candidate.is_directory:
        return _SAVED_MODEL in candidate.members or bool(_indices(candidate))
    name, head = candidate.path.name, candidate.head
    if name == _SAVED_MODEL or (name == _LATEST and _LATEST_PATH.match(head)):
        return True
    data = _DATA.fullmatch(name)
    if data:
        return is_file(candidate.path.parent / f"{data['stem']}{SUFFIX}")
    return head.startswith(b"\0\0") and _ends_as_table(candidate.path)  # the first entry has an empty key


def _ends_as_table(path: Path) -> bool:
    try:
        source = Source(path)
    except CheckpointError:
        return False
    try:
        return is_table(source)
    finally:
        source.close()


def _open(candidate: Candidate) -> Checkpoint:
    path = candidate.path
    if path.name == _SAVED_MODEL or _SAVED_MODEL in candidate.members:
        return _open_saved_model(candidate)
    data = _DATA.fullmatch(path.name)
    if candidate.is_directory:
        index = _index_in(candidate)
    elif data:
        index = inside(path.parent, f"{data['stem']}{SUFFIX}")
    else:
        index = _latest(path) if path.name == _LATEST else path
    return _checkpoint(path, index, "checkpoint", None)


FORMAT = Format(name="TensorFlow", claims=_claims, open=_open)


def _open_saved_model(candidate: Candidate) -> Checkpoint:
    folder = candidate.path if candidate.is_directory else candidate.path.parent
    index = inside(inside(folder, _VARIABLES), f"{_VARIABLES}{SUFFIX}")
    if not is_file(index):
        raise CheckpointError(
            str(candidate.path),
            f"is a SavedModel without variables: {_VARIABLES}/{_VARIABLES}{SUFFIX} is missing",
            "Put it there; if the model was frozen into its graph, give the checkpoint that it was made from.",
        )
    metadata = inside(folder, METADATA)
    return _checkpoint(candidate.path, index, "SavedModel", metadata if is_file(metadata) else None)


def _indices(directory: Candidate) -> list[str]:
    stems = {found["stem"] for name in directory.members if (found := _DATA.fullmatch(name))}
    return sorted(name for stem in stems if (name := f"{stem}{SUFFIX}") in directory.members)


def _index_in(directory: Candidate) -> Path:
    names = _indices(directory)
    latest = directory.path / _LATEST
    if len(names) > 1 and is_file(latest):
        return _latest(inside(directory.path, _LATEST))
    if len(names) > 1:
        raise CheckpointError(
            str(directory.path), f"holds {len(names):,} checkpoints: {listed(names)}", "Give the path of one of them."
        )
    return inside(directory.path, names[0])


def _latest(path: Path) -> Path:
    # the index of the checkpoint that a file `checkpoint` calls the latest; the folder may have moved since
    found = _LATEST_PATH.search(read_whole(path, limit=limits.POINTER_BYTES))
    name = found[1].decode("utf-8", "backslashreplace").replace("\\", "/").rpartition("/")[2] if found else ""
    index = inside(path.parent, f"{name}{SUFFIX}")
    if not name or not is_file(index):
        raise CorruptCheckpoint(
            str(path), f"names {quoted(name)} as the latest checkpoint, which is not there", "Give an .index file."
        )
    return index


def _checkpoint(path: Path, index: Path, kind: str, metadata: Path | None) -> Checkpoint:
    with ExitStack() as stack:
        bundle = Bundle(index, stack)
        readable = [key for key in bundle.keys if bundle.kind(key) in dtypes.DTYPES]
        variables = [bundle.variable(key) for key in readable]
        found = _sorted(variables)
        _require_weights(str(path), found, bundle)
        names = _names(bundle, found)
        described = describe(metadata, [names[each.key] for each in found.model]) if metadata else Described()
        places = {names[each.key]: each.pieces for each in variables}

        def read(tensor: Tensor, start: int, stop: int) -> Array:
            return places[tensor.name].read(start, stop)

        tensors = tuple(_tensor(each, names) for each in found.model)
        apart = tuple(_tensor(each, names) for each in (*found.optimizer, *found.averages, *found.metrics))
        return Checkpoint(
            path=str(path),
            format=f"TensorFlow {kind}" + (", Keras model" if described.modules else ""),
            nbytes=bundle.nbytes,
            tensors=tensors,
            read=read,
            apart=apart,
            modules=described.modules,
            declared=described.declared,
            moments=_moments(tensors, apart, read),
            remarks=(*described.remarks, *_remarks(found, index.name), *_unreadable(bundle, index.name)),
            close=stack.pop_all().close,
        )


def _sorted(variables: Iterable[Variable]) -> _Sorted:
    found = _Sorted()
    shapes = {each.key: each.shape for each in variables}
    for each in variables:
        owner, _, leaf = each.key.rpartition("/")
        if _METRICS.search(each.key):
            found.metrics.append(each)
        elif _OPTIMIZER.search(each.key) or (leaf in _SLOTS and owner in shapes):
            found.optimizer.append(each)
        elif leaf == _AVERAGE and shapes.get(owner) == each.shape:
            found.averages.append(each)
        else:
            found.model.append(each)
    return found


def _require_weights(where: str, found: _Sorted, bundle: Bundle) -> None:
    size = sum(each.nbytes for each in found.every())
    if size > bundle.nbytes:  # variables that share bytes: a small file could claim any number of them
        raise UnsafeCheckpoint(where, f"claims {size:,} bytes of variables, its files have {bundle.nbytes:,}")
    if not any(dtypes.DTYPES[each.dtype].is_float for each in found.model):
        raise CheckpointError(
            where, f"holds no variables of floats outside of optimizer state; its keys are {listed(bundle.keys)}"
        )


def _names(bundle: Bundle, found: _Sorted) -> dict[str, str]:
    """Return the tensors' names by key: paths of objects, or the variables' own names where these say more.

    A path may be no more than `variables/3`, while the variable is named `dense/kernel`. Its name is taken if all
    weights have different ones within a scope.
    """
    names = {each.key: each.key.removesuffix(_ATTRIBUTE) for each in found.every()}
    graph = bundle.text(_GRAPH) if _GRAPH in bundle.keys else None
    known = tensorflow_protos.variable_names(graph, _GRAPH) if graph else {}
    own = {each.key: known.get(each.key, "") for each in found.model if each.shape}
    if all("/" in name for name in own.values()) and len(set(own.values())) == len(own):
        names |= own
    for each in found.optimizer:
        path = names[each.key]
        owner, is_slot, slot = path.partition(_SLOT)
        if is_slot:
            names[each.key] = f"{names.get(owner + _ATTRIBUTE, owner)}{_SLOT}{slot}"
        elif path.rpartition("/")[2].isdigit():  # Keras since 2.11: `optimizer/_variables/3` is `Adam/m/dense/kernel`
            names[each.key] = known.get(each.key) or path
    return _distinct(names)


def _distinct(names: dict[str, str]) -> dict[str, str]:
    """Return the same, with the key itself where two names would be one."""
    uses = Counter(names.values())
    return {key: name if uses[name] == 1 else key for key, name in names.items()}


def _tensor(variable: Variable, names: dict[str, str]) -> Tensor:
    return Tensor(
        name=names[variable.key],
        shape=variable.shape,
        dtype=variable.dtype,
        nbytes=variable.nbytes,
        source=variable.source,
    )


def _moments(
    model: tuple[Tensor, ...], apart: tuple[Tensor, ...], read: Callable[[Tensor, int, int], Array]
) -> tuple[Moments, ...]:
    kept: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
    for tensor in apart:
        path, state, kind = _slot(tensor.name)
        if kind in _FIRSTS | _SECONDS:
            firsts, seconds = kept.setdefault(state, ({}, {}))
            (firsts if kind in _FIRSTS else seconds)[path] = tensor
    stored = {each.name: each for each in (*model, *apart)}
    each_state = (named(model, *both, step_in(_counter(stored, state), read)) for state, both in kept.items())
    return certain(model, chain.from_iterable(each_state))


def _slot(name: str) -> tuple[str, str, str]:
    """Return the variable that a slot is of, the optimizer, and the kind of slot, as far as the name tells."""
    path, is_slot, slot = name.partition(_SLOT)
    if is_slot:
        state, _, kind = slot.rpartition("/")
        return path, state, kind
    state, _, rest = name.partition("/")
    kind, _, path = rest.partition("/")
    if state.startswith("Adam") and kind in {"m", "v"}:  # Keras since 2.11
        return path, state, kind
    path, _, kind = name.rpartition("/")
    return path, "", kind


def _counter(stored: dict[str, Tensor], state: str) -> Tensor | None:
    return next((stored[name] for form in _STEPS if (name := form.format(state)) in stored), None)


def _remarks(found: _Sorted, file: str) -> Iterator[Remark]:
    if any(each.size > 1 for each in found.optimizer):
        text = f"{_count(found.optimizer)} of optimizer state are stored with the weights."
        yield Remark(kind=OPTIMIZER_STATE, where=file, text=text)
    if found.averages:
        text = f"The file holds moving averages of the weights: {_count(found.averages)}, not audited."
        yield Remark(kind=OTHER_WEIGHTS, where=file, text=text)


def _count(variables: list[Variable]) -> str:
    return f"{len(variables):,} tensors ({sum(each.nbytes for each in variables):,} bytes)"


def _unreadable(bundle: Bundle, file: str) -> Iterator[Remark]:
    for key in bundle.keys:
        kind = bundle.kind(key)
        if kind not in dtypes.DTYPES and kind not in {"string", "variant", "resource"}:  # texts, tables, iterators
            text = f"The variable {quoted(key)} was not read: its dtype is TensorFlow's {kind}."
            yield Remark(kind=UNREADABLE_TENSOR, where=file, text=text)
