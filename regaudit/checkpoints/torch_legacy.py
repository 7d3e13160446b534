"""PyTorch checkpoints from before 1.6: pickles one after the other, then the storages, with nothing between them.

A magic number, the protocol, facts about the machine, the content, and the keys of the storages are a pickle each; then
comes for each key the number of elements (8 bytes) and the elements, little-endian.

Source: torch/serialization.py (`_legacy_save`, `_legacy_load`), PyTorch 2.13.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits, pickles
from regaudit.checkpoints.base import Candidate, Checkpoint, Format
from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.pickle_globals import remarks as remarks_on_globals
from regaudit.checkpoints.pickles import Global
from regaudit.checkpoints.source import Source
from regaudit.checkpoints.text import quoted
from regaudit.checkpoints.torch_checkpoint import Opened, checkpoint
from regaudit.checkpoints.torch_contents import Tree
from regaudit.checkpoints.torch_objects import storage
from regaudit.checkpoints.torch_storages import Storages
from regaudit.errors import CheckpointError, CorruptCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

    from regaudit.checkpoints.pickles import Pickled
    from regaudit.checkpoints.torch_objects import Storage

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number, as a pickle of its own

_PROTOCOL = 1001
_COUNT = struct.Struct("<q")
# A pickle's length is known only at its end. The state dict of 10,000 tensors takes 2 MB: one more try is enough.
_WINDOWS = (1 << 20, 16 << 20)


def open_legacy(path: Path) -> Checkpoint:
    """Open a checkpoint that PyTorch before 1.6 saved, or a later one with `_use_new_zipfile_serialization=False`.

    Args:
        path: The file.

    Returns:
        The model's tensors; optimizer state and further copies of the weights are apart.

    Raises:
        CheckpointError: The file is corrupt or unsafe, or holds no weights.
    """
    source = Source(path)
    try:
        return checkpoint(_open(source))
    except CheckpointError:
        source.close()
        raise


def _claims(candidate: Candidate) -> bool:
    return candidate.head.startswith(MAGIC)


FORMAT = Format(name="PyTorch before 1.6", claims=_claims, open=lambda candidate: open_legacy(candidate.path))


class _Blocks:
    """The storages behind the pickles."""

    big_endian = False  # whatever the machine was: see THPStorage_writeFileRaw

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: dict[str, Storage] = {}
        self._begins: dict[str, int] = {}

    def persistent(self, key: object) -> object:
        """Return the storage, or the class of a pickled module, that a persistent id stands for.

        Raises:
            ValueError: It stands for neither.
        """
        match key:
            case ("module", Global() as kind, *_):
                return kind  # its source code lies beside it, and is not looked at
            case (_, _, _, _, _, view) if view is not None:
                raise ValueError("a storage within another one, as PyTorch before 0.4 wrote")
        found = storage(key)
        if self._known.setdefault(found.key, found) != found:
            raise ValueError("two storages with one key")
        return found

    def locate(self, keys: object, at: int) -> None:
        """Remember where each storage begins; `at` is the first byte behind the last pickle.

        Raises:
            CorruptCheckpoint: The storages are not those of the tensors, or the file ends before them.
        """
        path = self._source.path
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise CorruptCheckpoint(str(path), "the pickle behind the content must list the keys of the storages")
        for key in keys:
            if key not in self._known or key in self._begins:
                raise CorruptCheckpoint(str(path), f"storage {quoted(key)} belongs to no tensor, or comes twice")
            (numel,) = _COUNT.unpack(self._source.read_at(at, _COUNT.size))
            if numel != self._known[key].numel:
                raise self._differs(self._known[key], f"has {numel:,}")
            self._begins[key] = at + _COUNT.size
            at += _COUNT.size + self._known[key].nbytes
        if at > self._source.size:
            raise CorruptCheckpoint(
                str(path),
                f"its storages end at byte {at:,}, the file has {self._source.size:,}",
                "The download or copy was cut short; fetch the file again.",
            )

    def member(self, found: Storage) -> str:
        if found.key not in self._begins:
            raise self._differs(found, "is not there")
        if found.nbytes > self._known[found.key].nbytes:
            raise self._differs(found, f"has {self._known[found.key].numel:,} of {self._known[found.key].dtype}")
        return self._source.path.name

    def read_at(self, found: Storage, offset: int, count: int) -> bytes:
        return self._source.read_at(self._begins[found.key] + offset, count)

    def _differs(self, found: Storage, problem: str) -> CorruptCheckpoint:
        where = f"{self._source.path}: storage {quoted(found.key)}"
        kind = f"{DTYPES[found.dtype].bits}-bit elements"
        return CorruptCheckpoint(
            where, f"the tensors say {found.numel:,} {kind}, it {problem}", "Fetch the file again."
        )


def _open(source: Source) -> Opened:
    blocks, where = _Blocks(source), str(source.path)
    at = len(MAGIC)
    protocol = _pickle(source, at, blocks)
    if protocol.value != _PROTOCOL:
        raise CorruptCheckpoint(where, f"is of PyTorch's protocol {str(protocol.value)[:40]}, known is {_PROTOCOL}")
    at += protocol.nbytes
    at += _pickle(source, at, blocks).nbytes  # byte order and widths of the machine: of no use
    content = _pickle(source, at, blocks)
    at += content.nbytes
    keys = _pickle(source, at, blocks)
    blocks.locate(keys.value, at + keys.nbytes)
    return Opened(
        path=source.path,
        nbytes=source.size,
        format="PyTorch before 1.6",
        storages=Storages(blocks),
        member=source.path.name,
        root=content.value,
        tree=Tree(where, content.nbytes),
        remarks=remarks_on_globals(content, f"{source.path.name}: pickle"),
        close=source.close,
    )


def _pickle(source: Source, at: int, blocks: _Blocks) -> Pickled:
    left = source.size - at
    largest = limits.PICKLE_BYTES.value
    for window in (*_WINDOWS, largest):
        raw = source.read_at(at, min(window, left))
        try:
            return pickles.load(raw, persistent=blocks.persistent, where=f"{source.path}: pickle at byte {at:,}")
        except CorruptCheckpoint:
            if window >= left or window == largest:
                raise
    raise AssertionError  # the last window returns or raises
