"""Distributed PyTorch checkpoints (DCP, as FSDP writes them): an index `.metadata` and files of chunks.

The index is a pickle, which PyTorch's own reader executes; here it gives inert records. Every chunk is a small archive of
`torch.save` at some offset of a file.

Source: torch/distributed/checkpoint (metadata.py, filesystem.py, _nested_dict.py), PyTorch 2.13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits, pickles
from regaudit.checkpoints.base import Candidate, Checkpoint, Format
from regaudit.checkpoints.dtypes import nbytes
from regaudit.checkpoints.pickles import Global
from regaudit.checkpoints.source import inside, is_file, read_whole
from regaudit.checkpoints.text import listed, quoted
from regaudit.checkpoints.torch_checkpoint import Opened, checkpoint, remarks_on_names
from regaudit.checkpoints.torch_contents import Tree
from regaudit.checkpoints.torch_declared import in_settings
from regaudit.checkpoints.torch_objects import DTYPE_OF_TORCH, Refused, Storage, View, contiguous, counts, fields
from regaudit.checkpoints.torch_shards import Chunk, ClosedSource, Shards
from regaudit.checkpoints.torch_windows import Window, WindowArchive
from regaudit.checkpoints.torch_zip import open_archive, read_side_file
from regaudit.errors import CheckpointError, CorruptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regaudit.checkpoints.pickles import Pickled
    from regaudit.records import Declared, Remark


_INDEX = ".metadata"
_COMMON = "common.pt"  # what Megatron keeps beside its shards, its arguments among it
_FILES = ".distcp"
_ENCODING = "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING"


def open_distributed(folder: Path) -> Checkpoint:
    """Open a directory that torch.distributed.checkpoint wrote.

    Args:
        folder: It holds `.metadata` and the files that this names.

    Returns:
        The model's tensors under their whole names, put together from their chunks; optimizer state is apart.

    Raises:
        CheckpointError: The index or a chunk is corrupt or unsafe, a file is missing, or there are no weights.
    """
    index = _read_index(folder)
    found = checkpoint(_opened(index), whole_names=True)
    declared, remarks = _beside(folder)
    return replace(found, declared=(*found.declared, *declared), remarks=(*found.remarks, *remarks))


def _claims(candidate: Candidate) -> bool:
    return candidate.is_directory and _INDEX in candidate.members and any(n.endswith(_FILES) for n in candidate.members)


FORMAT = Format(name="PyTorch, distributed", claims=_claims, open=lambda candidate: open_distributed(candidate.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """The index, checked as far as it says anything."""

    folder: Path
    pickled: Pickled
    tensors: dict[str, object]
    paths: dict[object, object]
    places: dict[str, list[_Place]]
    files: dict[str, ClosedSource]

    @property
    def where(self) -> str:
        return str(self.folder / _INDEX)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a chunk, or an object that is no tensor, lies."""

    offsets: tuple[int, ...]
    file: str
    begin: int
    length: int
    is_transformed: bool


def _read_index(folder: Path) -> _Index:
    path = inside(folder, _INDEX)
    raw = read_whole(path, limit=limits.PICKLE_BYTES)
    pickled = pickles.load(raw, persistent=_no_storage, where=str(path))
    parts = fields(pickled.value)
    tensors, data = parts.get("state_dict_metadata"), parts.get("storage_data")
    if not isinstance(tensors, dict) or not isinstance(data, dict):
        raise CorruptCheckpoint(str(path), "must say what the tensors are and where they lie")
    places: dict[str, list[_Place]] = {}
    for key, value in data.items():
        name, place = _place(key, value, str(path))
        places.setdefault(name, []).append(place)
    names = sorted({place.file for each in places.values() for place in each})
    files = {name: inside(folder, name) for name in names}
    if missing := [name for name, file in files.items() if not is_file(file)]:
        problem = f"{len(missing):,} of its {len(names):,} files are missing: {listed(missing)}"
        raise CheckpointError(str(folder), problem, "Put them beside the index.")
    return _Index(
        folder=folder,
        pickled=pickled,
        tensors={str(name): each for name, each in tensors.items()},
        paths=fields(parts.get("planner_data")),
        places=places,
        files={name: ClosedSource(file) for name, file in files.items()},
    )


def _no_storage(_: object) -> object:
    raise ValueError("a storage in an index")


def _place(key: object, value: object, where: str) -> tuple[str, _Place]:
    index, info = fields(key), fields(value)
    match index.get("fqn"), info.get("relative_path"), info.get("offset"), info.get("length"):
        case str(name), str(file), int(begin), int(length):
            pass
        case _:
            raise CorruptCheckpoint(where, "an entry must name a tensor, a file, an offset and a length")
    try:
        offsets = counts(index.get("offset") or ())
    except ValueError as error:
        raise CorruptCheckpoint(f"{where}: {quoted(name)}", f"has a chunk at no place: {error}") from error
    is_transformed = bool(info.get("transform_descriptors"))
    return name, _Place(offsets=offsets, file=file, begin=begin, length=length, is_transformed=is_transformed)


def _opened(index: _Index) -> Opened:
    chunks: dict[str, tuple[Chunk, ...]] = {}
    root: dict[object, object] = {}
    remarks = list(remarks_on_names(index.pickled, f"{index.folder.name}/{_INDEX}", harmless=_is_encoding))
    tree = Tree(index.where, index.pickled.nbytes)
    budget = limits.DCP_OBJECT_BYTES.value
    for name, meta in index.tensors.items():
        if "size" not in fields(meta):
            value, seen, taken = _object(index, name, tree, budget)
            remarks, budget = remarks + list(seen), budget - taken
        else:
            value = _tensor(index, name, meta)
            if isinstance(value, View):
                chunks[name] = tuple(_chunks(index, name, value, fields(meta).get("chunks")))
        _insert(root, _path(index, name), value, name)
    return Opened(
        path=index.folder,
        nbytes=sum(file.size for file in index.files.values()),
        format=f"PyTorch, distributed ({len(index.files):,} file{'s' if len(index.files) > 1 else ''})",
        storages=Shards(chunks),
        member=_INDEX,
        root=_with_lists(root),
        tree=tree,
        remarks=tuple(remarks),
    )


