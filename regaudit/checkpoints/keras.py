"""Keras files: `.keras`, legacy `.h5`, `.weights.h5`, and any other HDF5 file as plain arrays.

Neither Keras nor TensorFlow is needed or imported, and nothing that the file names is: the configuration is read as
JSON, the weights as arrays.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import keras_declared, keras_moments, limits
from regaudit.checkpoints.archive import Archive
from regaudit.checkpoints.base import OPTIMIZER_STATE, UNREADABLE_TENSOR, Candidate, Checkpoint, Format
from regaudit.checkpoints.hdf5 import MAGIC, Dataset, Group, Hdf5File
from regaudit.checkpoints.keras_config import Node, as_dict, as_text, read_network, settle_paths
from regaudit.checkpoints.keras_graph import connect, modules
from regaudit.checkpoints.keras_weights import (
    Weight,
    legacy_scope,
    listed_weights,
    numbered_weights,
    path_below,
    unnamed_network,
)  # fmt: skip
from regaudit.checkpoints.source import Source
from regaudit.checkpoints.text import parse_object, quoted
from regaudit.errors import CheckpointError, UnknownFormat, UnsafeCheckpoint
from regaudit.records import Module, Remark, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.records import Array, Declared

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_METADATA = "metadata.json"
_USER_BLOCKS = (0, 512, 1024, 2048)  # HDF5 may begin behind a block of the user's; the head of a file shows these
_NO_CONFIG = "no configuration: regularizers cannot be known"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What one kind of file holds: arrays by name in order, and what it says of the network."""

    format: str
    tensors: tuple[tuple[str, Dataset], ...]
    apart: tuple[tuple[str, Dataset], ...] = ()
    modules: tuple[Module, ...] = ()
    declared: tuple[Declared, ...] = ()
    remarks: tuple[Remark, ...] = ()
    is_by_adam: bool = False


def _claims(candidate: Candidate) -> bool:
    is_hdf5 = any(candidate.head.startswith(MAGIC, offset) for offset in _USER_BLOCKS)
    return {_CONFIG, _WEIGHTS} <= candidate.members or is_hdf5


def _open(candidate: Candidate) -> Checkpoint:
    return _open_archive(candidate) if candidate.members else _open_hdf5(candidate)


FORMAT = Format(name="Keras", claims=_claims, open=_open, extra="keras")


def _open_archive(candidate: Candidate) -> Checkpoint:
    where = str(candidate.path)
    with ExitStack() as stack:
        archive = Archive(candidate.path)
        stack.callback(archive.close)
        config = parse_object(archive.read(_CONFIG, limit=limits.CONFIG_BYTES), f"{where}: {_CONFIG}")
        file = _weights_in(archive, f"{where}: {_WEIGHTS}")
        stack.callback(file.close)
        root = read_network(config, named=True)
        weights = numbered_weights(file.root, root)
        form = " ".join(filter(None, ("Keras", _version(archive), "model")))
        content = _described(form, file.root, root, weights, _CONFIG)
        content = _trained(content, as_dict(config.get("compile_config")), f"{_CONFIG}: compile_config")
        return _checkpoint(candidate, file, content, _WEIGHTS, stack)


def _weights_in(archive: Archive, where: str) -> Hdf5File:
    """Return the weights inside of an archive, open: in place, or in memory where they are compressed."""
    size = archive.size(_WEIGHTS)
    begin = archive.offset(_WEIGHTS)
    if begin is not None:
        return Hdf5File(where, size, lambda offset, count: archive.source.read_at(begin + offset, count))
    raw = archive.read(_WEIGHTS, limit=limits.KERAS_INFLATED_BYTES)
    return Hdf5File(where, size, lambda offset, count: raw[offset : offset + count])


def _version(archive: Archive) -> str:
    if _METADATA not in archive.names:
        return ""
    try:
        metadata = parse_object(archive.read(_METADATA, limit=limits.CONFIG_BYTES), _METADATA)
    except CheckpointError:  # it holds the version and the date, nothing that the audit needs
        return ""
    return as_text(metadata.get("keras_version"))


def _open_hdf5(candidate: Candidate) -> Checkpoint:
    with ExitStack() as stack:
        source = Source(candidate.path)
        stack.callback(source.close)
        file = Hdf5File(str(candidate.path), source.size, source.read_at)
        stack.callback(file.close)
        root = file.root
        if "model_config" in root.texts or "layer_names" in root.lists:
            content = _legacy(root, str(candidate.path))
        elif "vars" in root.groups or {"layers", "_layer_checkpoint_dependencies"} & root.groups.keys():
            content = _weights_only(root)
        else:
            arrays = tuple((path_below(dataset, root), dataset) for dataset in root.every())
            content = _Content(format="HDF5 file, not by Keras", tensors=arrays)
        return _checkpoint(candidate, file, content, candidate.path.name, stack)


def _weights_only(group: Group) -> _Content:
    root = unnamed_network(group)
    weights = numbered_weights(group, root)
    return _described(f"Keras weights, {_NO_CONFIG}", group, root, weights, "")


def _legacy(group: Group, where: str) -> _Content:
    holder = group.groups.get("model_weights", group)
    config = _parsed(group, "model_config", where)
    scope = legacy_scope(holder)
    empty = Node(name=scope, type="", path=scope, scope=scope, full=scope)
    root = read_network(config, named=bool(scope)) if config else empty
    weights = listed_weights(holder, root)
    kind = "model, HDF5" if config else f"weights, HDF5, {_NO_CONFIG}"
    version = group.texts.get("keras_version", holder.texts.get("keras_version", ""))
    content = _described(" ".join(filter(None, ("Keras", version, kind))), group, root, weights, "model_config")
    return _trained(content, _parsed(group, "training_config", where), "training_config")


