"""From the content of a torch pickle to a `Checkpoint`, whatever container it was in (zip, legacy file, shards).

Source: torch/serialization.py, PyTorch 2.13; the shapes of people's checkpoints are in `torch_contents`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.base import (
    OPTIMIZER_STATE,
    OTHER_WEIGHTS,
    UNREADABLE_TENSOR,
    Checkpoint,
)
from regaudit.checkpoints.pickle_globals import remarks as remarks_on_globals
from regaudit.checkpoints.text import listed as in_words
from regaudit.checkpoints.text import quoted
from regaudit.checkpoints.torch_contents import Contents, Tree, is_float, sort
from regaudit.checkpoints.torch_declared import (
    as_in_groups,
    describe,
    in_deepspeed,
    in_module,
    in_optimizer,
    in_settings,
    optimizer,
)
from regaudit.checkpoints.torch_moments import in_states
from regaudit.checkpoints.torch_objects import Refused, Storage, View, fields
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Remark, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from regaudit.checkpoints.pickles import Pickled
    from regaudit.checkpoints.torch_storages import Storages
    from regaudit.records import Array, Declared, Module

SMALL_FILE = 1 << 16  # bytes; in a file of this size a tensor may be one element, expanded to a matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A torch file with its pickle read.

    Args:
        path: As the user gave it.
        nbytes: Of the file, or of all files of a directory.
        format: What it is, in words.
        storages: The bytes of its tensors.
        member: What holds the pickle, and so the arrays that lie in it.
        root: The pickle's content.
        tree: The walk through it, with its budget.
        remarks: On the names in the pickle.
        close: Closes the files.
    """

    path: Path
    nbytes: int
    format: str = "PyTorch"
    storages: Storages
    member: str
    root: object
    tree: Tree
    remarks: tuple[Remark, ...] = ()
    close: Callable[[], None] = lambda: None


def checkpoint(opened: Opened, *, whole_names: bool = False) -> Checkpoint:
    """Return the checkpoint of a torch file.

    Args:
        opened: The file, its pickle read.
        whole_names: Keep the key of the model in the names of its tensors, as distributed checkpoints do.

    Returns:
        The model's tensors; optimizer state and further copies of the weights are apart.

    A file that is corrupt or unsafe, or holds no weights, is a `CheckpointError`.
    """
    path, tree = opened.path, opened.tree
    contents = sort(opened.root, tree)
    if whole_names:
        contents = replace(contents, models={_key(opened.root, model): model for model in contents.models.values()})
    found = [each for prefix, model in contents.models.items() for each in tree.tensors(model, prefix)]
    if not any(is_float(view) for _, view in found):
        error = _no_weights(opened, contents, len(found))
        raise error
    tensors, views = listed(found, opened)
    apart, apart_views = listed(_apart(contents, tree), opened)
    modules = tuple(_modules(contents, tree))
    read = reader(path, opened.storages, apart_views | views)
    return Checkpoint(
        path=str(path),
        format=f"{opened.format}, whole module" if modules else opened.format,
        nbytes=opened.nbytes,
        tensors=tensors,
        read=read,
        apart=apart,
        modules=modules,
        declared=tuple(_declared(contents, modules, path.name, tensors)),
        moments=in_states(_states(contents), tensors, apart, read),
        remarks=(
            *opened.remarks,
            *remarks_on_tensors(found),
            *_remarks_on_optimizer(contents, tree, path.name),
            *_remarks_on_copies(contents, tree, path.name),
        ),
        close=opened.close,
    )


def reader(path: Path, storages: Storages, views: dict[tuple[str, str], View]) -> Callable[[Tensor, int, int], Array]:
    """Return the `Checkpoint.read` of views, which are by the names and sources of their tensors."""

    def read(tensor: Tensor, start: int, stop: int) -> Array:
        view = views.get((tensor.name, tensor.source))
        if view is None:
            raise CorruptCheckpoint(str(path), f"tensor {quoted(tensor.name)} is no plain array of numbers")
        return storages.read(view, start, stop)

    return read


