"""On which line of a TOML text a key stands; the standard parser forgets it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Path: TypeAlias = tuple[str | int, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_ASSIGNMENT = re.compile(rf"\s*({_KEYS})\s*=")
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEYS})\s*\]")
_FENCE = re.compile(r"\"\"\"|'''")


def line_of(text: str, path: Path) -> int:
    """Return the line, from 1, of the key at this path, or of the closest table above it.

    Args:
        text: A valid TOML text.
        path: Keys and, in arrays of tables, indexes from 0.
    """
    deepest, line = 0, 1
    for number, found in _keys(text):
        if len(found) > deepest and found == path[: len(found)]:
            deepest, line = len(found), number
    return line


def _keys(text: str) -> Iterator[tuple[int, Path]]:
    """Yield the line and the whole path of every table and every assignment outside of inline values."""
    table: Path = ()
    counts: Counter[Path] = Counter()
    for number, line in _outside_of_strings(text):
        header, assignment = _HEADER.match(line), _ASSIGNMENT.match(line)
        if header:
            table = _split(header[2])
            if header[1] == "[[":
                counts[table] += 1
                table = (*table, counts[table] - 1)
            yield number, table
        elif assignment:
            yield number, (*table, *_split(assignment[1]))


def _outside_of_strings(text: str) -> Iterator[tuple[int, str]]:
    """Yield numbered lines that do not begin inside of a string of several lines."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not fence:
            yield number, line
        for mark in _FENCE.findall(line):
            fence = "" if fence == mark else fence or mark


def _split(keys: str) -> Path:
    return tuple(each[1:-1] if each[0] in "\"'" else each for each in re.findall(_KEY, keys))