def _is_encoding(function: object) -> bool:
    return isinstance(function, Global) and function.path == _ENCODING  # an enumeration's member


# --- Tensors ----------------------------------------------------------------------------------------------------------


def _tensor(index: _Index, name: str, meta: object) -> View | Refused:
    parts = fields(meta)
    properties = fields(getattr(parts.get("properties"), "state", None))
    dtype = properties.get(0, properties.get("dtype"))  # by position, or before PyTorch 2.0 by name
    kind = dtype.name if isinstance(dtype, Global) else "unknown"
    if kind not in DTYPE_OF_TORCH:
        word = kind[:40].upper() if kind.isidentifier() else "UNKNOWN"
        return Refused(kind=word, reason=f"its dtype is {quoted(kind)}, which regaudit cannot decode")
    if any(place.is_transformed for place in index.places.get(name, ())):
        return Refused(kind="TRANSFORMED", reason="its chunks are compressed or encrypted")
    try:
        shape = counts(parts["size"])
    except ValueError as error:
        raise CorruptCheckpoint(f"{index.where}: {quoted(name)}", f"contradicts itself: {error}") from error
    data = Storage(key=name, dtype=DTYPE_OF_TORCH[kind], numel=math.prod(shape))
    return View(data=data, dtype=data.dtype, shape=shape, strides=contiguous(shape))


def _chunks(index: _Index, name: str, view: View, listed_chunks: object) -> Iterator[Chunk]:
    """Yield the chunks of a tensor.

    Raises:
        CorruptCheckpoint: They are not as many elements as it has, or one is not in its file.
    """
    where = f"{index.where}: {quoted(name)}"
    places = {place.offsets: place for place in index.places.get(name, ())}
    total = 0
    for each in listed_chunks if isinstance(listed_chunks, list | tuple) else ():
        try:
            offsets, sizes = (counts(fields(each).get(key)) for key in ("offsets", "sizes"))
        except ValueError as error:
            raise CorruptCheckpoint(where, f"has a chunk of no place: {error}") from error
        place = places.get(offsets)
        is_inside = len(offsets) == len(sizes) == len(view.shape) and all(
            offset + size <= n for offset, size, n in zip(offsets, sizes, view.shape, strict=True)
        )
        if place is None or not is_inside:
            raise CorruptCheckpoint(where, f"the chunk at {list(offsets)} is outside of it, or in no file")
        total += math.prod(sizes)
        window = Window(index.files[place.file], place.begin, place.length)
        if nbytes(view.dtype, math.prod(sizes)) > window.size:
            raise CorruptCheckpoint(where, f"the chunk at {list(offsets)} has more elements than bytes")
        yield Chunk(offsets=offsets, sizes=sizes, window=window)
    if total != view.size:
        raise CorruptCheckpoint(where, f"its chunks have {total:,} elements, its shape has {view.size:,}")


# --- Everything else --------------------------------------------------------------------------------------------------


def _object(index: _Index, name: str, tree: Tree, budget: int) -> tuple[object, tuple[Remark, ...], int]:
    """Return an object that is no tensor, what is alarming about it, and its size; None for what is of no use."""
    places = index.places.get(name, [])
    if len(places) != 1 or places[0].is_transformed or places[0].length > budget:
        return None, (), 0
    place = places[0]
    try:
        opened = open_archive(WindowArchive(Window(index.files[place.file], place.begin, place.length)))
        holds_tensors = any(True for _ in tree.tensors(opened.root))
    except CheckpointError:  # no part of the model, and in no format that is known
        return None, (), place.length
    return None if holds_tensors else opened.root, opened.remarks, place.length


def _path(index: _Index, name: str) -> tuple[str | int, ...]:
    """Return the keys around a tensor: as the planner wrote them, or guessed."""
    planned = index.paths.get(name)
    if isinstance(planned, tuple | list) and 0 < len(planned) <= limits.DCP_PATH.value:
        keys = tuple(key for key in planned if isinstance(key, str | int))
        if len(keys) == len(planned):
            return keys
    first, _, rest = name.partition(".")
    return (first, rest) if rest and "optim" in first else (name,)


def _insert(root: dict[object, object], path: tuple[str | int, ...], value: object, name: str) -> None:
    inner: object = root
    for key in path[:-1]:
        inner = inner.setdefault(key, {}) if isinstance(inner, dict) else None
    if isinstance(inner, dict) and path[-1] not in inner:
        inner[path[-1]] = value
    else:
        root[name] = value


def _with_lists(value: dict[object, object]) -> dict[object, object] | list[object]:
    """Return nested dicts with those that have the keys 0, 1, 2 … as the lists that they were."""
    inner = {key: _with_lists(each) if isinstance(each, dict) else each for key, each in value.items()}
    is_list = list(inner) == list(range(len(inner))) and bool(inner)
    return list(inner.values()) if is_list else inner


def _beside(folder: Path) -> tuple[tuple[Declared, ...], tuple[Remark, ...]]:
    """Return what the arguments of a Megatron run declare."""
    path = inside(folder, _COMMON)
    if not is_file(path):
        return (), ()
    root, remarks = read_side_file(path)
    return in_settings(fields(root).get("args"), f"{_COMMON}, args"), remarks