def listed(
    found: Iterable[tuple[str, View | Refused]], opened: Opened
) -> tuple[tuple[Tensor, ...], dict[tuple[str, str], View]]:
    """Return the tensors, with the names of those whose storage and elements they share, and their views.

    Args:
        found: Names, and the views or why there is none.
        opened: The file.

    Returns:
        Tensors in order; views by name and source.

    Raises:
        CorruptCheckpoint: Two have one name.
        UnsafeCheckpoint: They are far more than the file can hold, by views of the same elements again and again.
    """
    tensors: dict[str, Tensor] = {}
    views: dict[tuple[str, str], View] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, view in found:
        if name in tensors:
            raise CorruptCheckpoint(str(opened.path), f"two tensors have the name {quoted(name)}")
        tensors[name] = _tensor(name, view, opened, first)
        if isinstance(view, View):
            views[name, tensors[name].source] = view
    elements, size = sum(view.size for view in views.values()), opened.nbytes
    if len(tensors) > limits.TENSORS.value or elements > limits.EXPANSION.value * max(size, SMALL_FILE):
        limit = limits.TENSORS if len(tensors) > limits.TENSORS.value else limits.EXPANSION
        problem = f"claims {len(tensors):,} tensors of {elements:,} elements in {size:,} bytes"
        raise UnsafeCheckpoint(str(opened.path), *limit.exceeded(problem))
    return tuple(tensors.values()), views


def remarks_on_names(pickled: Pickled, where: str, *, harmless: Callable[[object], bool]) -> tuple[Remark, ...]:
    """Return what is alarming about a pickle's names, but for some that a container itself writes.

    Args:
        pickled: The pickle, read but not executed.
        where: File and member.
        harmless: Whether a function is one of those names.
    """
    known = replace(
        pickled,
        globals=tuple(each for each in pickled.globals if not harmless(each)),
        calls=tuple(each for each in pickled.calls if not harmless(each.function)),
    )
    return remarks_on_globals(known, where)


def remarks_on_tensors(found: Iterable[tuple[str, View | Refused]]) -> Iterator[Remark]:
    """Yield a remark on every tensor whose values are not to be had: sparse, quantised, of an unknown dtype."""
    for name, view in found:
        if isinstance(view, Refused):
            text = f"The tensor {quoted(name)} was not read: {view.reason}."
            yield Remark(kind=UNREADABLE_TENSOR, where=name, text=text)
        elif view.packed:
            text = f"The tensor {quoted(name)} holds {view.packed}: their values are not its weights."
            yield Remark(kind=UNREADABLE_TENSOR, where=name, text=text)


def _tensor(name: str, view: View | Refused, opened: Opened, first: dict[tuple[object, ...], str]) -> Tensor:
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
    for name, part in _states(contents).items():
        yield from tree.tensors(part, name)
    for key, part in contents.others.items():
        yield from tree.tensors(part, key)


def _states(contents: Contents) -> dict[str, object]:
    """Return the optimizers' states by what their tensors' names begin with."""
    is_one = len(contents.optimizers) == 1
    return {"optimizer" if is_one else key: part for key, part in contents.optimizers.items()}


def _declared(
    contents: Contents, modules: Iterable[Module], file: str, tensors: tuple[Tensor, ...]
) -> Iterator[Declared]:
    found = [optimizer(key, part) for key, part in contents.optimizers.items()]
    groups = [each for state in found if state for each in in_optimizer(state, file, tensors)]
    yield from groups
    for key, settings in contents.settings.items():
        read = in_deepspeed if key == "ds_config" else in_settings
        for each in read(settings, f"{file}, {key}"):
            yield as_in_groups(each, groups)
    for module in modules:
        yield from in_module(module, file)


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


def _key(value: object, part: object, *, boxes: int = limits.TORCH_BOXES.default) -> str:
    """Return the dotted path at which a container holds a part; "" where it is not in it as a whole."""
    for name, each in fields(value).items():
        if each is part:
            return str(name)
        if boxes and isinstance(each, dict) and (inner := _key(each, part, boxes=boxes - 1)):
            return f"{name}.{inner}"
    return ""


def _count(views: list[View]) -> str:
    return f"{len(views):,} tensor{'' if len(views) == 1 else 's'}"


def _no_weights(opened: Opened, contents: Contents, count: int) -> CheckpointError:
    path, root = str(opened.path), opened.root
    if count:
        return CheckpointError(path, f"holds tensors of integers only ({count:,}): no weights to audit")
    if contents.optimizers:
        return CheckpointError(path, "holds optimizer state and no weights", "Give the file that holds the model.")
    keys = in_words(str(key) for key in fields(root) if isinstance(key, str | int))
    held = f"it holds the keys {keys}" if keys else f"it holds a {type(root).__name__}"
    return CheckpointError(
        path,
        f"holds no tensors of floats; {held}",
        "Save the model's state_dict() with torch.save, and audit that file.",
    )
