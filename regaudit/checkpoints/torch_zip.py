"""PyTorch checkpoints since 1.6 (`.pt`, `.pth`, `.bin`, `.ckpt`): a zip archive of a pickle and its storages.

Read without torch: the pickle gives inert records, the storages are read in place by offset. Nothing is executed.

Source: torch/serialization.py (`_save`), PyTorch 2.13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints import pickles
from regaudit.checkpoints.archive import Archive
from regaudit.checkpoints.base import (
    MAX_EXPANSION,
    MAX_PICKLE_BYTES,
    MAX_TENSORS,
    OPTIMIZER_STATE,
    OTHER_WEIGHTS,
    UNREADABLE_TENSOR,
    Candidate,
    Checkpoint,
    Format,
)
from regaudit.checkpoints.pickle_globals import remarks as remarks_on_globals
from regaudit.checkpoints.text import listed, quoted
from regaudit.checkpoints.torch_contents import Contents, Tree, is_float, sort
from regaudit.checkpoints.torch_declared import (
    as_in_groups,
    describe,
    in_module,
    in_optimizer,
    in_settings,
    in_training_arguments,
    optimizer,
)
from regaudit.checkpoints.torch_objects import Refused, Storage, View, fields, storage
from regaudit.checkpoints.torch_storages import Storages
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Remark, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from regaudit.records import Array, Declared, Module

SMALL_FILE = 1 << 16  # bytes; in a file of this size a tensor may be one element, expanded to a matrix

_PICKLE = "data.pkl"
_SCRIPT = ("constants.pkl", "code/", "archive_format")  # TorchScript and torch.export


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """An archive with its pickle read."""

    archive: Archive
    storages: Storages
    member: str
    pickled: pickles.Pickled
    tree: Tree


def open_torch(path: Path) -> Checkpoint:
    """Open a checkpoint that `torch.save` wrote.

    Args:
        path: The file.

    Returns:
        The model's tensors; optimizer state and further copies of the weights are apart.

    Raises:
        CheckpointError: The file is corrupt or unsafe, or holds no weights.
    """
    archive = Archive(path)
    try:
        return _checkpoint(_open(archive))
    except CheckpointError:
        archive.close()
        raise


def declared_in_training_args(path: Path) -> tuple[Declared, ...]:
    """Return what the `training_args.bin` of a transformers Trainer declares; () where it can't be read."""
    root, _ = _side_file(path)
    return in_training_arguments(root, path.name)


def declared_in_optimizer(path: Path) -> tuple[Declared, ...]:
    """Return the weight decay of each group in an `optimizer.pt`; () where it can't be read."""
    root, _ = _side_file(path)
    found = optimizer("optimizer", root)
    return in_optimizer(found, path.name, ()) if found else ()


def remarks_on_side_file(path: Path) -> tuple[Remark, ...]:
    """Return what is alarming about the pickle in a `training_args.bin` or `optimizer.pt`; () where it can't be read."""
    return _side_file(path)[1]


def _claims(candidate: Candidate) -> bool:
    prefixes = [name.removesuffix(_PICKLE) for name in candidate.members if _is_pickle(name)]
    return any(
        not any(name.startswith(tuple(prefix + part for part in _SCRIPT)) for name in candidate.members)
        for prefix in prefixes
    )


def _is_pickle(member: str) -> bool:
    return member == _PICKLE or (member.count("/") == 1 and member.endswith(f"/{_PICKLE}"))


FORMAT = Format(name="PyTorch", claims=_claims, open=lambda candidate: open_torch(candidate.path))


def _open(archive: Archive) -> _Opened:
    found = [name for name in archive.names if _is_pickle(name)]
    if len(found) != 1:
        raise CorruptCheckpoint(str(archive.path), f"a checkpoint has one member {_PICKLE}, this has {len(found)}")
    raw = archive.read(found[0], limit=MAX_PICKLE_BYTES)
    where = f"{archive.path}: {found[0]}"
    return _Opened(
        archive=archive,
        storages=Storages(archive, found[0].removesuffix(_PICKLE)),
        member=found[0],
        pickled=pickles.load(raw, persistent=storage, where=where),
        tree=Tree(where, len(raw)),
    )


