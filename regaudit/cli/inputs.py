"""From the INPUT words to the paths to audit: files, directories, patterns, whole trees."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from regaudit.reports import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WILDCARDS = re.compile(r"[*?]|\[[^\]]+\]")


def is_several(inputs: Sequence[str], *, recursive: bool) -> bool:
    """Return whether the words ask for one report on several inputs, however many there turn out to be."""
    return recursive or len(inputs) > 1 or any(map(_is_pattern, inputs))


def expanded(inputs: Sequence[str], *, recursive: bool) -> tuple[str | Problem, ...]:
    """Return the paths that the words stand for, each once, in order.

    Args:
        inputs: Paths, and patterns that no shell has expanded (`'runs/*.pt'`; `**` is no more than `*`).
        recursive: Also search directories for models.

    Returns:
        At least one path or problem for each word, unless an earlier one stands for the same.
    """
    found: dict[str, str | Problem] = {}
    for word in inputs:
        for path in _paths(word):
            for each in _models(path) if recursive and isinstance(path, str) else (path,):
                key = _identity(each) if isinstance(each, str) else each.path
                found.setdefault(key, each)
    return tuple(found.values())


def _identity(path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:  # the current folder was deleted
        return path


def _paths(word: str) -> Iterator[str | Problem]:
    if not _is_pattern(word):
        yield word
        return
    from glob import glob

    matches = sorted(glob(word))  # noqa: PTH207, pathlib's would take hidden files, too
    yield from matches
    if not matches:
        yield Problem(path=word, problem="no file matches this pattern", fix="Check the spelling of the path.")


def _models(path: str) -> Iterator[str | Problem]:
    from pathlib import Path

    from regaudit.checkpoints.inventory import models_under

    if not os.path.isdir(path):  # noqa: PTH112, a Path can't hold every word (a NUL byte)
        yield path
        return
    models = [str(each) for each in models_under(Path(path))]
    yield from models
    if not models:
        yield Problem(path=path, problem="holds no model that regaudit reads, nor do the folders in it")


def _is_pattern(word: str) -> bool:
    """Return whether a word is a pattern; a file of that name goes before."""
    return _WILDCARDS.search(word) is not None and not os.path.lexists(word)
