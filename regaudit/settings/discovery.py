"""Which configuration file holds: the nearest from the working directory up to the root of the repository.

Never one inside of a model's folder: a model that was fetched could bring the waivers of its own defects. The folder of
an input counts as the model's, also where it is the working directory; such a file is named, and needs --config.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regaudit.errors import ConfigError
from regaudit.settings.reading import PYPROJECT, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regaudit.settings.reading import Source

NAMES = (".regaudit.toml", "regaudit.toml", PYPROJECT)  # the first of them in a folder holds
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """What was found: the file that holds, if there is one, and those in a model's folder that do not."""

    source: Source | None = None
    passed_over: tuple[Path, ...] = ()


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
    for home in _upwards(start.absolute()):
        if any(home.resolve().is_relative_to(folder) for folder in folders):
            passed_over += _of_a_model(home)
            continue
        source = next((each for each in map(opened, _files(home)) if each), None)
        if source:
            return Nearest(source=source, passed_over=tuple(passed_over))
    return Nearest(passed_over=tuple(passed_over))


def _upwards(start: Path) -> Iterator[Path]:
    for folder in (start, *start.parents):
        yield folder
        if (folder / ".git").exists():
            return


def _files(folder: Path) -> Iterator[Path]:
    return (folder / name for name in NAMES if (folder / name).is_file())


def _of_a_model(folder: Path) -> Iterator[Path]:
    """Yield the configuration in a model's folder; a broken one breaks nothing."""
    for path in _files(folder):
        with suppress(ConfigError):
            if opened(path) is None:
                continue
        yield path
        return


def _folders(word: str) -> Iterator[Path]:
    """Yield the folder of an input: itself, that of the file, or that where a pattern's first wildcard is.

    A word that is no path, such as the name of a target, has none.
    """
    if "\0" in word:
        return
    path = Path(word)
    if path.is_dir():
        yield path.resolve()
        return
    wildcard = next((i for i, part in enumerate(path.parts) if _WILDCARD.search(part)), None)
    if path.exists():
        yield path.parent.resolve()
    elif wildcard is not None:
        yield Path(*path.parts[:wildcard]).resolve()
