"""The variables of a TensorFlow checkpoint: `NAME.index` and the shards `NAME.data-00000-of-00001` beside it.

A variable lies in one piece in one shard, or, where it was partitioned, in slices with entries of their own.

Source: tensorflow/core/util/tensor_bundle/tensor_bundle.cc, tensorflow/core/lib/strings/ordered_code.cc (2.21).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints import dtypes, limits, tensorflow_protos
from regaudit.checkpoints.pieces import Piece, Pieces
from regaudit.checkpoints.source import Source, inside, is_file
from regaudit.checkpoints.tensorflow_table import read_table, varint
from regaudit.checkpoints.text import quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from regaudit.checkpoints.tensorflow_protos import Entry

SUFFIX = ".index"

_CHECKSUM = 4
_REFETCH = "Put all files of the checkpoint in one folder; fetch the one that is cut short again."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variable:
    """A variable of numbers, and where its pieces are."""

    key: str
    shape: tuple[int, ...]
    pieces: Pieces
    source: str

    @property
    def dtype(self) -> str:
        """The spelling of safetensors."""
        return self.pieces.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the shards."""
        return dtypes.nbytes(self.dtype, self.size)


class Bundle:
    """An open checkpoint: its keys, the places of its variables, and its texts."""

    def __init__(self, index: Path, stack: ExitStack) -> None:
        """Read the index; the shards are opened when a variable in them is asked for, and closed by the stack.

        Raises:
            CheckpointError: The index cannot be read.
            UnknownFormat: It is from a big-endian machine.
        """
        source = Source(index)
        try:
            table = read_table(source)
            self.nbytes = source.size
        finally:
            source.close()
        self._index, self._stack = index, stack
        self._where = str(index)
        self._shards: dict[int, Source] = {}
        self._header = tensorflow_protos.header(table.pop(b"", b""), self._where)
        if self._header.big_endian:
            raise UnknownFormat(self._where, "was written on a big-endian machine", "Save it again on a common one.")
        found = {key: tensorflow_protos.entry(raw, self._where) for key, raw in table.items()}
        self._parts = {key: entry for key, entry in found.items() if key.startswith(b"\0")}  # of partitioned variables
        self._entries = {
            key.decode("utf-8", "backslashreplace"): entry for key, entry in found.items() if key not in self._parts
        }

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all variables."""
        return tuple(self._entries)

    def kind(self, key: str) -> str:
        """Return the dtype of a variable in the words of safetensors; TensorFlow's own for what is no plain number."""
        number = self._entries[key].dtype
        return tensorflow_protos.DTYPES.get(number) or tensorflow_protos.NAMES.get(number, f"type {number}")

    def variable(self, key: str) -> Variable:
        """Return a variable of numbers, with the places of its elements.

        Raises:
            CorruptCheckpoint: Its shape, its slices and the bytes that are there contradict each other.
        """
        entry, where = self._entries[key], f"{self._where}: {quoted(key)}"
        if (
            len(entry.shape) > limits.RANK.value
            or max(entry.shape, default=0) > limits.ELEMENTS.value
            or math.prod(entry.shape) > limits.ELEMENTS.value
        ):
            raise CorruptCheckpoint(where, f"no variable has the shape {list(entry.shape)}")
        dtype = self.kind(key)
        if not entry.slices:
            source = self._span(entry, dtype, where)
            piece = Piece(read_at=source.read_at, offset=entry.offset, first=0, length=math.prod(entry.shape))
            pieces, name = Pieces(dtype=dtype, row=piece.length, pieces=(piece,)), source.path.name
        else:
            pieces, name = self._slices(key, entry, dtype, where), f"{self._index.name.removesuffix(SUFFIX)}.data"
        return Variable(key=key, shape=entry.shape, pieces=pieces, source=name)

    def text(self, key: str) -> bytes | None:
        """Return a single string, None where there is none or it is too long to be worth reading.

        Raises:
            CorruptCheckpoint: It has another length than it says.
        """
        entry = self._entries.get(key)
        if (
            entry is None
            or entry.dtype != tensorflow_protos.STRING
            or entry.shape
            or entry.size > limits.TENSORFLOW_GRAPH_BYTES.value
        ):
            return None
        raw = self._shard(entry.shard).read_at(entry.offset, entry.size)
        length, at = varint(raw, 0, self._where)  # then a checksum of the lengths
        if at + _CHECKSUM + length != len(raw):
            raise CorruptCheckpoint(f"{self._where}: {quoted(key)}", "its text has another length than it says")
        return raw[at + _CHECKSUM :]

    def _slices(self, key: str, whole: Entry, dtype: str, where: str) -> Pieces:
        if not whole.shape or any(len(extents) != len(whole.shape) for extents in whole.slices):
            raise CorruptCheckpoint(where, "its slices have another number of axes than it has")
        axis = next((i for i, cut in enumerate(zip(*whole.slices, strict=True)) if any(n >= 0 for _, n in cut)), 0)
        behind = math.prod(whole.shape[axis + 1 :])
        pieces: list[Piece] = []
        at = 0
        for extents in sorted(whole.slices, key=lambda each: each[axis : axis + 1]):
            part = self._parts.get(slice_key(key, extents))
            length = part.shape[axis] if part and axis < len(part.shape) else 0
            shape = (*whole.shape[:axis], length, *whole.shape[axis + 1 :])
            if part is None or part.dtype != whole.dtype or part.shape != shape or extents[axis][0] != at or not length:
                raise CorruptCheckpoint(where, f"its slices do not follow each other along axis {axis}")
            source = self._span(part, dtype, where)
            pieces.append(Piece(read_at=source.read_at, offset=part.offset, first=at * behind, length=length * behind))
            at += length
        if whole.shape[axis : axis + 1] != (at,):
            raise CorruptCheckpoint(where, f"its slices end at {at:,} of axis {axis}, its shape is {list(whole.shape)}")
        return Pieces(dtype=dtype, row=at * behind, pieces=tuple(pieces))

    def _span(self, entry: Entry, dtype: str, where: str) -> Source:
        # the shard that holds the bytes of an entry, which must be as many as its shape needs
        source = self._shard(entry.shard)
        needed, end = dtypes.nbytes(dtype, math.prod(entry.shape)), entry.offset + entry.size
        if entry.size != needed:
            problem = f"shape {list(entry.shape)} of {dtype} takes {needed:,} bytes, the index gives it {entry.size:,}"
            raise CorruptCheckpoint(where, problem)
        if end > source.size:
            problem = f"ends at byte {end:,} of {source.path.name}, which has {source.size:,}"
            raise CorruptCheckpoint(where, problem, _REFETCH)
        return source

    def _shard(self, number: int) -> Source:
        if number not in self._shards:
            stem = self._index.name.removesuffix(SUFFIX)
            name = f"{stem}.data-{number:05d}-of-{self._header.shards:05d}"
            path = inside(self._index.parent, name)
            if not is_file(path):
                raise CheckpointError(self._where, f"its shard {quoted(name)} is missing", _REFETCH)
            self._shards[number] = source = Source(path)
            self._stack.callback(source.close)
            self.nbytes += source.size
        return self._shards[number]


def slice_key(key: str, extents: tuple[tuple[int, int], ...]) -> bytes:
    """Return the key of a part: 0, the variable's key, and start and length for each axis, in an order-keeping code.

    Example:
        >>> slice_key("w", ((0, 64), (0, -1))).hex(" ")
        '00 77 00 01 01 02 80 c0 40 80 7f'
    """
    escaped = b"".join({0: b"\0\xff", 255: b"\xff\0"}.get(byte, bytes([byte])) for byte in key.encode())
    rank = len(extents)
    axes = bytes([1, rank]) if rank else b"\0"
    return b"\0" + escaped + b"\0\1" + axes + b"".join(_ordered(start) + _ordered(length) for start, length in extents)


def _ordered(number: int) -> bytes:
    """Return a signed integer so that bytes compare as numbers do: ones for the length, then two's complement."""
    magnitude = ~number if number < 0 else number
    length = 1 + magnitude.bit_length() // 7
    if length > 8:  # no axis is as long as that
        return b""
    marked = number ^ (((1 << length) - 1) << (8 * length - length))
    return (marked & ((1 << (8 * length)) - 1)).to_bytes(length, "big")
