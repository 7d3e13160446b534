"""Orbax checkpoints (JAX): a directory of zarr arrays, most often within one OCDBT database.

Read through tensorstore, the library that wrote them, without JAX and without Orbax. Only the shapes and chunks are
looked at on opening; a chunk is decoded when an element of it is asked for, and kept until another is.

Source: https://orbax.readthedocs.io/en/latest/guides/checkpoint/checkpoint_format.html;
https://google.github.io/tensorstore/kvstore/ocdbt/
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from regaudit.checkpoints import dtypes, jax_trees, limits
from regaudit.checkpoints.base import (
    DANGLING_INDEX,
    UNREADABLE_TENSOR,
    Candidate,
    Checkpoint,
    Format,
)
from regaudit.checkpoints.jax_trees import DTYPE_OF_NUMPY
from regaudit.checkpoints.source import inside, is_file, read_whole
from regaudit.checkpoints.text import listed, parse_object, quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, MissingExtra, UnsafeCheckpoint
from regaudit.records import Remark, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from regaudit.records import Array

SMALL_CHECKPOINT = 1 << 20  # bytes; of such a directory limits.EXPANSION.value times as much is still harmless

_METADATA, _MANIFEST, _ITEMS = "_METADATA", "manifest.ocdbt", "_CHECKPOINT_METADATA"
_USUAL_ITEMS = ("default", "params", "state", "model")  # the first that is there holds the weights
_REFETCH = "Fetch the directory again."
_BATCH = 64  # arrays that are opened at once
_NO_ARRAYS = frozenset({"None", "string", "Dict", "List", "Tuple", "NamedTuple"})  # value types of what is no array
# What tensorstore raises for what it finds in a directory, by absl's status codes.
_ERRORS = (ValueError, IndexError, OSError, RuntimeError, NotImplementedError, OverflowError, TypeError)


class _Store(Protocol):
    """What is used of an open `tensorstore.TensorStore`."""

    @property
    def dtype(self) -> Any: ...  # noqa: ANN401 (tensorstore has no types)
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def chunk_layout(self) -> Any: ...  # noqa: ANN401
    def __getitem__(self, index: tuple[int | slice, ...]) -> Any: ...  # noqa: ANN401


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    """An array of the tree: its path, and the key under which its zarr array lies."""

    name: str
    key: str


def _claims(candidate: Candidate) -> bool:
    names = candidate.members
    return candidate.is_directory and (_METADATA in names or _ITEMS in names)


def _open(candidate: Candidate) -> Checkpoint:
    folder = _item(candidate)
    where = str(folder)
    metadata = parse_object(
        read_whole(inside(folder, _METADATA), limit=limits.ORBAX_METADATA_BYTES), f"{where}: {_METADATA}"
    )
    leaves = list(_leaves(metadata.get("tree_metadata"), where))
    if len({leaf.name for leaf in leaves}) < len(leaves):
        raise CorruptCheckpoint(f"{where}: {_METADATA}", "two of its arrays have one name")
    nbytes = _bytes_below(folder)
    stores, remarks = _stores(folder, leaves, _settings(metadata), limits.ORBAX_CACHE_BYTES.value)
    tensors: list[Tensor] = []
    for name, store in list(stores.items()):
        problem = _problem(store, nbytes)
        if problem:
            text = f"The array {quoted(name)} was not read: {problem}."
            remarks.append(Remark(kind=UNREADABLE_TENSOR, where=name, text=text))
        else:
            tensors.append(_tensor(name, store, folder.name))
    _require_fitting(tensors, nbytes, where)
    largest = max((_chunk_bytes(stores[tensor.name]) for tensor in tensors), default=0)
    if largest > limits.ORBAX_CACHE_BYTES.value:  # or a chunk would be decoded anew for every part that is read of it
        stores, _ = _stores(folder, leaves, _settings(metadata), largest)

    def read(tensor: Tensor, start: int, stop: int) -> Array:
        return _read(stores[tensor.name], tensor, start, stop, where)

    return jax_trees.checkpoint(candidate.path, "Orbax", nbytes, tuple(tensors), read, remarks=remarks)


FORMAT = Format(name="Orbax", claims=_claims, open=_open, extra="orbax")


def _item(candidate: Candidate) -> Path:
    # this directory, or one of those in it where several items were saved
    path = candidate.path
    if _METADATA in candidate.members:
        return path
    items = sorted(name for name in candidate.members if is_file(path / name / _METADATA))
    usual = [name for name in _USUAL_ITEMS if name in items]
    if not items or (len(items) > 1 and not usual):
        found = f"holds the items {listed(items)}" if items else f"has no item with a {_METADATA}"
        raise CheckpointError(
            str(path), f"is an Orbax checkpoint and {found}", "Give the folder of the one with the weights."
        )
    return inside(path, usual[0] if usual else items[0])


def _leaves(tree: object, where: str) -> Iterator[_Leaf]:
    if not isinstance(tree, dict) or len(tree) > limits.TENSORS.value:
        raise CorruptCheckpoint(f"{where}: {_METADATA}", "its tree_metadata must map names to arrays")
    for entry in tree.values():
        keys, value = (
            (entry.get("key_metadata"), entry.get("value_metadata")) if isinstance(entry, dict) else (None, None)
        )
        match keys, value:
            case [list(parts), {"value_type": str(kind)}] if all(isinstance(part, dict) for part in parts):
                path = [str(part.get("key")) for part in parts]
            case _:
                raise CorruptCheckpoint(f"{where}: {_METADATA}", "an entry of its tree has no keys or no value type")
        if kind not in _NO_ARRAYS:
            yield _Leaf(name="/".join(path), key=".".join(path))


def _bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a directory.

    Raises:
        UnsafeCheckpoint: There are too many, or a link leads out of it.
    """
    total = seen = 0
    for place, folders, files in os.walk(folder):
        seen += len(folders) + len(files)
        if seen > limits.MEMBERS.value:
            raise UnsafeCheckpoint(str(folder), *limits.MEMBERS.exceeded("holds too many files"))
        for name in (*folders, *files):
            path = os.path.join(place, name)  # noqa: PTH118
            if os.path.islink(path):  # noqa: PTH114
                raise UnsafeCheckpoint(path, "is a symbolic link; tensorstore would follow it wherever it leads")
            total += 0 if name in folders else os.lstat(path).st_size
    return total


