"""GGUF: models of llama.cpp and its kin, most of them quantised; weights come out dequantised.

Nothing is declared in these files: dropout and weight decay are no part of what llama.cpp runs. Rows of `attn_q` and
`attn_k` may be permuted for rotary embeddings, which changes no norm and no singular value.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import dtypes, limits
from regaudit.checkpoints.base import UNREADABLE_TENSOR, Checkpoint, Format
from regaudit.checkpoints.ggml import BLOCKS, EXTRA, READABLE, read_blocks
from regaudit.checkpoints.gguf_header import MAGIC, Entry, Header, read_header
from regaudit.checkpoints.source import Source, inside, is_file
from regaudit.checkpoints.text import listed, quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, MissingExtra
from regaudit.records import Remark, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from regaudit.records import Array

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
# Keys of transformers' configuration, by GGUF's below `<architecture>.`.
_CONFIG = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "context_length": "max_position_embeddings",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_epsilon": "layer_norm_eps",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "rope.freq_base": "rope_theta",
}
# enum llama_ftype: the type that most weights have.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4",
}  # fmt: skip


def open_gguf(path: Path) -> Checkpoint:
    """Open a GGUF file, or all parts of a model that was split, given any one of them.

    Args:
        path: A regular file.

    Returns:
        The checkpoint; only headers have been read. Tensors of a type whose decoder is not installed are listed with
        that type; reading one raises `MissingExtra`.

    Raises:
        CheckpointError: A file cannot be opened or is corrupt, or a part is missing.
    """
    with ExitStack() as stack:
        sources = [_opened(path, stack)]
        headers = [read_header(sources[0])]
        names = _parts(path, headers[0])
        if names:
            sources = [_opened(inside(path.parent, name), stack) for name in names]
            headers = [read_header(source) for source in sources]
        places = _places(sources, headers)
        facts = headers[0].facts
        return Checkpoint(
            path=str(path),
            format=_words(headers[0], len(sources)),
            nbytes=sum(source.size for source in sources),
            tensors=tuple(_tensor(source, entry) for source, entry in places.values() if entry.dtype),
            read=partial(_read, places),
            remarks=tuple(_remarks(places)),
            config=_config(facts),
            close=stack.pop_all().close,
        )


def _opened(path: Path, stack: ExitStack) -> Source:
    source = Source(path)
    stack.callback(source.close)
    return source


def _parts(path: Path, header: Header) -> list[str]:
    # the names of all parts of a split model, in order; none for a whole one
    count = header.facts.get("split.count", 0)
    if type(count) is not int or count < 2:
        return []
    match = _PART.fullmatch(path.name)
    if count > limits.GGUF_PARTS.value or match is None or int(match["count"]) != count:
        raise CheckpointError(
            str(path),
            f"is one of {count:,} parts of a model, which its name does not say",
            f"Name the parts as llama.cpp does: model-00001-of-{min(count, limits.GGUF_PARTS.value):05}.gguf and so on.",
        )
    names = [f"{match['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    missing = [name for name in names if not is_file(inside(path.parent, name))]
    if missing:
        raise CheckpointError(
            str(path), f"{len(missing):,} of the model's {count:,} parts are missing: {listed(missing)}",
            "Put them beside it.",
        )  # fmt: skip
    return names


_Places = dict[str, tuple[Source, Entry]]


def _places(sources: Sequence[Source], headers: Sequence[Header]) -> _Places:
    found: _Places = {}
    for source, header in zip(sources, headers, strict=True):
        for entry in header.entries:
            if entry.name in found:
                first = found[entry.name][0].path.name
                raise CorruptCheckpoint(str(source.path), f"the tensor {quoted(entry.name)} is also in {first}")
            found[entry.name] = source, entry
    return found


def _tensor(source: Source, entry: Entry) -> Tensor:
    return Tensor(name=entry.name, shape=entry.shape, dtype=entry.dtype, nbytes=entry.nbytes, source=source.path.name)


def _read(places: _Places, tensor: Tensor, start: int, stop: int) -> Array:
    source, entry = places[tensor.name]
    if entry.dtype in READABLE:
        return read_blocks(source.read_at, entry.offset, entry.dtype, start, stop)
    if entry.dtype in BLOCKS:
        raise MissingExtra(f"{source.path}: tensor {quoted(entry.name)}, stored as {entry.dtype}", EXTRA, EXTRA)
    return dtypes.read_span(source.read_at, entry.offset, entry.dtype, start, stop)


def _remarks(places: _Places) -> Iterator[Remark]:
    for source, entry in places.values():
        if not entry.dtype:
            text = f"The tensor {quoted(entry.name)} has the type {entry.type_number:,}, which GGUF does not define."
            yield Remark(kind=UNREADABLE_TENSOR, where=f"{source.path.name}: {entry.name}", text=text)


def _words(header: Header, parts: int) -> str:
    facts = header.facts
    architecture, kind = facts.get("general.architecture"), _FILE_TYPES.get(_count(facts.get("general.file_type")))
    words = [f"GGUF {header.version}"]
    words += [f"{parts:,} parts"] if parts > 1 else []
    words += [architecture] if isinstance(architecture, str) and re.fullmatch(r"[\w.-]{1,40}", architecture) else []
    words += [f"mostly {kind}"] if kind else []
    return ", ".join(words)


def _count(value: object) -> int:
    return value if type(value) is int else -1


def _config(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's own numbers under the keys of transformers' configuration, which later stages read."""
    architecture = facts.get("general.architecture")
    if not isinstance(architecture, str):
        return {}
    found = {theirs: facts[key] for ours, theirs in _CONFIG.items() if (key := f"{architecture}.{ours}") in facts}
    return {"model_type": architecture, **found}


FORMAT = Format(
    name="GGUF",
    claims=lambda candidate: candidate.head.startswith(MAGIC),
    open=lambda candidate: open_gguf(candidate.path),
)
