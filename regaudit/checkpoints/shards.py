"""Models in several files: an index (`*.safetensors.index.json`, `pytorch_model.bin.index.json`) and its shards."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits, safetensors
from regaudit.checkpoints.base import DANGLING_INDEX, UNLISTED_TENSOR, Checkpoint
from regaudit.checkpoints.sniff import explain_unreadable, look
from regaudit.checkpoints.source import inside, is_file, read_whole
from regaudit.checkpoints.text import listed, parse_object, quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint
from regaudit.records import Remark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from regaudit.checkpoints.base import Candidate, Format
    from regaudit.records import Array, Tensor


def open_weights(path: Path) -> Checkpoint:
    """Return one opened file of a Hugging Face model: safetensors or PyTorch, by content."""
    candidate = look(path)
    if safetensors.FORMAT.claims(candidate):
        return safetensors.open_safetensors(path)
    known = torch_format(candidate)
    if known:
        return known.open(candidate)
    error = explain_unreadable(candidate)
    raise error


def torch_format(candidate: Candidate) -> Format | None:
    """Return which of PyTorch's file formats a candidate has, if any; early models have the one from before 1.6."""
    from regaudit.checkpoints import torch_export, torch_legacy, torch_script, torch_zip

    known = (torch_script.FORMAT, torch_export.FORMAT, torch_zip.FORMAT, torch_legacy.FORMAT)
    return next((each for each in known if each.claims(candidate)), None)


def open_index(path: Path) -> Checkpoint:
    """Open an index and every shard that it names.

    Args:
        path: The index: JSON with a `weight_map` from tensors to the files beside it that hold them.

    Returns:
        The whole model, tensors in the order of the shards' names. What the index and the shards disagree on is
        in `remarks`.

    Raises:
        CheckpointError: The index has no usable `weight_map`; a shard is missing, leads out of the folder, or cannot
            be read; a tensor lies in two shards.
    """
    weight_map = _weight_map(path)
    shards = {name: inside(path.parent, name) for name in sorted(set(weight_map.values()))}
    missing = [name for name, shard in shards.items() if not is_file(shard)]
    if missing:
        raise CheckpointError(
            str(path),
            f"of the {len(shards):,} files that it names, {len(missing):,} cannot be found: {listed(missing)}",
            "Put them beside the index; a download that broke off leaves some out.",
        )
    with ExitStack() as stack:
        opened = {name: stack.enter_context(open_weights(shard)) for name, shard in shards.items()}
        _require_unique(tuple(opened.values()), path)
        return _joined(path, opened, _disagreements(weight_map, opened), stack.pop_all().close)


def _weight_map(path: Path) -> dict[str, str]:
    index = parse_object(read_whole(path, limit=limits.JSON_BYTES), str(path), unique=True)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CorruptCheckpoint(str(path), "an index must map tensors to files under the key weight_map")
    if not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CorruptCheckpoint(str(path), "its weight_map must name a file for each tensor")
    return weight_map


def _joined(
    path: Path, shards: Mapping[str, Checkpoint], remarks: Iterable[Remark], close: Callable[[], None]
) -> Checkpoint:
    opened = tuple(shards.values())
    holder = {tensor.name: shard for shard in opened for tensor in (*shard.apart, *shard.tensors)}

    def read(tensor: Tensor, start: int, stop: int) -> Array:
        return holder[tensor.name].read(tensor, start, stop)

    return Checkpoint(
        path=str(path),
        format=f"{opened[0].format}, {len(opened):,} shards",
        nbytes=sum(shard.nbytes for shard in opened),
        tensors=tuple(chain.from_iterable(shard.tensors for shard in opened)),
        read=read,
        apart=tuple(chain.from_iterable(shard.apart for shard in opened)),
        modules=tuple(chain.from_iterable(shard.modules for shard in opened)),
        declared=tuple(chain.from_iterable(shard.declared for shard in opened)),
        remarks=(*chain.from_iterable(shard.remarks for shard in opened), *remarks),
        close=close,
    )


def _require_unique(shards: Sequence[Checkpoint], path: Path) -> None:
    counts = Counter(tensor.name for shard in shards for tensor in shard.tensors)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise CorruptCheckpoint(
            str(path),
            f"tensors ({len(twice):,}) lie in more than one shard: {listed(twice)}",
            "Shards of two saves are mixed in this folder; fetch or save the model again.",
        )


def _disagreements(weight_map: Mapping[str, str], shards: Mapping[str, Checkpoint]) -> list[Remark]:
    remarks: list[Remark] = []
    for name, shard in shards.items():
        held = {tensor.name for tensor in shard.tensors}
        named = {tensor for tensor, file in weight_map.items() if file == name}
        if dangling := sorted(named - held):
            text = f"{quoted(name)} lacks {len(dangling):,} of the tensors for which the index names it: {listed(dangling)}."
            remarks.append(Remark(kind=DANGLING_INDEX, where=name, text=text))
        if unlisted := sorted(held - weight_map.keys()):
            text = f"{quoted(name)} holds tensors ({len(unlisted):,}) that the index does not name: {listed(unlisted)}."
            remarks.append(Remark(kind=UNLISTED_TENSOR, where=name, text=text))
    return remarks
