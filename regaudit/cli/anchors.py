"""The text file that stands for a model in a code review, where there is one beside it."""

from __future__ import annotations

import os
from pathlib import Path

from regaudit.reports.anchor import Anchor

# What brings a model in or describes it, most telling first.
_BESIDE = ("{name}.index.json", "model.safetensors.index.json", "config.json", "README.md")


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
            place = os.path.relpath(beside)
            return None if place.startswith("..") else Anchor(path=Path(place).as_posix())
    return None
