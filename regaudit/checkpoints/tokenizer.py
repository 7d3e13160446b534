"""Tokens that training never saw, as a tokenizer beside the model tells: reserved names, and rows beyond its vocabulary.

Source: https://huggingface.co/docs/tokenizers (tokenizer.json), google-research/bert (vocab.txt, `[unused0]` and on),
Gemma (`<unused0>`), Llama 3 (`<|reserved_special_token_0|>`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.source import inside, is_file, read_whole
from regaudit.checkpoints.text import parse_object
from regaudit.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

_RESERVED = re.compile(
    r"\[unused_?\d{1,6}\]|<unused_?\d{1,6}>|<\|reserved_special_token_\d{1,6}\|>|<reserved_?\d{1,6}>"
)
MOST_TOKENS = 1 << 24  # 64 times the largest vocabularies


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The ids of a tokenizer.

    Args:
        size: One more than the largest id; rows of an embedding from here on are padding.
        reserved: Ids of tokens that are only reserved, ascending.
    """

    size: int
    reserved: tuple[int, ...] = ()


def vocabulary_beside(folder: Path) -> Vocabulary | None:
    """Return what a tokenizer in this folder says; None where there is none, or none that can be read.

    Args:
        folder: Where `tokenizer.json` or `vocab.txt` may lie. The weights can be audited without them, so that a broken
            one is passed over.
    """
    for name, read in (("tokenizer.json", _in_json), ("vocab.txt", _in_lines)):
        try:
            path = inside(folder, name)
            ids = read(read_whole(path, limit=limits.CONFIG_BYTES), str(path)) if is_file(path) else {}
        except CheckpointError:
            continue
        if ids:
            reserved = sorted(i for token, i in ids.items() if _RESERVED.fullmatch(token))
            return Vocabulary(size=max(ids.values()) + 1, reserved=tuple(reserved))
    return None


def _in_json(raw: bytes, where: str) -> dict[str, int]:
    content = parse_object(raw, where)
    model = content.get("model")
    words = model.get("vocab") if isinstance(model, Mapping) else None
    ids: dict[str, int] = {}
    if isinstance(words, Mapping):
        ids = {token: i for token, i in words.items() if _is_id(i)}
    elif isinstance(words, list):  # Unigram: pairs of token and score, in the order of their ids
        ids = {pair[0]: i for i, pair in enumerate(words) if isinstance(pair, list) and pair and _is_text(pair[0])}
    added = content.get("added_tokens")
    for each in added if isinstance(added, list) else []:
        if isinstance(each, Mapping) and _is_text(each.get("content")) and _is_id(each.get("id")):
            ids[each["content"]] = each["id"]
    return ids


def _in_lines(raw: bytes, where: str) -> dict[str, int]:
    lines = raw.decode("utf-8", "replace").splitlines()
    return {token: i for i, token in enumerate(lines)}


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS


def _is_text(value: object) -> bool:
    return isinstance(value, str)
