"""Rules, measures, formats and reports of other packages, found by their entry points.

A package names an object under `regaudit.rules`, `regaudit.measures`, `regaudit.formats` or `regaudit.reports`. Each stage
says what it takes (a `Kind`); what cannot be taken, or raises later, is a `PluginError` with the plugin's name: what a user
has installed plays its part, or the run is incomplete.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

from regaudit.errors import PluginError, RegauditError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint
    from types import TracebackType

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

PREFIX = "regaudit."
_METADATA = (".dist-info", ".egg-info")

_is_off: ContextVar[bool] = ContextVar("regaudit_no_plugins", default=False)


def switch_off() -> None:
    """Leave plugins alone from here on, in this context."""
    _is_off.set(True)


def are_off() -> bool:
    """Return whether plugins play no part."""
    return _is_off.get()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plugin:
    """An entry point of an installed package; nothing of it has been imported.

    Args:
        kind: rules, measures, formats or reports.
        name: Of the entry point, and of the object that it stands for.
        distribution: The package that has it.
        version: Of that package.
        entry: Imports the object.
    """

    kind: str
    name: str
    distribution: str
    version: str
    entry: EntryPoint

    def error(self, problem: str) -> PluginError:
        """Return an error that names this plugin."""
        where = f"plugin {self.name} ({self.kind}, {self.distribution} {self.version})"
        return PluginError(where, problem, f"Mend or uninstall {self.distribution}, or run with --no-plugins.")

    def guarded(self, function: Callable[P, R], *passing: type[BaseException]) -> Callable[P, R]:
        """Return a function that blames this plugin for what it raises, but for errors that are part of its contract."""

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with Blame(self, *passing):
                return function(*args, **kwargs)

        return call


class Blame:
    """A context in which a plugin's code runs: what it raises is a `PluginError` that names it."""

    def __init__(self, plugin: Plugin, *passing: type[BaseException]) -> None:
        self.plugin = plugin
        self.passing: tuple[type[BaseException], ...] = (RegauditError, MemoryError, *passing)

    def __enter__(self) -> None:
        """Begin to listen."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn an error into one that names the plugin; the original stays its cause.

        Raises:
            PluginError: The code raised.
        """
        if isinstance(error, Exception | SystemExit) and not isinstance(error, self.passing):
            raise self.plugin.error(f"raised {_said(error)}") from error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind(Generic[T]):
    """What a stage takes from plugins.

    Args:
        name: rules, measures, formats or reports.
        type: Class of the objects.
        names: What must be unique of an object; its own name first.
        taken: The same of the objects that the stage has itself.
        admit: Returns the object with its functions guarded; raises the plugin's error where it is unfit.
    """

    name: str
    type: type[T]
    names: Callable[[T], tuple[str, ...]]
    taken: Callable[[], Iterable[str]]
    admit: Callable[[Plugin, T], T]

    def results(self) -> tuple[tuple[Plugin, T | PluginError], ...]:
        """Return every plugin of this kind with its object, or with what is wrong with it."""
        found = installed(self.name)
        return _results(self, found) if found else ()

    def objects(self) -> tuple[T, ...]:
        """Return the objects of all plugins of this kind; an error of one of them is raised."""
        return tuple(each for _, each in self.pairs())

    def pairs(self) -> Iterator[tuple[Plugin, T]]:
        """Yield every plugin with its object.

        Raises:
            PluginError: One of them cannot be taken.
        """
        for plugin, each in self.results():
            if isinstance(each, PluginError):
                raise each
            yield plugin, each

    def taking(self, plugin: Plugin, used: set[str]) -> T:
        """Return a plugin's object, ready for use; its names are added to those in use.

        Raises:
            PluginError: It cannot be imported, is of another type, or has a name that is taken.
        """
        with Blame(plugin), redirect_stdout(sys.stderr):
            found = plugin.entry.load()
        if not isinstance(found, self.type):
            raise plugin.error(f"{plugin.entry.value} is {type(found).__name__}; {self.type.__name__} was expected")
        names = self.names(found)
        if names[0] != plugin.name:
            raise plugin.error(f"its object calls itself {names[0]!r}; entry point and object need the same name")
        for each in names:
            if each in used:
                raise plugin.error(f"{each!r} is taken, by regaudit itself or by another plugin")
        used.update(names)
        return self.admit(plugin, found)


def installed(kind: str) -> tuple[Plugin, ...]:
    """Return the plugins of a kind that are installed, by name; none where they are switched off."""
    return () if are_off() else tuple(each for each in _installed(tuple(sys.path)) if each.kind == kind)


@cache
def _results(kind: Kind[T], plugins: tuple[Plugin, ...]) -> tuple[tuple[Plugin, T | PluginError], ...]:
    used = set(kind.taken())
    found: list[tuple[Plugin, T | PluginError]] = []
    for each in plugins:
        try:
            found.append((each, kind.taking(each, used)))
        except PluginError as error:
            found.append((each, error))
    return tuple(found)


@cache
def _installed(path: tuple[str, ...]) -> tuple[Plugin, ...]:
    """Return every plugin on a path; the working directory, which may be a model's folder, has none.

    `importlib.metadata` costs 30 ms to import, more than all the rest of a small audit: it is asked only of folders where
    a distribution names one of our groups.
    """
    folders = [each for each in dict.fromkeys(path) if each and not _is_here(each) and _mentions(each)]
    if not folders:
        return ()
    from importlib import metadata

    packages = list(metadata.distributions(path=folders))
    packages = list(
        {each.metadata["Name"]: each for each in reversed(packages)}.values()
    )  # the first on the path counts
    found = [
        Plugin(
            kind=entry.group.removeprefix(PREFIX),
            name=entry.name,
            distribution=package.metadata["Name"] or "?",
            version=package.version or "?",
            entry=entry,
        )
        for package in packages
        for entry in package.entry_points
        if entry.group.startswith(PREFIX)
    ]
    return tuple(sorted(found, key=lambda each: (each.kind, each.name, each.distribution)))


def _is_here(folder: str) -> bool:
    with suppress(OSError):
        return os.path.samefile(folder, ".")  # noqa: PTH121, a path of sys.path
    return False


def _mentions(folder: str) -> bool:
    """Return whether a distribution in a folder has an entry point of ours."""
    mark = f"[{PREFIX}".encode()
    with suppress(OSError), os.scandir(folder) as entries:
        return any(each.name.endswith(_METADATA) and mark in _entry_points(each.path) for each in entries)
    return False


def _entry_points(folder: str) -> bytes:
    with suppress(OSError):
        return Path(folder, "entry_points.txt").read_bytes()
    return b""


def _said(error: BaseException) -> str:
    """Return an error and its innermost place, on one line."""
    import traceback

    text = " ".join("".join(traceback.format_exception_only(error)).split())
    places = [each for each in traceback.extract_tb(error.__traceback__) if "<frozen" not in each.filename]
    return f"{text} ({Path(places[-1].filename).name}:{places[-1].lineno} in {places[-1].name})" if places else text
