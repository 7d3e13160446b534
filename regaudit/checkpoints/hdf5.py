"""HDF5 files as trees of plain arrays: nothing outside of the file is followed, no array is read before it is asked for.

Left alone, libhdf5 opens other files where a link, an external storage or a virtual dataset names them, loads the
filter plugins that a dataset names, and allocates what a dataset declares (CVE-2026-1669 and CVE-2026-0897 in Keras).
All of it is refused here while the tree is read, before any array is.
"""

from __future__ import annotations

import io
import math
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regaudit.checkpoints import limits
from regaudit.checkpoints.dtypes import DTYPES, decode
from regaudit.checkpoints.hdf5_attributes import Attributes
from regaudit.checkpoints.text import quoted
from regaudit.errors import CorruptCheckpoint, MissingExtra, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from _typeshed import WriteableBuffer

    from regaudit.records import Array

MAGIC = b"\x89HDF\r\n\x1a\n"
FILL_ALLOWANCE = 64 << 10  # bytes granted as stored: libhdf5 stores nothing of an array that was never written
_BUILT_IN_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})  # deflate … scale-offset; LZF comes with h5py
_TEXTS = ("name", "model_config", "training_config", "keras_version")
_LISTS = ("layer_names", "weight_names")
# Everything that h5py raises for a malformed file.
_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError, NotImplementedError, MemoryError)
_CUT_SHORT = "The download or copy was cut short or damaged; fetch the file again."

