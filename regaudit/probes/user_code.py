"""Code of the user's: how it is found, and what becomes of what it raises and prints."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from contextlib import ExitStack, redirect_stdout
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from regaudit.errors import ConfigError, RegauditError

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

_LINES = 3  # innermost frames that a message shows
_NOT_THEIRS = {"site-packages", "regaudit"}  # folders whose frames tell the user nothing, if there are others


class UserCode:
    """A context for code that is not ours: what it raises becomes a `ConfigError`, what it prints goes to stderr.

    An interrupt and an exhausted memory pass through, since they are not the code's fault.

    Args:
        what: What runs, as the error names it ("model.py:build").
        fix: What to do about an error; a whole sentence.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        self.what = what
        self.fix = fix
        self._output = redirect_stdout(sys.stderr)

    def __enter__(self) -> Self:
        """Return the context itself, what is printed sent to stderr."""
        self._output.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore stdout, and say what went wrong where something did.

        Raises:
            ConfigError: The code raised, or asked the program to end.
        """
        self._output.__exit__(kind, error, trace)
        is_theirs = isinstance(error, Exception | SystemExit) and not isinstance(error, RegauditError | MemoryError)
        if error is not None and is_theirs and not is_out_of_memory(error):
            fix = f". {self.fix}" if self.fix else ""
            raise ConfigError(f"{self.what} raised {_said(error)}{_frames(error)}{fix}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a device or the machine had no memory left."""
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory")  # cuda and mps; the CPU's allocator
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def find(spec: str, option: str = "--model") -> Any:  # noqa: ANN401
    """Return what `FILE.py:name` or `pkg.module:name` names; the module is imported, and so its code runs.

    Args:
        spec: A path or a dotted module, a colon, and a name in it (dotted where it lies deeper).
        option: The option that it was given to, for messages.

    Raises:
        ConfigError: The module or the name does not exist, or importing it raised.
    """
    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name:
        raise ConfigError(f"{option} {spec!r}: expected FILE.py:name or pkg.module:name, found no colon and name")
    if where.endswith(".py") and not Path(where).is_file():
        raise ConfigError(f"{option}: there is no file {where}")
    with UserCode(f"importing {where}"):
        module = _module(where)
    try:
        return reduce(getattr, name.split("."), module)
    except AttributeError as error:
        public = ", ".join(n for n, v in vars(module).items() if callable(v) and not n.startswith("_")) or "none"
        raise ConfigError(f"{option}: {where} has no {name!r}; callables that it has: {public}") from error


def beside(where: str) -> ExitStack:
    """Return a context in which what lies beside a user's file (or in the working directory) can be imported."""
    stack = ExitStack()
    folder = str(Path(where).resolve().parent if where.endswith(".py") else Path.cwd())
    sys.path.insert(0, folder)
    stack.callback(sys.path.remove, folder)
    return stack


def _module(where: str) -> ModuleType:
    path = Path(where)
    if path.suffix != ".py":
        with beside(where):
            return importlib.import_module(where)
    name = f"regaudit_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module while it runs
    with beside(where):
        spec.loader.exec_module(module)
    return module


def _said(error: BaseException) -> str:
    return " ".join("".join(traceback.format_exception_only(error)).split())


def _frames(error: BaseException) -> str:
    """Return the innermost places of a traceback outside of this file, as (file:line in function)."""
    raised = traceback.extract_tb(error.__traceback__)
    frames = [f for f in raised if f.filename != __file__ and "<frozen" not in f.filename]
    frames = [f for f in frames if not set(Path(f.filename).parts) & _NOT_THEIRS] or frames
    places = " ← ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames[-_LINES:]))
    return f" ({places})" if places else ""