def _trained(content: _Content, training: dict[str, Any], where: str) -> _Content:
    declared = content.declared + keras_declared.in_training(training, where)
    return replace(content, declared=declared, is_by_adam=keras_moments.uses_adam(training))


def _parsed(group: Group, key: str, where: str) -> dict[str, Any]:
    raw = group.texts.get(key, "{}").encode()
    if len(raw) > limits.CONFIG_BYTES.value:
        raise UnsafeCheckpoint(
            f"{where}: {key}", *limits.CONFIG_BYTES.exceeded(f"has {len(raw):,} bytes", needed=len(raw))
        )
    return parse_object(raw, f"{where}: {key}")


def _described(form: str, group: Group, root: Node, weights: list[Weight], file: str) -> _Content:
    """Return the network and its weights together; arrays that are no layer's keep their path as a name."""
    settle_paths(root)
    connect(root)
    state = [dataset for key in ("optimizer", "optimizer_weights") for dataset in _arrays_in(group, key)]
    copies = [weight for weight in weights if _is_copy(weight)]
    named = {weight.dataset.path: weight.name for weight in weights}
    known = named.keys() | {dataset.path for dataset in state}
    others = [(path_below(dataset, group), dataset) for dataset in group.every() if dataset.path not in known]
    return _Content(
        format=form,
        tensors=(*((weight.name, weight.dataset) for weight in weights if not _is_copy(weight)), *others),
        apart=(
            *((weight.name, weight.dataset) for weight in copies),
            *((path_below(dataset, group), dataset) for dataset in state),
        ),
        modules=modules(root),
        declared=keras_declared.in_layers(root, file),
        remarks=(*keras_declared.code_in_layers(root, file), *_state_remarks(state)),
    )


def _arrays_in(group: Group, key: str) -> Iterable[Dataset]:
    return group.groups[key].every() if key in group.groups else ()


def _is_copy(weight: Weight) -> bool:
    """Return whether this is the kernel that a `SpectralNormalization` saves beside that of the layer in it."""
    return weight.node.type == "SpectralNormalization" and weight.variable == "kernel"


def _state_remarks(state: list[Dataset]) -> list[Remark]:
    if not any(dataset.size > 1 for dataset in state):  # a compiled, untrained model: its step and learning rate
        return []
    text = f"{len(state):,} tensors of optimizer state ({sum(d.nbytes for d in state):,} bytes) are stored with the weights."
    return [Remark(kind=OPTIMIZER_STATE, where=state[0].path.split("/")[1], text=text)]


def _checkpoint(candidate: Candidate, file: Hdf5File, content: _Content, source: str, stack: ExitStack) -> Checkpoint:
    readable = [(name, dataset) for name, dataset in content.tensors if not dataset.problem]
    if not readable:
        raise UnknownFormat(str(candidate.path), f"{content.format}: there is no array of numbers in it")
    further = [(name, dataset) for name, dataset in content.apart if not dataset.problem]
    named = _unique([*readable, *further])
    tensors, apart = (_tensors(part, source) for part in (named[: len(readable)], named[len(readable) :]))
    datasets = dict(named)
    in_order = keras_moments.is_in_order([dataset.path for _, dataset in readable])

    def read(tensor: Tensor, start: int, stop: int) -> Array:
        return file.read(datasets[tensor.name], start, stop)

    return Checkpoint(
        path=str(candidate.path),
        format=content.format,
        nbytes=candidate.size,
        tensors=tensors,
        read=read,
        apart=apart,
        modules=content.modules,
        declared=content.declared,
        moments=keras_moments.in_state(tensors, apart, read, in_order=in_order) if content.is_by_adam else (),
        remarks=(*content.remarks, *_unreadable(content.tensors)),
        close=stack.pop_all().close,
    )


def _unique(named: list[tuple[str, Dataset]]) -> list[tuple[str, Dataset]]:
    """Return the same with a number behind a name that another array had before (`kernel#2`)."""
    taken: set[str] = set()
    uses: Counter[str] = Counter()
    found: list[tuple[str, Dataset]] = []
    for name, dataset in named:
        unique = name
        while unique in taken:
            uses[name] += 1
            unique = f"{name}#{uses[name] + 1}"
        taken.add(unique)
        found.append((unique, dataset))
    return found


def _tensors(named: list[tuple[str, Dataset]], source: str) -> tuple[Tensor, ...]:
    """Return the records; an array with two names in the file is shared by both."""
    first: dict[int, str] = {}
    found: list[Tensor] = []
    for name, dataset in named:
        owner = first.setdefault(dataset.address, name)
        found.append(
            Tensor(
                name=name,
                shape=dataset.shape,
                dtype=dataset.dtype,
                nbytes=dataset.nbytes,
                source=source,
                shares="" if owner == name else owner,
            )
        )
    return tuple(found)


def _unreadable(named: Iterable[tuple[str, Dataset]]) -> list[Remark]:
    return [
        Remark(kind=UNREADABLE_TENSOR, where=name, text=f"{quoted(name)} was not read: it {dataset.problem}.")
        for name, dataset in named
        if dataset.problem
    ]
