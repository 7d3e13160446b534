"""Formats of plugins: what they open is a `Checkpoint`, and what they raise later is theirs too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.checkpoints.base import Candidate, Checkpoint, Format

if TYPE_CHECKING:
    from regaudit.plugins import Plugin


def admit(plugin: Plugin, each: Format) -> Format:
    """Return a plugin's format with its functions guarded."""

    def opened(candidate: Candidate) -> Checkpoint:
        found = each.open(candidate)
        if not isinstance(found, Checkpoint):
            raise plugin.error(f"opened {candidate.path.name} as {type(found).__name__}; a Checkpoint was expected")
        return replace(found, read=plugin.guarded(found.read), close=plugin.guarded(found.close))

    return replace(each, claims=plugin.guarded(each.claims), open=plugin.guarded(opened))
