"""Which configuration file holds: the nearest from the working directory up to the root of the repository.

Never one inside of a model's folder: a model that was fetched could bring the waivers of its own defects. The folder of
an input counts as the model's, also where it is the working directory; such a file is named, and needs --config.
"""

from __future__ import annotations

import os
import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from regaudit.errors import ConfigError
from regaudit.settings.reading import PYPROJECT, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regaudit.settings.reading import Source

NAMES = (".regaudit.toml", "regaudit.toml", PYPROJECT)  # the first of them in a folder holds
OURS = "regaudit"
ALIKE = 0.8  # of difflib: a letter or two of eight; a name that only begins like ours is somebody else's
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """What was found: the file that holds, if there is one, and what looks like one and does not hold.

    Args:
        source: What holds.
        passed_over: Files in a model's folder.
        shadowed: Files beside the one that holds.
        misspelt: A pyproject.toml, and the name of a table in it that is nearly ours.
    """

    source: Source | None = None
    passed_over: tuple[Path, ...] = ()
    shadowed: tuple[Path, ...] = ()
    misspelt: tuple[tuple[Path, str], ...] = ()


def nearest(start: Path, inputs: Iterable[str]) -> Nearest:
    """Return the configuration that holds in a working directory.

    Args:
        start: The working directory.
        inputs: The models of the run, as the user named them; patterns too.

    Raises:
        ConfigError: A file on the way cannot be read.
    """
    folders = [folder for each in inputs for folder in _folders(each)]
    passed_over: list[Path] = []
    misspelt: list[tuple[Path, str]] = []
    for home in _upwards(start.absolute()):
        if any(home.resolve().is_relative_to(folder) for folder in folders):
            passed_over += list(_ours(home))[:1]
            continue
        source = next((each for each in map(opened, _files(home)) if each), None)
        misspelt += _misspelt(home)
        if source:
            return Nearest(
                source=source,
                passed_over=tuple(passed_over),
                shadowed=tuple(each for each in _ours(home) if each != source.path),
                misspelt=tuple(misspelt),
            )
    return Nearest(passed_over=tuple(passed_over), misspelt=tuple(misspelt))


def _upwards(start: Path) -> Iterator[Path]:
    for folder in (start, *start.parents):
        yield folder
        if (folder / ".git").exists():
            return


def _files(folder: Path) -> Iterator[Path]:
    return (folder / name for name in NAMES if (folder / name).is_file())


def _ours(folder: Path) -> Iterator[Path]:
    """Yield every configuration in a folder; one that does not hold may be broken, and breaks nothing."""
    for path in _files(folder):
        with suppress(ConfigError):
            if opened(path) is None:
                continue
        yield path


def _misspelt(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the pyproject.toml of a folder if a table in it was meant for us, to judge by its name."""
    path = folder / PYPROJECT
    if path.is_file():
        with suppress(OSError, ValueError, RecursionError):
            yield from ((path, name) for name in _nearly_ours(tomllib.loads(path.read_text(encoding="utf-8"))))


def _nearly_ours(table: dict[str, object]) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            children = value if get_close_matches(key, ["tool"]) else ()
            named = [(key, key), *((child, f"{key}.{child}") for child in children if isinstance(value[child], dict))]
            yield from (
                name for word, name in named if name != f"tool.{OURS}" and get_close_matches(word, [OURS], cutoff=ALIKE)
            )


def _folders(word: str) -> Iterator[Path]:
    """Yield the folder of an input: itself, that of the file, or that where a pattern's first wildcard is.

    A word that is no path, such as the name of a target, has none.
    """
    path = Path(word)
    if os.path.isdir(word):  # noqa: PTH112, a Path can't hold every word (a NUL byte, more than a system's longest name)
        yield path.resolve()
        return
    wildcard = next((i for i, part in enumerate(path.parts) if _WILDCARD.search(part)), None)
    if os.path.exists(word):  # noqa: PTH110, as above
        yield path.parent.resolve()
    elif wildcard is not None:
        with suppress(OSError, ValueError):
            yield Path(*path.parts[:wildcard]).resolve()
