"""What a penalty's number means: one canonical unit; the lines that apply it; and the penalties themselves for PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regaudit.penalties.penalty import Penalty
    from regaudit.penalties.training import Penalties

__all__ = ["Penalties", "Penalty"]

# Loaded on first use: the commands need the units alone.
_HOMES = {"Penalties": "training", "Penalty": "penalty"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'regaudit.penalties' has no attribute {name!r}")
    return getattr(import_module(f"regaudit.penalties.{_HOMES[name]}"), name)
