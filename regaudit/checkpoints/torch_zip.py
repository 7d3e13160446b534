"""PyTorch checkpoints since 1.6 (`.pt`, `.pth`, `.bin`, `.ckpt`): a zip archive of a pickle and its storages.

Read without torch: the pickle gives inert records, the storages are read in place by offset. Nothing is executed.

Source: torch/serialization.py (`_save`), PyTorch 2.13.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits, pickles
from regaudit.checkpoints.archive import Archive
from regaudit.checkpoints.base import Candidate, Checkpoint, Format
from regaudit.checkpoints.pickle_globals import remarks as remarks_on_globals
from regaudit.checkpoints.torch_checkpoint import Opened, checkpoint, listed, reader
from regaudit.checkpoints.torch_contents import Tree
from regaudit.checkpoints.torch_declared import in_optimizer, in_training_arguments, optimizer
from regaudit.checkpoints.torch_moments import in_states
from regaudit.checkpoints.torch_objects import storage
from regaudit.checkpoints.torch_storages import ArchiveBlocks, Storages
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

    from regaudit.checkpoints.torch_objects import View
    from regaudit.records import Array, Declared, Remark, Tensor

_PICKLE = "data.pkl"
_SCRIPT = ("constants.pkl", "code/", "archive_format")  # TorchScript and torch.export


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
        return checkpoint(open_archive(archive))
    except CheckpointError:
        archive.close()
        raise


def declared_in_training_args(path: Path) -> tuple[Declared, ...]:
    """Return what the `training_args.bin` of a transformers Trainer declares; () where it can't be read."""
    root, _ = read_side_file(path)
    return in_training_arguments(root, path.name)


def declared_in_optimizer(path: Path) -> tuple[Declared, ...]:
    """Return the weight decay of each group in an `optimizer.pt`; () where it can't be read."""
    root, _ = read_side_file(path)
    found = optimizer("optimizer", root)
    return in_optimizer(found, path.name, ()) if found else ()


def with_optimizer(weights: Checkpoint, path: Path) -> Checkpoint:
    """Return a model with the moments in the `optimizer.pt` beside it; as it is where that can't be read.

    Args:
        weights: The model, open. A torch file has its tensors in the model's order; safetensors sorts them by name.
        path: A state dict of a `torch.optim.Optimizer`.

    Raises:
        UnsafeCheckpoint: The optimizer's file would exhaust the machine.
    """
    with ExitStack() as stack:
        stack.callback(weights.close)
        found = _open_side_file(path)
        if found is None:
            stack.pop_all()
            return weights
        opened, apart, views = found
        stack.callback(opened.close)
        stored = {replace(each, source=f"{path.name}: {each.source}"): each for each in apart}
        inner = reader(path, opened.storages, views)

        def read(tensor: Tensor, start: int, stop: int) -> Array:
            return inner(stored[tensor], start, stop) if tensor in stored else weights.read(tensor, start, stop)

        is_in_order = weights.format.startswith(FORMAT.name)
        moments = in_states({"optimizer": opened.root}, weights.tensors, tuple(stored), read, in_order=is_in_order)
        return replace(
            weights,
            read=read,
            apart=(*weights.apart, *stored),
            moments=weights.moments or moments,
            close=stack.pop_all().close,
        )


def _open_side_file(path: Path) -> tuple[Opened, tuple[Tensor, ...], dict[tuple[str, str], View]] | None:
    """Return an optimizer's file, open, with its tensors; None where it can't be read.

    Raises:
        UnsafeCheckpoint: It would exhaust the machine.
    """
    with ExitStack() as stack:
        try:
            archive = Archive(path)
            stack.callback(archive.close)
            opened = open_archive(archive)
            apart, views = listed(opened.tree.tensors(opened.root, "optimizer"), opened)
        except UnsafeCheckpoint:
            raise
        except CheckpointError:
            return None
        stack.pop_all()
        return opened, apart, views


def remarks_on_side_file(path: Path) -> tuple[Remark, ...]:
    """Return what is alarming about the pickle in a `training_args.bin` or `optimizer.pt`; () where it can't be read."""
    return read_side_file(path)[1]


def open_archive(archive: Archive) -> Opened:
    """Return an archive that `torch.save` wrote, its pickle read.

    Raises:
        CorruptCheckpoint: There is not exactly one pickle; a bad one is a `CheckpointError`, too.
    """
    found = [name for name in archive.names if _is_pickle(name)]
    if len(found) != 1:
        raise CorruptCheckpoint(str(archive.path), f"a checkpoint has one member {_PICKLE}, this has {len(found)}")
    raw = archive.read(found[0], limit=limits.PICKLE_BYTES)
    where = f"{archive.path}: {found[0]}"
    pickled = pickles.load(raw, persistent=storage, where=where)
    prefix = found[0].removesuffix(_PICKLE)
    return Opened(
        path=archive.path,
        nbytes=archive.source.size,
        storages=Storages(ArchiveBlocks(archive, f"{prefix}data/", f"{prefix}byteorder")),
        member=found[0],
        root=pickled.value,
        tree=Tree(where, len(raw)),
        remarks=remarks_on_globals(pickled, f"{archive.path.name}: {found[0]}"),
        close=archive.close,
    )


def read_side_file(path: Path) -> tuple[object, tuple[Remark, ...]]:
    """Return the content of a pickle beside the model. It is no part of the model: a corrupt one declares nothing.

    Raises:
        UnsafeCheckpoint: It would exhaust the machine.
    """
    try:
        archive = Archive(path)
        try:
            opened = open_archive(archive)
        finally:
            archive.close()
    except UnsafeCheckpoint:
        raise
    except CheckpointError:
        return None, ()
    return opened.root, opened.remarks


def _claims(candidate: Candidate) -> bool:
    prefixes = [name.removesuffix(_PICKLE) for name in candidate.members if _is_pickle(name)]
    return any(
        not any(name.startswith(tuple(prefix + part for part in _SCRIPT)) for name in candidate.members)
        for prefix in prefixes
    )


def _is_pickle(member: str) -> bool:
    return member == _PICKLE or (member.count("/") == 1 and member.endswith(f"/{_PICKLE}"))


FORMAT = Format(name="PyTorch", claims=_claims, open=lambda candidate: open_torch(candidate.path))