Object: TypeAlias = Any  # an object of h5py, which has no types


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One array: what it is and where its bytes are.

    Args:
        path: In the file, from the root.
        shape: As stored.
        dtype: In the spelling of safetensors; "" where it holds no numbers that we read.
        nbytes: Of the decoded array.
        problem: Why it cannot be read ("" if it can).
        address: Of its header; two names with one address are one array.
        offset: Where its bytes begin, if they lie in one piece and in our byte order; else None.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    problem: str
    address: int
    offset: int | None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A folder of the file: members in the order in which they were written; the attributes that Keras writes."""

    path: str
    groups: Mapping[str, Group]
    datasets: Mapping[str, Dataset]
    texts: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]

    def every(self) -> Iterator[Dataset]:
        """Yield all arrays in it and below, in file order."""
        yield from self.datasets.values()
        for group in self.groups.values():
            yield from group.every()


class Hdf5File:
    """An open HDF5 file: `root` is its tree, `read` its numbers."""

    def __init__(self, where: str, size: int, read_at: Callable[[int, int], bytes]) -> None:
        """Read the tree.

        Args:
            where: The file, for messages.
            size: Of the file in bytes.
            read_at: `read_at(offset, count)` returns bytes of it; thread-safe.

        Raises:
            MissingExtra: h5py is not installed.
        """
        try:
            import h5py
        except ImportError as error:
            raise MissingExtra(where, "h5py", "keras") from error
        self._h5py = h5py
        self._where = where
        self._size = size
        self._read_at = read_at
        self._lock = threading.Lock()
        self._latest: tuple[str, Object] = ("", None)  # kept open so that its chunk stays inflated
        with _in_plain_words(where):
            self._file: Object = h5py.File(_Window(size, read_at), "r", rdcc_nbytes=limits.HDF5_CHUNK_BYTES.value)
        try:
            with _in_plain_words(where):
                attributes = Attributes(where, size, self._file.userblock_size, read_at, (*_TEXTS, *_LISTS))
                walk = _Walk(h5py, where, size, attributes)
                address = walk.address(self._file)
            self.root = walk.group(self._file, "/", address, 0)
        except BaseException:
            self.close()
            raise

    def read(self, dataset: Dataset, start: int, stop: int) -> Array:
        """Return flat elements [start, stop) in C order (see `Checkpoint.read`)."""
        if dataset.offset is not None:
            width = DTYPES[dataset.dtype].bits // 8
            return decode(dataset.dtype, self._read_at(dataset.offset + start * width, (stop - start) * width))
        where = f"{self._where}: {quoted(dataset.path)}"
        with self._lock, _in_plain_words(where):
            if self._latest[0] != dataset.path:
                self._latest = (dataset.path, self._file[dataset.path])
            blocks = [np.asarray(self._latest[1][index]) for index in _pieces(dataset.shape, start, stop)]
        raw = b"".join(_little_endian(block) for block in blocks)
        return decode(dataset.dtype, raw)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._latest = ("", None)
        with suppress(*_ERRORS):  # a corrupt file may not even close; nothing was written
            self._file.close()


class _Walk:
    """One pass over a file's tree that refuses what must not be followed, allocated or repeated."""

    def __init__(self, h5py: Object, where: str, size: int, attributes: Attributes) -> None:
        self._h5py = h5py
        self._attributes = attributes
        self._where = where
        self._size = size
        self._groups: set[int] = set()
        self._objects = 0
        self._bytes = 0

    def group(self, item: Object, path: str, address: int, depth: int) -> Group:
        where = self._at(path)
        if depth > limits.HDF5_DEPTH.value:
            raise UnsafeCheckpoint(where, *limits.HDF5_DEPTH.exceeded("groups are nested too deeply"))
        with _in_plain_words(where):
            members = sorted(self._members(item, path), key=lambda member: member[0])
        found = self._texts(address)
        if address in self._groups:
            raise UnsafeCheckpoint(where, "the group has two names, so the file's tree has a loop or a second root")
        self._groups.add(address)
        groups: dict[str, Group] = {}
        datasets: dict[str, Dataset] = {}
        for below_address, name, member in members:
            below = f"{path.rstrip('/')}/{name}"
            if isinstance(member, self._h5py.Group):
                groups[name] = self.group(member, below, below_address, depth + 1)
            elif isinstance(member, self._h5py.Dataset):
                datasets[name] = self._dataset(member, below, below_address)
        texts = {key: found[key][0] for key in _TEXTS if found.get(key)}
        return Group(path=path, groups=groups, datasets=datasets, texts=texts, lists=_named_lists(found))

    def _texts(self, address: int) -> dict[str, tuple[str, ...]]:
        found = self._attributes.texts(address)
        return {key: tuple(text.decode("utf-8", "backslashreplace") for text in texts) for key, texts in found.items()}

    def _members(self, item: Object, path: str) -> Iterator[tuple[int, str, Object]]:
        for name in item:
            self._objects += 1
            if self._objects > limits.TENSORS.value:
                raise UnsafeCheckpoint(self._where, *limits.TENSORS.exceeded("has too many arrays and groups"))
            link = item.get(name, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                raise UnsafeCheckpoint(
                    self._at(f"{path.rstrip('/')}/{name}"),
                    f"is a {_link_words(link)}, not an array of this file; Keras writes no such links",
                )
            member = item[name]
            yield self.address(member), name, member

    def address(self, item: Object) -> int:
        """Return where an object's header is; an object with two names has one."""
        return int(self._h5py.h5o.get_info(item.id).addr)

    def _dataset(self, item: Object, path: str, address: int) -> Dataset:
        with _in_plain_words(self._at(path)):
            shape = item.shape
            external, virtual = item.external, item.is_virtual
            stored, chunk = item.id.get_storage_size(), item.chunks
            dtype, problem = _dtype(item), _problem(item)
            width = item.dtype.itemsize
            offset = self._offset(item)
        if external or virtual:
            kind = "outside of this file" if external else "in other arrays (a virtual dataset)"
            raise UnsafeCheckpoint(self._at(path), f"keeps its numbers {kind}; Keras writes no such arrays")
        if shape is None:
            shape, problem = (), "has no shape"
        nbytes = math.prod(shape) * width
        self._check_size(path, nbytes, stored, chunk_bytes=math.prod(chunk or ()) * width if chunk else 0)
        if not problem and offset is not None and offset + nbytes > self._size:
            raise CorruptCheckpoint(self._at(path), "its numbers lie beyond the end of the file", _CUT_SHORT)
        return Dataset(
            path=path, shape=tuple(shape), dtype="" if problem else dtype, nbytes=nbytes, problem=problem,
            address=address, offset=offset,
        )  # fmt: skip

    def _check_size(self, path: str, nbytes: int, stored: int, *, chunk_bytes: int) -> None:
        self._bytes += nbytes
        if nbytes > limits.EXPANSION.value * max(stored, FILL_ALLOWANCE):
            raise UnsafeCheckpoint(
                self._at(path), *limits.EXPANSION.exceeded(f"declares {nbytes:,} bytes, {stored:,} are stored")
            )
        if self._bytes > limits.EXPANSION.value * max(self._size, FILL_ALLOWANCE):
            raise UnsafeCheckpoint(
                self._where, *limits.EXPANSION.exceeded(f"its arrays declare {self._bytes:,} bytes of {self._size:,}")
            )
        if chunk_bytes > limits.HDF5_CHUNK_BYTES.value:
            problem = f"is stored in chunks of {chunk_bytes:,} bytes"
            raise UnsafeCheckpoint(self._at(path), *limits.HDF5_CHUNK_BYTES.exceeded(problem, needed=chunk_bytes))

    def _offset(self, item: Object) -> int | None:
        exact = item.id.get_type().equal(self._h5py.h5t.py_create(item.dtype))
        if not exact or item.dtype.byteorder == ">" or item.dtype.kind not in "fiu" or item.chunks is not None:
            return None
        offset = item.id.get_offset()
        return None if offset is None else int(offset)

    def _at(self, path: str) -> str:
        return f"{self._where}: {quoted(path)}"


class _Window(io.RawIOBase):
    """The read-only, seekable file object that h5py asks for, over positioned reads."""

    def __init__(self, size: int, read_at: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._read_at = read_at
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        found = self._read(self._position, len(view))
        length = len(found)
        view[:length] = found
        # NOTE: h5py ignores the length that is returned; what lies beyond the end must not be stray memory.
        view[length:] = bytes(len(view) - length)
        self._position += length
        return length

    def _read(self, offset: int, length: int) -> bytes:
        available = max(0, min(length, self._size - offset))
        return self._read_at(offset, available) if available else b""


@contextmanager
def _in_plain_words(where: str) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise CorruptCheckpoint(where, f"cannot be read as HDF5 ({_reason(error)})", _CUT_SHORT) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _link_words(link: Object) -> str:
    """Return "link to '/x' in 'secret.h5'", whatever kind of link it is."""
    target = quoted(str(getattr(link, "path", "")))
    file = getattr(link, "filename", "")
    return f"link to {target} in {quoted(str(file))}" if file else f"link to {target}"


def _dtype(item: Object) -> str:
    """Return the dtype in the spelling of safetensors, "" for what is none."""
    kind, width = item.dtype.kind, item.dtype.itemsize
    if kind == "b":
        return "BOOL"
    if kind == "V" and width == 2 and item.dtype.fields is None:
        return "BF16"  # h5py knows no bfloat16: Keras stores its two bytes as they are
    name = {"f": "F", "i": "I", "u": "U", "c": "C"}.get(kind, "") + str(8 * width)
    return name if name in DTYPES else ""


def _problem(item: Object) -> str:
    """Return why an array cannot be read as numbers, "" if it can."""
    if not _dtype(item):
        return f"holds no numbers (dtype {item.dtype.kind}{item.dtype.itemsize})"
    if item.shape is not None and len(item.shape) > limits.RANK.value:
        return f"has {len(item.shape)} axes"
    plan = item.id.get_create_plist()
    filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    if unknown := sorted(filters - _BUILT_IN_FILTERS):
        return f"is compressed with a plugin of libhdf5 (filter {unknown[0]}), which is not loaded"
    return ""


def _named_lists(found: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the lists of names; Keras splits one of more than 64 kB over `weight_names0`, `weight_names1` and so on."""
    lists: dict[str, tuple[str, ...]] = {}
    for key in _LISTS:
        numbered = takewhile(found.__contains__, (f"{key}{number}" for number in count()))
        parts = [key] if key in found else list(numbered)
        if parts:
            lists[key] = tuple(name for part in parts for name in found[part])
    return lists


def printable(name: str) -> str:
    """Return a name of the file in which bytes that are no UTF-8 are written out as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _pieces(shape: tuple[int, ...], start: int, stop: int, index: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the indices of blocks that together are the flat elements [start, stop), in order."""
    if start == stop:
        return
    if not shape:
        yield index
        return
    row = math.prod(shape[1:])
    (first, head), (last, tail) = divmod(start, row), divmod(stop, row)
    if head or first == last:
        yield from _pieces(shape[1:], head, min(row, stop - first * row), (*index, first))
        first += 1
    if first < last:
        yield (*index, slice(first, last))
    if tail and first <= last:
        yield from _pieces(shape[1:], 0, tail, (*index, last))


def _little_endian(block: Array) -> bytes:
    return block.astype(block.dtype.newbyteorder("<"), copy=False).tobytes()