def _side_file(path: Path) -> tuple[object, tuple[Remark, ...]]:
    """Return the content of a pickle beside the model. It is no part of the model: a corrupt one declares nothing.

    Raises:
        UnsafeCheckpoint: It would exhaust the machine.
    """
    try:
        archive = Archive(path)
        try:
            opened = _open(archive)
        finally:
            archive.close()
    except UnsafeCheckpoint:
        raise
    except CheckpointError:
        return None, ()
    return opened.pickled.value, remarks_on_globals(opened.pickled, f"{path.name}: {_PICKLE}")


def _checkpoint(opened: _Opened) -> Checkpoint:
    path, tree = opened.archive.path, opened.tree
    contents = sort(opened.pickled.value, tree)
    found = [each for prefix, model in contents.models.items() for each in tree.tensors(model, prefix)]
    if not any(is_float(view) for _, view in found):
        raise _no_weights(opened, contents, len(found))
    tensors, views = _listed(found, opened)
    apart, apart_views = _listed(_apart(contents, tree), opened)
    modules = tuple(_modules(contents, tree))
    return Checkpoint(
        path=str(path),
        format="PyTorch, whole module" if modules else "PyTorch",
        nbytes=opened.archive.source.size,
        tensors=tensors,
        read=_reader(path, opened.storages, apart_views | views),
        apart=apart,
        modules=modules,
        declared=tuple(_declared(contents, modules, path.name, tensors)),
        remarks=(
            *remarks_on_globals(opened.pickled, f"{path.name}: {opened.member}"),
            *_remarks_on_tensors(found),
            *_remarks_on_optimizer(contents, tree, path.name),
            *_remarks_on_copies(contents, tree, path.name),
        ),
        close=opened.archive.close,
    )


def _reader(path: Path, storages: Storages, views: dict[tuple[str, str], View]) -> Callable[[Tensor, int, int], Array]:
    def read(tensor: Tensor, start: int, stop: int) -> Array:
        view = views.get((tensor.name, tensor.source))
        if view is None:
            raise CorruptCheckpoint(str(path), f"tensor {quoted(tensor.name)} is no plain array of numbers")
        return storages.read(view, start, stop)

    return read


def _listed(
    found: Iterable[tuple[str, View | Refused]], opened: _Opened
) -> tuple[tuple[Tensor, ...], dict[tuple[str, str], View]]:
    """Return the tensors, with the names of those whose storage and elements they share, and their views.

    Raises:
        CorruptCheckpoint: Two have one name.
        UnsafeCheckpoint: They are far more than the file can hold, by views of the same elements again and again.
    """
    tensors: dict[str, Tensor] = {}
    views: dict[tuple[str, str], View] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, view in found:
        if name in tensors:
            raise CorruptCheckpoint(str(opened.archive.path), f"two tensors have the name {quoted(name)}")
        tensors[name] = _tensor(name, view, opened, first)
        if isinstance(view, View):
            views[name, tensors[name].source] = view
    elements, size = sum(view.size for view in views.values()), opened.archive.source.size
    if len(tensors) > MAX_TENSORS or elements > MAX_EXPANSION * max(size, SMALL_FILE):
        problem = f"claims {len(tensors):,} tensors of {elements:,} elements in {size:,} bytes"
        raise UnsafeCheckpoint(str(opened.archive.path), problem)
    return tuple(tensors.values()), views


def _tensor(name: str, view: View | Refused, opened: _Opened, first: dict[tuple[object, ...], str]) -> Tensor:
    if isinstance(view, Refused):
        return Tensor(name=name, shape=(), dtype=view.kind, nbytes=0, source=opened.member)
    source, shares = opened.member, name
    if isinstance(view.data, Storage):
        source = opened.storages.member(view.data)
        if view.size:
            shares = first.setdefault((view.data, view.shape, view.strides, view.offset), name)
    return Tensor(
        name=name,
        shape=view.shape,
        dtype=view.dtype,
        nbytes=view.size * view.itemsize,
        source=source,
        shares="" if shares == name else shares,
    )


