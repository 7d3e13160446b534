"""ONNX models (`.onnx`): a graph of operations with its constants, read from the wire format, never run.

The graph says what each tensor is for and which axis is out; names are often the exporter's. What the exporter did to
the network stays done: BatchNorm is folded into the kernel before it, dropout is gone.

Source: https://onnx.ai/onnx/repo-docs/IR.html, onnx/onnx.proto, ONNX 1.23.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.base import UNREADABLE_TENSOR, Candidate, Checkpoint, Format
from regaudit.checkpoints.onnx_flow import Flow, flow
from regaudit.checkpoints.onnx_layers import Layers, layers
from regaudit.checkpoints.onnx_messages import Model, read_model
from regaudit.checkpoints.onnx_tensors import TEXTS, Files, Stored
from regaudit.checkpoints.protobuf import Wire
from regaudit.checkpoints.source import Source
from regaudit.checkpoints.text import listed, quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Declared, Remark, Tensor, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from regaudit.checkpoints.onnx_grids import Grid
    from regaudit.checkpoints.onnx_weights import Part
    from regaudit.records import Array

_SUFFIX = ".onnx"
_SMALL_FILE = 1 << 16  # bytes; in so small a file the expansion is not judged
_NEWEST = 32  # ir_version is 14 in 2026
# First bytes of the fields of a model, and of a graph: number and kind on the wire. Numbers above 15 take two bytes.
_MODEL_TAGS = b"\x08\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2\xca\xd2"
_GRAPH_TAGS = b"\x0a\x12\x2a\x52\x5a\x62\x6a\x72\x7a"
_GRAPH = 0x3A
_VERSION = 0x28  # model_version, the other field that is a number


def open_onnx(path: Path) -> Checkpoint:
    """Open an ONNX model.

    Args:
        path: The file; tensors may lie in other files of its folder.

    Returns:
        The model's constants, with the layers that the graph makes of them. Where one array holds the kernels of
        several layers (both directions of an LSTM) it comes as several tensors, `name[forward]` and `name[reverse]`.

    Raises:
        CheckpointError: The file is corrupt or unsafe, a file beside it is missing, or it holds no weights.
    """
    source = Source(path)
    try:
        return _checkpoint(source)
    except CheckpointError:
        source.close()
        raise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Row:
    """A tensor of the checkpoint, and where its first element lies in a stored one (None: it is not read).

    `grid`: what makes weights of the stored numbers; None where they are weights.
    """

    tensor: Tensor
    stored: Stored | None
    start: int = 0
    grid: Grid | None = None


def _checkpoint(source: Source) -> Checkpoint:
    files = Files(source)
    model = read_model(Wire(source))
    written = flow(model, files)
    found = layers(written)
    rows = _rows(written, found, source.path.name)
    if not any(row.stored is not None for row in rows.values()):
        raise _no_weights(source, model)
    _require_bounded(rows, files)
    apart = {name for name, row in rows.items() if id(row.stored) in found.helpers and not row.tensor.layer}
    return Checkpoint(
        path=str(source.path),
        format=_described(model, found),
        nbytes=files.nbytes,
        tensors=tuple(row.tensor for name, row in rows.items() if name not in apart),
        read=_reader(str(source.path), rows),
        apart=tuple(rows[name].tensor for name in rows if name in apart),
        modules=found.modules(),
        declared=tuple(_declared(found, source.path.name)),
        remarks=tuple(_remarks(written, found)),
        close=source.close,
    )


def _rows(written: Flow, found: Layers, file: str) -> dict[str, _Row]:
    """Return the tensors by name: every initializer, and the other constants that a layer uses."""
    owners = _owners(found)
    rows: dict[str, _Row] = {}
    first: dict[tuple[object, ...], str] = {}
    seen: set[int] = set()
    for value in written.constants:
        stored = value.tensor
        if stored is None or id(stored) in seen or not (value.is_initializer or id(stored) in owners):
            continue
        seen.add(id(stored))
        for row in _of(stored, owners.get(id(stored), []), first):
            _add(rows, row)
    for refused in written.refused:
        if refused.kind != TEXTS:
            tensor = Tensor(name=refused.name, shape=(), dtype=refused.kind, nbytes=0, source=file)
            _add(rows, _Row(tensor=tensor, stored=None))
    return rows


def _owners(found: Layers) -> dict[int, list[tuple[str, Part]]]:
    """Return the layers that use each tensor (by id), and how."""
    owners: dict[int, list[tuple[str, Part]]] = {}
    for unit in found.units:
        for part in unit.parts:
            owners.setdefault(id(part.tensor), []).append((unit.name, part))
    return owners


def _require_bounded(rows: Mapping[str, _Row], files: Files) -> None:
    # Many tensors may name the same bytes of a file beside the model.
    elements = sum(row.tensor.size for row in rows.values())
    if elements > limits.EXPANSION.value * max(files.nbytes, _SMALL_FILE):
        problem = f"claims {elements:,} elements in {files.nbytes:,} bytes"
        raise UnsafeCheckpoint(str(files.source.path), *limits.EXPANSION.exceeded(problem))


def _of(stored: Stored, owners: list[tuple[str, Part]], first: dict[tuple[object, ...], str]) -> Iterator[_Row]:
    """Yield the tensors that one stored array is: itself, or the parts that belong to different layers."""
    whole = Tensor(
        name=stored.name, shape=stored.shape, dtype=stored.dtype, nbytes=stored.raw.size, source=stored.source
    )
    named = [(layer, part) for layer, part in owners if part.label]
    for layer, part in named:
        name, nbytes = f"{stored.name}[{part.label}]", whole.nbytes * math.prod(part.shape) // stored.size
        tensor = replace(whole, name=name, shape=part.shape, nbytes=nbytes, layer=layer, use=part.use, axes=part.axes)
        yield _Row(tensor=tensor, stored=stored, start=part.start)
    if named:
        return
    grid = _grid(owners)
    place = (stored.place, grid and grid.key)
    shares = first.setdefault(place, stored.name) if stored.size else stored.name
    whole = replace(whole, dtype="F32") if grid else whole
    whole = replace(whole, shares="" if shares == stored.name else shares)
    for layer, part in owners:
        whole = replace(whole, layer=layer, use=part.use, axes=part.axes)
    yield _Row(tensor=whole, stored=stored, grid=grid)


def _grid(owners: list[tuple[str, Part]]) -> Grid | None:
    """Return the one grid on which all owners read a tensor."""
    grids = {part.grid.key if part.grid else None: part.grid for _, part in owners}
    return next(iter(grids.values())) if len(grids) == 1 else None


def _add(rows: dict[str, _Row], row: _Row) -> None:
    name = row.tensor.name
    while name in rows:
        name += "'"
    rows[name] = row if name == row.tensor.name else replace(row, tensor=replace(row.tensor, name=name))


def _reader(path: str, rows: Mapping[str, _Row]) -> Callable[[Tensor, int, int], Array]:
    def read(tensor: Tensor, start: int, stop: int) -> Array:
        row = rows[tensor.name]
        if row.stored is None:
            raise CorruptCheckpoint(path, f"tensor {quoted(tensor.name)} is no plain array of numbers")
        found = row.stored.read(row.start + start, row.start + stop)
        return found if row.grid is None else row.grid.weights(found, tensor.shape, start)

    return read


def _described(model: Model, found: Layers) -> str:
    opset = f", opset {model.opsets['']}" if "" in model.opsets else ""
    lost = "" if found.dropouts else ", dropout is gone"
    return f"ONNX{opset}; an export: normalizations may be folded{lost}"


def _declared(found: Layers, file: str) -> Iterator[Declared]:
    for target, node, rate in found.dropouts:
        yield Declared(target=target, site="activity", kind="dropout", value=rate, where=f"{file}: node {node}")


def _remarks(written: Flow, found: Layers) -> Iterator[Remark]:
    for refused in written.refused:
        if refused.kind != TEXTS:
            text = f"The tensor {quoted(refused.name)} was not read: {refused.reason}."
            yield Remark(kind=UNREADABLE_TENSOR, where=refused.name, text=text)
    owners = _owners(found)
    for unit in found.units:
        for part in unit.parts:
            if part.is_packed and part.use is Use.KERNEL and _grid(owners[id(part.tensor)]) is None:
                name, dtype = part.tensor.name, part.tensor.dtype
                text = f"The tensor {quoted(name)} holds quantised numbers ({dtype}): their values are not its weights."
                yield Remark(kind=UNREADABLE_TENSOR, where=name, text=text)


def _no_weights(source: Source, model: Model) -> CheckpointError:
    operators = sorted({node.op for node in model.graph.nodes})
    held = f"its operators are {listed(operators)}" if operators else "it has no operators"
    return CheckpointError(
        str(source.path), f"holds no arrays of numbers; {held}", "Give the model that it was exported from."
    )


def _claims(candidate: Candidate) -> bool:
    """Return whether a file begins as a model: its version, then fields of a model up to a graph with fields of one."""
    head = candidate.head
    if len(head) < 2 or head[0] != _MODEL_TAGS[0] or not 0 < head[1] < _NEWEST:
        return False
    position = 2
    while position < len(head):
        tag = head[position]
        if tag not in _MODEL_TAGS:
            return False
        length, begin = _varint(head, position + 1 + (tag > 0x7F))
        if tag == _GRAPH and begin < len(head):
            return head[begin] in _GRAPH_TAGS
        position = begin if tag == _VERSION else begin + length
    # Cut short, or a long text before the graph: then its name has to speak for it.
    return candidate.path.suffix.lower() == _SUFFIX


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(raw) and shift < 70:
        byte = raw[position]
        value, shift, position = value | (byte & 0x7F) << shift, shift + 7, position + 1
        if byte < 0x80:
            break
    return value, position


FORMAT = Format(name="ONNX", claims=_claims, open=lambda candidate: open_onnx(candidate.path))
