"""Which configuration file holds: the nearest from the working directory up to the root of the repository.

Never one inside of a model's folder: a model that was fetched could bring the waivers of its own defects. The folder of
an input counts as the model's, also where it is the working directory; such a file is named, and needs --config.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    for source in _candidates(start.absolute()):
        home = source.path.parent.resolve()
        if not any(home == folder or folder in home.parents for folder in folders):
            return Nearest(source=source, passed_over=tuple(passed_over))
        passed_over.append(source.path)
    return Nearest(passed_over=tuple(passed_over))


def _candidates(start: Path) -> Iterator[Source]:
    for folder in (start, *start.parents):
        found = (opened(folder / name) for name in NAMES if (folder / name).is_file())
        source = next((each for each in found if each is not None), None)
        if source is not None:
            yield source
        if (folder / ".git").exists():
            return


def _folders(word: str) -> Iterator[Path]:
    """Yield the folder of an input: itself, that of the file, or that where a pattern's first wildcard is."""
    if "\0" in word:
        return
    path = Path(word)
    if path.is_dir():
        yield path.resolve()
        return
    wildcard = next((i for i, part in enumerate(path.parts) if _WILDCARD.search(part)), None)
    is_pattern = wildcard is not None and not path.exists()
    yield (Path(*path.parts[:wildcard]) if is_pattern else path.parent).resolve()