def _modules(contents: Contents, tree: Tree) -> Iterator[Module]:
    for prefix, model in contents.models.items():
        for name, module in tree.modules(model, prefix):
            yield describe(name, module)


def _apart(contents: Contents, tree: Tree) -> Iterator[tuple[str, View | Refused]]:
    for key, part in contents.optimizers.items():
        yield from tree.tensors(part, "optimizer" if len(contents.optimizers) == 1 else key)
    for key, part in contents.others.items():
        yield from tree.tensors(part, key)


def _declared(
    contents: Contents, modules: Iterable[Module], file: str, tensors: tuple[Tensor, ...]
) -> Iterator[Declared]:
    found = [optimizer(key, part) for key, part in contents.optimizers.items()]
    groups = [each for state in found if state for each in in_optimizer(state, file, tensors)]
    yield from groups
    for key, settings in contents.settings.items():
        for each in in_settings(settings, f"{file}, {key}"):
            yield as_in_groups(each, groups)
    for module in modules:
        yield from in_module(module, file)


def _remarks_on_tensors(found: Iterable[tuple[str, View | Refused]]) -> Iterator[Remark]:
    for name, view in found:
        if isinstance(view, Refused):
            text = f"The tensor {quoted(name)} was not read: {view.reason}."
            yield Remark(kind=UNREADABLE_TENSOR, where=name, text=text)
        elif view.packed:
            text = f"The tensor {quoted(name)} holds {view.packed}: their values are not its weights."
            yield Remark(kind=UNREADABLE_TENSOR, where=name, text=text)


def _remarks_on_optimizer(contents: Contents, tree: Tree, file: str) -> Iterator[Remark]:
    for key, part in contents.optimizers.items():
        views = [view for _, view in tree.tensors(part) if isinstance(view, View)]
        found = optimizer(key, part)
        family = f"{found.family}-like " if found and found.family else ""
        if views:
            size = sum(view.size * view.itemsize for view in views)
            text = (
                f"The file also holds {family}optimizer state: {_count(views)}, {size:,} bytes. "
                "It is needed to resume training, not to use the model."
            )
            yield Remark(kind=OPTIMIZER_STATE, where=f"{file}: {key}", text=text)


def _remarks_on_copies(contents: Contents, tree: Tree, file: str) -> Iterator[Remark]:
    used = {
        view.data for model in contents.models.values() for _, view in tree.tensors(model) if isinstance(view, View)
    }
    for key, part in contents.others.items():
        views = [view for _, view in tree.tensors(part) if isinstance(view, View)]
        kernels = [view for view in views if len(view.shape) > 1 and is_float(view) and view.data not in used]
        if kernels:
            text = f"The file holds further weights under the key {quoted(key)}: {_count(views)}, not audited."
            yield Remark(kind=OTHER_WEIGHTS, where=f"{file}: {key}", text=text)


def _count(views: list[View]) -> str:
    return f"{len(views):,} tensor{'' if len(views) == 1 else 's'}"


def _no_weights(opened: _Opened, contents: Contents, count: int) -> CheckpointError:
    path, root = str(opened.archive.path), opened.pickled.value
    if count:
        return CheckpointError(path, f"holds tensors of integers only ({count:,}): no weights to audit")
    if contents.optimizers:
        return CheckpointError(path, "holds optimizer state and no weights", "Give the file that holds the model.")
    keys = listed(str(key) for key in fields(root) if isinstance(key, str | int))
    held = f"it holds the keys {keys}" if keys else f"it holds a {type(root).__name__}"
    return CheckpointError(
        path,
        f"holds no tensors of floats; {held}",
        "Save the model's state_dict() with torch.save, and audit that file.",
    )
