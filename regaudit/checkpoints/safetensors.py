"""safetensors: a JSON header, then the arrays' bytes without gaps.

The header is parsed here rather than by the `safetensors` package: its numpy interface knows no bfloat16 and no
8-bit or 4-bit floats, copies every array, and takes the last of two entries of one name.

Source: https://github.com/huggingface/safetensors (format, 2023).
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeGuard

from regaudit.checkpoints import dtypes, limits
from regaudit.checkpoints.base import (
    Candidate,
    Checkpoint,
    Format,
)
from regaudit.checkpoints.declarations import in_training_metadata
from regaudit.checkpoints.source import Source
from regaudit.checkpoints.text import DAMAGED, parse_object, quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from regaudit.records import Array

_LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"
_DTYPES = dtypes.DTYPES.keys() - {"C128"}  # the format has no double-precision complex


def open_safetensors(path: Path) -> Checkpoint:
    """Open one safetensors file.

    Args:
        path: A regular file.

    Returns:
        The checkpoint; only the header has been read. Names that the file maps to a stored tensor (tied weights,
        as `safetensors.torch.save_model` writes them) are tensors with `shares` set.

    Raises:
        CheckpointError: The file cannot be opened, is corrupt, or its header is too large.
    """
    source = Source(path)
    try:
        header, begin = _header(source)
        metadata = _metadata(header.pop(_METADATA, None), f"{path}: header")
        offsets, stored = _tensors(header, begin, source)
    except CheckpointError:
        source.close()
        raise
    tensors = (*stored, *_aliases(stored, metadata))
    offsets |= {tensor.name: offsets[tensor.shares] for tensor in tensors if tensor.shares}
    return Checkpoint(
        path=str(path),
        format="safetensors, MLX" if metadata.get("format") == "mlx" else "safetensors",
        nbytes=source.size,
        tensors=tensors,
        read=partial(_read, source, offsets),
        declared=in_training_metadata(metadata, path.name),
        close=source.close,
    )


def _read(source: Source, offsets: Mapping[str, int], tensor: Tensor, start: int, stop: int) -> Array:
    return dtypes.read_span(source.read_array, offsets[tensor.name], tensor.dtype, start, stop)


def _header(source: Source) -> tuple[dict[str, Any], int]:
    # the parsed header, and the offset at which the data begin
    where = str(source.path)
    if source.size < _LENGTH.size:
        raise CorruptCheckpoint(
            where, f"has {source.size} bytes; the length of a safetensors header alone takes 8", DAMAGED
        )
    (length,) = _LENGTH.unpack(source.read_at(0, _LENGTH.size))
    if length > source.size - _LENGTH.size:
        raise CorruptCheckpoint(
            where,
            f"announces a header of {length:,} bytes, the file has {source.size:,}",
            "The download or copy was cut short, or this is no safetensors file; fetch it again.",
        )
    if length > limits.HEADER_BYTES.value:
        raise UnsafeCheckpoint(
            where, *limits.HEADER_BYTES.exceeded(f"announces a header of {length:,} bytes", needed=length)
        )
    header = parse_object(source.read_at(_LENGTH.size, length), f"{where}: header", unique=True)
    if len(header) > limits.TENSORS.value:
        raise UnsafeCheckpoint(where, *limits.TENSORS.exceeded(f"lists {len(header):,} tensors", needed=len(header)))
    return header, _LENGTH.size + length


def _metadata(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise CorruptCheckpoint(where, f"{_METADATA} must map names to strings", DAMAGED)
    return value


def _tensors(header: dict[str, Any], begin: int, source: Source) -> tuple[dict[str, int], tuple[Tensor, ...]]:
    # where each tensor begins in the file, and the tensors in the header's order
    spans: list[tuple[int, int]] = []
    tensors: list[Tensor] = []
    for name, entry in header.items():
        where = f"{source.path}: tensor {quoted(name)}"
        dtype, shape, span = _fields(entry, where)
        if span[1] - span[0] != dtypes.nbytes(dtype, math.prod(shape)):
            raise CorruptCheckpoint(
                where,
                f"shape {list(shape)} of {dtype} takes {dtypes.nbytes(dtype, math.prod(shape)):,} bytes, "
                f"the header gives it {span[1] - span[0]:,}",
                DAMAGED,
            )
        tensors.append(Tensor(name=name, shape=shape, dtype=dtype, nbytes=span[1] - span[0], source=source.path.name))
        spans.append(span)
    _require_tiling(spans, source.size - begin, str(source.path))
    return {tensor.name: begin + span[0] for tensor, span in zip(tensors, spans, strict=True)}, tuple(tensors)


def _fields(entry: object, where: str) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    if not isinstance(entry, dict) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        raise CorruptCheckpoint(where, "its entry must hold dtype, shape and data_offsets", DAMAGED)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise CorruptCheckpoint(
            where, f"has the dtype {quoted(str(dtype))}, which regaudit does not know", "Save it as F32."
        )
    if not _is_counts(shape) or len(shape) > limits.RANK.value or math.prod(shape) > limits.ELEMENTS.value:
        raise CorruptCheckpoint(
            where,
            f"has the shape {quoted(str(shape))}; a shape is at most {limits.RANK.value} counts, their product at most {limits.ELEMENTS.value:,}",
            DAMAGED,
        )
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CorruptCheckpoint(
            where, f"has the data_offsets {quoted(str(offsets))}; two ascending counts were expected", DAMAGED
        )
    return dtype, tuple(shape), (offsets[0], offsets[1])


def _is_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)  # not bool, which is an int


def _require_tiling(spans: list[tuple[int, int]], size: int, where: str) -> None:
    # With overlaps or gaps two readers could see different models, or data could hide.
    end = max((stop for _, stop in spans), default=0)
    if end > size:
        raise CorruptCheckpoint(
            where,
            f"its tensors take {end:,} bytes, the file holds {size:,}",
            "The download or copy was cut short; fetch the file again.",
        )
    for (_, end), (start, _) in pairwise([(0, 0), *sorted(spans), (size, size)]):
        if start < end:
            raise CorruptCheckpoint(where, f"data bytes {start:,} to {end:,} belong to two tensors", DAMAGED)
        if start > end:
            raise CorruptCheckpoint(where, f"data bytes {end:,} to {start:,} belong to no tensor", DAMAGED)


def _aliases(stored: tuple[Tensor, ...], metadata: Mapping[str, str]) -> tuple[Tensor, ...]:
    """Return the names that the metadata map to a stored tensor ("format" maps to the framework's name)."""
    by_name = {tensor.name: tensor for tensor in stored}
    return tuple(
        replace(by_name[kept], name=alias, shares=kept)
        for alias, kept in metadata.items()
        if kept in by_name and alias not in by_name and alias != "format"
    )


def _claims(candidate: Candidate) -> bool:
    # a "{" behind the eight bytes of a length; behind eight bytes of text it is some JSON file
    length = candidate.head[:8]
    return candidate.head[8:9] == b"{" and not (length.isascii() and 0 not in length)


FORMAT = Format(name="safetensors", claims=_claims, open=lambda candidate: open_safetensors(candidate.path))
