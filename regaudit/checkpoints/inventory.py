"""Which models lie under a folder: what `--recursive` audits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from regaudit.checkpoints import formats
from regaudit.checkpoints.sniff import MODEL_SUFFIXES, is_unread_model, look
from regaudit.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regaudit.checkpoints.base import Candidate

# What makes a folder of files one model; without it each of its files is a model of its own.
_MARKS = frozenset({"config.json", "adapter_config.json"})
_INDEX = ".index.json"
_ANY = ".bin"  # as good as no suffix: OpenVINO and vocabularies use it, too


def models_under(folder: Path) -> Iterator[Path]:
    """Yield every model under a folder, in order of their names; what is no model is passed over.

    A file is a model if a reader knows its content, and also if its suffix says that it should be one: a damaged model
    must not go unseen. Nor must a model that no reader can open (TensorFlow Lite, TensorRT …). A folder is one model where its files belong together; a checkpoint's own folder may hold more
    of them (`checkpoint-500/`). Hidden entries are left out, links to folders are not followed.

    Args:
        folder: A folder. One that cannot be listed is yielded itself: opening it tells why.

    Yields:
        Paths below the folder, or the folder.
    """
    try:
        candidate = look(folder)
        entries = sorted(os.scandir(folder), key=lambda each: each.name)
    except (CheckpointError, OSError):
        yield folder
        return
    files = [folder / each.name for each in entries if not each.name.startswith(".") and _is_file(each)]
    folders = [folder / each.name for each in entries if _is_searched(each, candidate.members)]
    if is_unread_model(candidate):
        yield folder
        return
    models = [path for path in files if _is_model(path)]
    is_marked = any(name in _MARKS or name.endswith(_INDEX) for name in candidate.members)
    if (is_marked or not models) and _is_claimed(candidate):
        yield folder
        models = []
        folders = folders if is_marked else []
    yield from models
    for each in folders:
        yield from models_under(each)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _is_searched(entry: os.DirEntry[str], beside: frozenset[str]) -> bool:
    # the cache of Hugging Face keeps each file in blobs/, and a link to it under its name in snapshots/
    is_blobs = entry.name == "blobs" and "snapshots" in beside
    return entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and not is_blobs


def _is_model(path: Path) -> bool:
    if path.suffix in MODEL_SUFFIXES and path.suffix != _ANY:
        return True
    try:
        candidate = look(path)
    except CheckpointError:  # empty or locked, and not named as a model
        return False
    return _is_claimed(candidate) or is_unread_model(candidate)


def _is_claimed(candidate: Candidate) -> bool:
    return any(each.claims(candidate) for each in formats())
