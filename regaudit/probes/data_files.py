"""Files of examples: named arrays whose rows are read on demand; nothing is ever unpickled.

Arrays in numpy and safetensors files are read by the readers of checkpoints, which run no code and keep within bounds;
of a large file only the rows that are used are read. Tables are read whole: their numbers are the array `x`, or a
column of the labels' name apart.
"""

from __future__ import annotations

import csv
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regaudit.checkpoints import numpy_arrays, safetensors
from regaudit.checkpoints.sniff import look
from regaudit.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from regaudit.checkpoints.base import Checkpoint, Format
    from regaudit.records import Array, Tensor

FEATURES = "x"  # the name of a table's numbers
MAX_TABLE_BYTES = 1 << 30  # a table is parsed as text: 1 GiB takes minutes, and about 4 GiB of memory
MAX_TABLE_CELLS = 1 << 28  # 2 GiB as float64

_ARRAYS: dict[str, Format] = {
    ".npz": numpy_arrays.FORMAT,
    ".npy": numpy_arrays.FORMAT,
    ".safetensors": safetensors.FORMAT,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """An array in a file, axis 0 over examples.

    Args:
        name: As the file has it.
        shape: Of the whole array.
        dtype: In safetensors' spelling (`F32`, `I64`).
        rows: `rows(index)` reads the rows with these numbers, which must ascend.
        columns: Names of what a row holds, where the file tells.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    rows: Callable[[Array], Array]
    columns: tuple[str, ...] = ()


@contextmanager
def opened(path: str, label_key: str) -> Iterator[Mapping[str, Stored]]:
    """Open a file of examples: its arrays by name, in order.

    Args:
        path: A .npz, .npy, .safetensors, .csv or .parquet file.
        label_key: The column of a table that holds the labels, if it is there.

    Yields:
        The arrays; they can be read inside the `with` block.

    Raises:
        ConfigError: It is no such file, or not readable.
    """
    suffix = Path(path).suffix.lower()
    try:
        if suffix in _ARRAYS:
            candidate = look(Path(path))
            if not _ARRAYS[suffix].claims(candidate):
                raise ConfigError(f"{path}: its content is not what a {suffix} file holds")
            with _ARRAYS[suffix].open(candidate) as checkpoint:
                yield {each.name: _stored(checkpoint, each) for each in checkpoint.tensors}
        elif suffix in _TABLES:
            names, table = _TABLES[suffix](path)
            yield _split(path, names, table, label_key)
        else:
            known = ", ".join([*_ARRAYS, *_TABLES])
            raise ConfigError(f"{path}: data are read from {known} files, never from a pickle")
    except CheckpointError as error:
        raise ConfigError(str(error)) from error


def _stored(checkpoint: Checkpoint, tensor: Tensor) -> Stored:
    def rows(index: Array) -> Array:
        size = tensor.size // max(tensor.shape[0], 1)
        runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)  # neighbours are read at once
        parts = [checkpoint.read(tensor, int(run[0]) * size, (int(run[-1]) + 1) * size) for run in runs]
        return np.concatenate(parts).reshape(len(index), *tensor.shape[1:])

    return Stored(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, rows=rows)


def _split(path: str, names: Sequence[str], table: Array, label_key: str) -> dict[str, Stored]:
    """Return a table as features and, where it has that column, labels.

    Raises:
        ConfigError: Two columns have the same name.
    """
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: two columns have the same name; the names are {', '.join(names)}")
    kept = [i for i, name in enumerate(names) if name != label_key]
    arrays = {FEATURES: _in_memory(FEATURES, table[:, kept], tuple(names[i] for i in kept))}
    if label_key in names:
        arrays[label_key] = _in_memory(label_key, table[:, list(names).index(label_key)])
    return arrays


def _in_memory(name: str, array: Array, columns: tuple[str, ...] = ()) -> Stored:
    return Stored(name=name, shape=array.shape, dtype="F64", rows=lambda index: array[index], columns=columns)


def _csv(path: str) -> tuple[tuple[str, ...], Array]:
    """Return the column names and the numbers of a CSV file; its first line has the names.

    Raises:
        ConfigError: It is too large, has no header, a cell is no number, or lines differ in length.
    """
    if Path(path).stat().st_size > MAX_TABLE_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_TABLE_BYTES:,} bytes; save it as .npz or .parquet")
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            names = tuple(name.strip() for name in next(lines, []))
            numbers = [_numbers(path, lines.line_num, names, line) for line in lines if line]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    if names and all(map(_is_number, names)):
        raise ConfigError(f"{path}: its first line has numbers, where the names of the columns are expected")
    return names, np.array(numbers, np.float64).reshape(len(numbers), len(names))


def _numbers(path: str, line: int, names: Sequence[str], cells: Sequence[str]) -> Array:
    if len(cells) != len(names):
        raise ConfigError(f"{path}: line {line} has {len(cells)} cells, the header has {len(names)}")
    try:
        return np.array(cells, np.float64)
    except ValueError:
        name, cell = next((name, cell) for name, cell in zip(names, cells, strict=True) if not _is_number(cell))
        raise ConfigError(f"{path}: line {line}, column {name!r}: {cell!r} is not a number") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(path: str) -> tuple[tuple[str, ...], Array]:
    """Return the column names and the numbers of a Parquet file.

    Raises:
        ConfigError: pyarrow is missing, or the file is damaged, too large or not all numbers.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(f"{path}: needs the package pyarrow: pip install 'regaudit[parquet]'") from error
    try:
        file = parquet.ParquetFile(path)
        if file.metadata.num_rows * file.metadata.num_columns > MAX_TABLE_CELLS:
            raise ConfigError(f"{path}: has more than {MAX_TABLE_CELLS:,} cells; save the rows to use as .npz")
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: not a readable Parquet file ({error})") from error
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise ConfigError(f"{path}: column {name!r} has the type {kind}; only numbers are read")
        if column.null_count:
            raise ConfigError(f"{path}: column {name!r} has {column.null_count:,} empty cells")
    columns = [column.to_numpy().astype(np.float64) for column in table.columns]
    return tuple(table.column_names), np.stack(columns, axis=1) if columns else np.empty((table.num_rows, 0))


_TABLES: dict[str, Callable[[str], tuple[tuple[str, ...], Array]]] = {".csv": _csv, ".parquet": _parquet}
