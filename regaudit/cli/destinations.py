"""Where reports go: one to stdout, any number to files, each whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from regaudit.cli.messages import choose
from regaudit.errors import CheckpointError, ConfigError
from regaudit.reports import View, every_reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from regaudit.reports import Report, Reporter

FILE_WIDTH = 100  # columns of a text report that no screen shows
COLORS = ["auto", "always", "never"]

# What a screen without Unicode shows instead.
_ASCII = str.maketrans({
    "×": "x", "–": "-", "—": "-", "·": "|", "…": "...", "−": "-", "λ": "lambda", "≥": ">=", "≤": "<=",
    **dict(zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True)), "σ": "sigma", "‖": "|", "Σ": "sum ", "²": "^2", "√": "sqrt", "≈": "~", "→": "->", "←": "<-", "’": "'",
})  # fmt: skip


class Named(Protocol):
    """A format: its name, and the suffixes of files that mean it."""

    @property
    def name(self) -> str:
        """The word for `--format`."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """With their dots."""


F = TypeVar("F", bound=Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination(Generic[F]):
    """A file that is written, and in which format."""

    path: Path
    reporter: F


def reporter_named(name: str, option: str = "--format") -> Reporter:
    """Return the reporter of a format; a `ConfigError` rises where there is none of this name."""
    return named(name, every_reporter(), option)


def named(name: str, formats: Sequence[F], option: str = "--format") -> F:
    """Return the format of a name; a `ConfigError` rises where there is none of it."""
    known = [each.name for each in formats]
    return formats[known.index(choose(option, name, known))]


def destinations(outputs: Iterable[str], inputs: Sequence[str]) -> tuple[Destination[Reporter], ...]:
    """Return where the files of a report go, as `places`."""
    return places(outputs, inputs, every_reporter())


def places(outputs: Iterable[str], inputs: Sequence[str], formats: Sequence[F]) -> tuple[Destination[F], ...]:
    """Return where `-o [FORMAT=]FILE` options point, checked before anything is read.

    Args:
        outputs: The options as given.
        inputs: Paths of what is read, which no output may replace.
        formats: What may be written.

    Raises:
        ConfigError: A format is unknown, a folder is missing, or a file is given twice or belongs to the input.
    """
    found: list[Destination[F]] = []
    for each in outputs:
        try:
            destination = _parsed(each, formats)
            _check(destination.path)
            for source in inputs:
                _keep(Path(source), destination.path)
        except (OSError, RuntimeError) as error:  # the latter is pathlib's for a link that leads to itself
            raise ConfigError(f"--output {each}: {getattr(error, 'strerror', None) or error}") from error
        if any(_is_same(destination.path, other.path) for other in found):
            raise ConfigError(f"--output names the file {destination.path} twice")
        found.append(destination)
    return tuple(found)


def write_files(report: Report, where: Sequence[Destination[Reporter]]) -> None:
    """Render the report into every file, as `write_all`."""
    seen = replace(report, view=in_file(report.view))
    write_all((each.path, partial(each.reporter.render, seen)) for each in where)


def in_file(view: View) -> View:
    """Return how a report looks in a file, whatever the screen is."""
    return replace(view, width=FILE_WIDTH, color=False)


def write_all(contents: Iterable[tuple[Path, Callable[[], str | bytes]]]) -> None:
    """Write every file, or none: all are staged beside their targets, then renamed over them.

    Raises:
        CheckpointError: A file cannot be written; nothing half-written stays.
    """
    staged: list[tuple[Path, Path]] = []
    try:
        for target, rendered in contents:
            staged.append((_stage(target, rendered()), target))
        for temporary, target in staged:
            temporary.replace(target)
    except OSError as error:
        # not error.filename, which is the staged file's
        raise CheckpointError(str(target), f"the report cannot be written ({error.strerror})") from error
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)


def write_stdout(content: str | bytes) -> None:
    """Write a report to stdout; a reader who has gone away (`| head`) changes nothing.

    Raises:
        CheckpointError: stdout cannot take it (a full disk).
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content if isinstance(content, bytes) else _encoded(content))
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        raise CheckpointError("stdout", f"the report cannot be written ({error.strerror})") from error


def screen(color: str, *, verbose: bool, quiet: bool) -> View:
    """Return how the report is to look on stdout.

    Args:
        color: auto, always or never; auto asks NO_COLOR, FORCE_COLOR, TERM and whether stdout is a terminal.
        verbose: As `View.verbose`.
        quiet: As `View.quiet`.
    """
    choose("--color", color, COLORS)
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    colored = color == "always" or (color == "auto" and _wants_color(is_terminal=is_terminal))
    return View(width=_columns(is_terminal=is_terminal), color=colored, verbose=verbose, quiet=quiet)


def _parsed(output: str, formats: Sequence[F]) -> Destination[F]:
    name, separator, path = output.partition("=")
    if separator and name.isalnum():
        return Destination(path=_file(path), reporter=named(name, formats, "--output"))
    for each in formats:
        if output.lower().endswith(each.suffixes):
            return Destination(path=_file(output), reporter=each)
    if output and Path(output).is_dir():
        raise ConfigError(f"--output {output} is a directory; give the name of a file in it, as {output}/report.json")
    known = ", ".join(suffix for each in formats for suffix in each.suffixes)
    if not output:
        raise ConfigError("--output needs the name of a file")
    raise ConfigError(f"--output {output}: no format ends like this; use {known}, or FORMAT={output}")


def _file(path: str) -> Path:
    if path in {"", "-"}:
        raise ConfigError("--output needs the name of a file; --format chooses what goes to stdout")
    return Path(path).resolve()


def _check(path: Path) -> None:
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"--output {path}: the folder {path.parent} is not writable")
    if path.exists() and not path.is_file():
        raise ConfigError(f"--output {path}: not a regular file")


def _keep(source: Path, path: Path) -> None:
    if _is_same(path, source) or (path.exists() and source.is_dir() and path.parent == source.resolve()):
        raise ConfigError(f"--output {path} would replace a file of the input; choose another name or folder")


def _is_same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError, RuntimeError):
        return one == other.resolve() or one.samefile(other)
    return False


def _stage(target: Path, content: str | bytes) -> Path:
    """Return a new file beside the target that holds the content, with the permissions that any new file gets."""
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    temporary = target.with_name(f".regaudit-{os.urandom(8).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _encoded(text: str) -> bytes:
    encoding = sys.stdout.encoding or "utf-8"
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace")


def _discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush fails silently."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wants_color(*, is_terminal: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return is_terminal and os.environ.get("TERM") != "dumb"


def _columns(*, is_terminal: bool) -> int:
    import shutil

    fallback = (FILE_WIDTH, 24)
    if is_terminal or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size(fallback).columns
    return FILE_WIDTH
