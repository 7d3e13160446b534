"""Flax' MessagePack files (`.msgpack`, `checkpoint_1000`): a tree of maps with arrays as extension types.

Source: flax/serialization.py (Flax 0.12).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints import dtypes, jax_trees, limits
from regaudit.checkpoints.base import UNREADABLE_TENSOR, Candidate, Checkpoint, Format
from regaudit.checkpoints.messagepack import Blob, Walk
from regaudit.checkpoints.pieces import Piece, Pieces
from regaudit.checkpoints.source import Source
from regaudit.checkpoints.text import quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Remark, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import Array


_ARRAY, _SCALAR = 1, 3  # flax.serialization._MsgpackExtType; 2 is a complex number
_CHUNKED = "__msgpack_chunked_array__"  # an array above 1 GB, as {"shape": {"0": …}, "chunks": {"0": …}}

# A map whose first key is a text, and further on an array of Flax, or the mark of one in chunks.
_START = re.compile(rb"(?:[\x81-\x8f]|\xde..|\xdf....)(?:[\xa1-\xbf]|\xd9.)", re.DOTALL)
_FLAX = re.compile(rb"(?:\xc7.|\xc8..|\xc9....|[\xd4-\xd8])[\x01\x03]\x93[\x90-\x9f]|" + _CHUNKED.encode(), re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """An array in the file."""

    shape: tuple[int, ...]
    pieces: Pieces


def _open(candidate: Candidate) -> Checkpoint:
    source = Source(candidate.path)
    try:
        walk = Walk(source, 0, source.size)
        tree = walk.item()
        if walk.at != source.size:
            raise walk.corrupt(f"has {source.size - walk.at:,} bytes behind its end")
        arrays: dict[str, _Stored] = {}
        remarks: list[Remark] = []
        for name, node in _leaves(tree, str(candidate.path)):
            if name in arrays:
                raise CorruptCheckpoint(str(candidate.path), f"two of its arrays are named {quoted(name)}")
            try:
                arrays[name] = _array(node, source, name)
            except _Unreadable as error:
                text = f"The array {quoted(name)} was not read: {error}."
                remarks.append(Remark(kind=UNREADABLE_TENSOR, where=candidate.path.name, text=text))
        tensors = tuple(_tensor(name, stored, candidate.path.name) for name, stored in arrays.items())

        def read(tensor: Tensor, start: int, stop: int) -> Array:
            return arrays[tensor.name].pieces.read(start, stop)

        return jax_trees.checkpoint(
            candidate.path, "Flax MessagePack", source.size, tensors, read, source.close, remarks
        )
    except CheckpointError:
        source.close()
        raise


class _Unreadable(Exception):
    """An array of a dtype that cannot be decoded."""


def _leaves(tree: object, where: str) -> Iterator[tuple[str, object]]:
    # numbers and texts are no arrays
    left = limits.FLAX_NAME_CHARACTERS.value
    nodes = [("", tree)]
    while nodes:
        name, node = nodes.pop()
        left -= len(name)
        if left < 0:
            raise UnsafeCheckpoint(
                where, *limits.FLAX_NAME_CHARACTERS.exceeded("the names of its arrays are too long together")
            )
        if isinstance(node, Blob):
            if node.kind in {_ARRAY, _SCALAR}:
                yield name, node
        elif isinstance(node, dict) and _CHUNKED in node:
            yield name, node
        elif isinstance(node, dict | list):
            inner = node.items() if isinstance(node, dict) else enumerate(node)
            nodes += [(f"{name}/{key}" if name else str(key), child) for key, child in inner][::-1]


def _array(node: object, source: Source, name: str) -> _Stored:
    where = f"{source.path}: {quoted(name)}"
    if isinstance(node, Blob):
        shape, dtype, data = _parsed(node, source, where)
        piece = Piece(read_at=source.read_at, offset=data.offset, first=0, length=math.prod(shape))
        return _Stored(shape=shape, pieces=Pieces(dtype=dtype, row=piece.length, pieces=(piece,)))
    return _joined(node, source, where)


def _parsed(blob: Blob, source: Source, where: str) -> tuple[tuple[int, ...], str, Blob]:
    # shape, dtype and bytes of an array are a list of the three, packed into the extension
    walk = Walk(source, blob.offset, blob.offset + blob.count, budget=limits.RANK.value + 4)
    match walk.item():
        case [list(shape), str(kind), Blob(kind=-1) as data] if walk.at == walk.stop:
            pass
        case _:
            raise CorruptCheckpoint(where, "its array is no shape, dtype and block of bytes")
    lengths = _counts(shape, where)
    dtype = jax_trees.DTYPE_OF_NUMPY.get(kind)
    if dtype is None:
        raise _Unreadable(f"its dtype is {quoted(kind)}")
    if dtypes.nbytes(dtype, math.prod(lengths)) != data.count:
        raise CorruptCheckpoint(
            where,
            f"shape {list(lengths)} of {dtype} takes {dtypes.nbytes(dtype, math.prod(lengths)):,} bytes, "
            f"{data.count:,} are there",
        )
    return lengths, dtype, data


def _counts(shape: list[object], where: str) -> tuple[int, ...]:
    counts = tuple(n for n in shape if type(n) is int and 0 <= n <= limits.ELEMENTS.value)
    if len(counts) != len(shape) or len(counts) > limits.RANK.value or math.prod(counts) > limits.ELEMENTS.value:
        raise CorruptCheckpoint(where, f"its shape must be at most {limits.RANK.value} counts")
    return counts


def _joined(node: object, source: Source, where: str) -> _Stored:
    match node:
        case {"shape": dict(lengths), "chunks": dict(chunks)} if chunks:
            shape = _counts([lengths.get(str(i)) for i in range(len(lengths))], where)
            blobs = [chunks.get(str(i)) for i in range(len(chunks))]
        case _:
            raise CorruptCheckpoint(where, "its chunks or their shape are missing")
    pieces: list[Piece] = []
    kinds: set[str] = set()
    at = 0
    for blob in blobs:
        if not isinstance(blob, Blob) or blob.kind != _ARRAY:
            raise CorruptCheckpoint(where, "one of its chunks is no array")
        part, dtype, data = _parsed(blob, source, where)
        pieces.append(Piece(read_at=source.read_at, offset=data.offset, first=at, length=math.prod(part)))
        kinds.add(dtype)
        at += math.prod(part)
    if at != math.prod(shape) or len(kinds) != 1 or not all(piece.length for piece in pieces):
        raise CorruptCheckpoint(where, f"its chunks hold {at:,} elements, its shape is {list(shape)}")
    return _Stored(shape=shape, pieces=Pieces(dtype=kinds.pop(), row=at, pieces=tuple(pieces)))


def _tensor(name: str, stored: _Stored, source: str) -> Tensor:
    dtype = stored.pieces.dtype
    nbytes = dtypes.nbytes(dtype, math.prod(stored.shape))
    return Tensor(name=name or "array", shape=stored.shape, dtype=dtype, nbytes=nbytes, source=source)


def _claims(candidate: Candidate) -> bool:
    return _START.match(candidate.head) is not None and _FLAX.search(candidate.head) is not None


FORMAT = Format(name="Flax", claims=_claims, open=_open)
