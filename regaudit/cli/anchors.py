"""The text file that stands for a model in a code review: the configuration that names it, or a file beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from regaudit.reports.anchor import Anchor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.settings import Settings

# What brings a model in or describes it, most telling first.
_BESIDE = ("{name}.index.json", "model.safetensors.index.json", "config.json", "README.md")


def anchors_of_targets(settings: Settings) -> Mapping[str, Anchor | None]:
    """Return where the configuration names the models of the project, by their whole paths; None where no review shows it."""
    found: dict[str, Anchor | None] = {}
    for each in settings.under("targets"):
        file, _, line = each.origin.rpartition(":")
        place = _inside(file)
        found[os.path.realpath(each.value.path)] = Anchor(path=place, line=int(line)) if place else None
    return found


def anchor_of(path: str, declared: Mapping[str, Anchor | None]) -> Anchor | None:
    """Return the line that names a model, or else that of a file beside it; None where there is neither."""
    return declared.get(os.path.realpath(path)) or anchor_beside(path)


def anchor_beside(path: str) -> Anchor | None:
    """Return the index, configuration or card beside a model, relative to the working directory.

    Args:
        path: The input, as the user gave it.

    Returns:
        Its first line; None where there is none, or it lies outside the working directory, where no review shows it.
    """
    model = Path(path)
    folder = model if model.is_dir() else model.parent
    for pattern in _BESIDE:
        beside = folder / pattern.format(name=model.name)
        if beside.is_file():
            place = _inside(beside)
            return Anchor(path=place) if place else None
    return None


def _inside(file: str | Path) -> str:
    """Return a path as seen from the working directory; "" outside of it, where no review shows it."""
    place = Path(os.path.relpath(file))
    return "" if place.parts[:1] == ("..",) else place.as_posix()