def _stores(
    folder: Path, leaves: list[_Leaf], settings: dict[str, object], cache: int
) -> tuple[dict[str, _Store], list[Remark]]:
    # the opened arrays by name, and remarks on those that are not there
    try:
        tensorstore = import_module("tensorstore")
    except ImportError as error:
        raise MissingExtra(str(folder), "tensorstore", "orbax") from error
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": cache}})
    found: dict[str, _Store] = {}
    missing: list[str] = []
    for begin in range(0, len(leaves), _BATCH):
        batch = leaves[begin : begin + _BATCH]
        specs = [{**settings, "kvstore": _place(folder, leaf)} for leaf in batch]
        opening = [tensorstore.open(s, context=context, read=True, recheck_cached_data=False) for s in specs]
        for leaf, future in zip(batch, opening, strict=True):
            try:
                found[leaf.name] = future.result()
            except _ERRORS as error:
                if "NOT_FOUND" not in str(error):
                    raise CorruptCheckpoint(f"{folder}: {quoted(leaf.name)}", _reason(error), _REFETCH) from error
                missing.append(leaf.name)
    text = f"{_METADATA} names {len(missing):,} arrays that are not there: {listed(missing)}."
    return found, [Remark(kind=DANGLING_INDEX, where=_METADATA, text=text)] if missing else []


def _settings(metadata: dict[str, Any]) -> dict[str, object]:
    # where every chunk was stored, also one of zeros, one that is missing is no zeros but damage
    is_complete = metadata.get("store_array_data_equal_to_fill_value") is True
    driver = "zarr3" if metadata.get("use_zarr3") is True else "zarr"
    return {"driver": driver, "fill_missing_data_reads": not is_complete}


def _place(folder: Path, leaf: _Leaf) -> dict[str, object]:
    if is_file(folder / _MANIFEST):
        return {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder.resolve()}/"}, "path": f"{leaf.key}/"}
    return {"driver": "file", "path": f"{inside(folder, leaf.key).resolve()}/"}


def _problem(store: _Store, nbytes: int) -> str:
    """Return why an array cannot be read, "" where it can."""
    dtype, shape = DTYPE_OF_NUMPY.get(store.dtype.name), tuple(store.shape)
    if dtype is None:
        return f"its dtype is {quoted(store.dtype.name)}"
    if len(shape) > limits.RANK.value or math.prod(shape) > limits.ELEMENTS.value:
        return f"it claims the shape {list(shape)}"
    chunk = _chunk_bytes(store)
    if chunk > limits.EXPANSION.value * max(nbytes, SMALL_CHECKPOINT):
        return limits.EXPANSION.excess(f"a chunk of it takes {chunk:,} bytes in memory, all files have {nbytes:,}")
    if chunk > limits.ORBAX_CHUNK_BYTES.value:
        return limits.ORBAX_CHUNK_BYTES.excess(f"a chunk of it takes {chunk:,} bytes in memory", needed=chunk)
    return ""


def _chunk_bytes(store: _Store) -> int:
    return dtypes.nbytes(DTYPE_OF_NUMPY[store.dtype.name], math.prod(store.chunk_layout.read_chunk.shape or (1,)))


def _tensor(name: str, store: _Store, source: str) -> Tensor:
    dtype, shape = DTYPE_OF_NUMPY[store.dtype.name], tuple(store.shape)
    return Tensor(name=name, shape=shape, dtype=dtype, nbytes=dtypes.nbytes(dtype, math.prod(shape)), source=source)


def _require_fitting(tensors: Iterable[Tensor], nbytes: int, where: str) -> None:
    claimed = sum(tensor.nbytes for tensor in tensors)
    if claimed > limits.EXPANSION.value * max(nbytes, SMALL_CHECKPOINT):
        raise UnsafeCheckpoint(
            where, *limits.EXPANSION.exceeded(f"claims {claimed:,} bytes of arrays in {nbytes:,} bytes of files")
        )


def _read(store: _Store, tensor: Tensor, start: int, stop: int, where: str) -> Array:
    index, first = _box(tensor.shape, start, stop)
    try:
        block = store[index].read(order="C").result()
    except _ERRORS as error:
        raise CorruptCheckpoint(f"{where}: {quoted(tensor.name)}", _reason(error), _REFETCH) from error
    codes = block.reshape(-1)[first : first + stop - start]
    return dtypes.decode(tensor.dtype, codes.tobytes())


def _box(shape: tuple[int, ...], start: int, stop: int) -> tuple[tuple[int | slice, ...], int]:
    """Return the smallest box of whole rows around elements [start, stop), and where in it they begin."""
    index: list[int | slice] = []
    for axis in range(len(shape)):
        row = max(1, math.prod(shape[axis + 1 :]))
        first, last = start // row, -(-stop // row)
        if last - first != 1 or axis == len(shape) - 1:
            return (*index, slice(first, last)), start - first * row
        index.append(first)
        start, stop = start - first * row, stop - first * row
    return (), 0


def _reason(error: Exception) -> str:
    return f"tensorstore cannot read it ({quoted(str(error))})"
