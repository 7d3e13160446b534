"""Layers of several runs under common names: as they are, or without a wrapper's prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEPARATORS = "./"
MOST_PARTS = 3  # of a prefix: module.model.encoder.


def common_prefixes(names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return what to take off the names of each run so that most of them match those of the last one.

    Args:
        names: The layers of each run.

    Returns:
        A prefix for each run, with its separator; all "" where the names match as they are.
    """
    last = set(names[-1])
    pairs = [_best(each, last) for each in names[:-1]]
    ends = {end for _, end in pairs}
    if len(ends) != 1:  # runs that disagree on the name of the last one are compared as they are
        return ("",) * len(names)
    return (*(start for start, _ in pairs), ends.pop())


def _best(names: Sequence[str], last: set[str]) -> tuple[str, str]:
    """Return the prefixes of a run and of the last run under which most names match; none unless they help."""
    best, most = ("", ""), len(last & set(names))
    for start in _prefixes(names):
        for end in _prefixes(list(last)):
            count = len(_without(names, start) & _without(list(last), end)) if start or end else most
            if count > most:
                best, most = (start, end), count
    return best


def _prefixes(names: Sequence[str]) -> list[str]:
    """Return "" and the prefixes, of whole parts, that all names have."""
    found = [""]
    first = min(names, default="")
    for i, character in enumerate(first):
        prefix = first[: i + 1]
        if character in _SEPARATORS and all(name.startswith(prefix) and name != prefix for name in names):
            found.append(prefix)
        if len(found) > MOST_PARTS:
            break
    return found


def _without(names: Sequence[str], prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in names}
