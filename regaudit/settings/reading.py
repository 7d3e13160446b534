"""A configuration file as flat settings, each with the line that it comes from."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from regaudit.config import Waiver
from regaudit.errors import ConfigError
from regaudit.settings.keys import KEYS, TABLES
from regaudit.settings.lines import line_of
from regaudit.settings.tables import (
    Entries,
    Target,
    limit_table,
    rule_table,
    target_tables,
    tensor_table,
    waiver_tables,
)
from regaudit.settings.words import Wrong, known

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path as File

    from regaudit.settings.lines import Path

PYPROJECT = "pyproject.toml"
_READERS = {
    "rules": rule_table,
    "per-tensor": tensor_table,
    "limits": limit_table,
    "targets": target_tables,
    "waivers": waiver_tables,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value, and who set it: a line of a file, a variable, an option, or "default"."""

    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A configuration file: its text, and the table in it that is ours."""

    path: File
    text: str
    table: dict[str, Any]
    prefix: tuple[str, ...] = ()

    def at(self, path: Path) -> str:
        """Return file, as seen from the working directory, and line of what stands at a path of the table."""
        return f"{os.path.relpath(self.path)}:{line_of(self.text, (*self.prefix, *path))}"


def opened(path: File) -> Source | None:
    """Return a configuration file, or None for a pyproject.toml that has no table for regaudit.

    Raises:
        ConfigError: It cannot be read, or is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: the configuration cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number or a nesting beyond what Python reads
        raise ConfigError(f"{path}: the configuration is no TOML: {error}. --no-config does without it") from error
    if path.name != PYPROJECT:
        return Source(path=path, text=text, table=table)
    tool = table.get("tool")
    ours = tool.get("regaudit") if isinstance(tool, dict) else None
    return Source(path=path, text=text, table=ours, prefix=("tool", "regaudit")) if isinstance(ours, dict) else None


def settings_in(source: Source) -> tuple[tuple[Setting, ...], tuple[str, ...]]:
    """Return what a file sets, and what is wrong with it: one sentence, with its line, for each key at most."""
    found: list[Setting] = []
    problems: list[str] = []
    for key, value in source.table.items():
        try:
            for name, each, path in _entries(key, value):
                origin = source.at((key, *path))
                found.append(Setting(name=name, value=_placed(each, name, source, origin), origin=origin))
        except Wrong as error:
            path = (key, *error.path)
            problems.append(f"{source.at(path)}: {_dotted(path)}: {error}")
    return tuple(found), tuple(problems)


def _entries(key: str, value: object) -> Entries:
    known(key, (*(each.name for each in KEYS), *TABLES))
    if key in _READERS:
        return _READERS[key](value)
    reader = next(each.read for each in KEYS if each.name == key)
    return [(key, reader(value), ())]


def _placed(value: Any, name: str, source: Source, origin: str) -> Any:  # noqa: ANN401, the type it has
    """Return a value with paths as seen from the working directory, and a waiver with its line."""
    if isinstance(value, Target):
        return replace(value, path=_from_here(source, value.path))
    if name == "baseline":
        return _from_here(source, value)
    if isinstance(value, Waiver):
        return replace(value, where=origin, base=os.path.relpath(os.curdir, source.path.parent))
    return value


def _from_here(source: Source, path: str) -> str:
    """Return a path of the file as seen from the working directory, as every report names it."""
    whole = source.path.parent / path
    return path if str(whole) == path else os.path.relpath(whole)


def _dotted(path: Path) -> str:
    return "".join(_pieces(path)).removeprefix(".")


def _pieces(path: Path) -> Iterator[str]:
    for each in path:
        yield f"[{each + 1}]" if isinstance(each, int) else f".{each}"
