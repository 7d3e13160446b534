"""`regaudit compare`: two checkpoints or reports, or more: what moved, and whether it moved too far."""

import os
import re
from collections.abc import Sequence
from functools import partial
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regaudit.cli import options
from regaudit.cli.audited import chosen_limits
from regaudit.cli.configured import resolved
from regaudit.cli.destinations import in_file, named, places, screen, write_all, write_stdout
from regaudit.cli.messages import say
from regaudit.cli.progress import ProgressBar
from regaudit.config import Options
from regaudit.errors import CheckpointError, ConfigError
from regaudit.reports.escape import SENTENCE_LIMIT, printable

if TYPE_CHECKING:
    from regaudit.compare import Run

FORMATS = ["text", "json", "markdown"]
_DIGITS = re.compile(r"(\d+)")
HELP = """
Show what moved between checkpoints.

\b
  regaudit compare old.safetensors new.safetensors
  regaudit compare old.json new.safetensors --fail-on 'kernel.fro_norm:+10%'
  regaudit compare 'runs/epoch_*.hdf5'
  regaudit compare old.pt new.safetensors --fail-on kernel.distance:10% -o moved.md

Every measure of every layer, matched by name; JSON reports of inspect and check do as well as checkpoints. Three or more
that come in the order of the alphabet, as a shell lists them, are taken in that of their numbers.

\b
Exit code 0: complete; every limit of --fail-on is kept
          1: a measure moved beyond a limit
          2: an option is wrong, or a limit fits nothing
          3: an input could not be read, or a limit not judged: the measure is missing in a later run
"""

Fails = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="[LAYERS/]MEASURE:[+|-]N[%]",
        help="How far a measure may move from the first run: up (+), down (-) or both; repeatable.",
        show_default=False,
    ),
]


def compare(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="OLD NEW...", help="Checkpoints or JSON reports, the oldest first; or a pattern."),
    ],
    *,
    fail_on: Fails = None,
    format: Annotated[  # noqa: A002, the option's name
        str, typer.Option("--format", "-f", metavar="|".join(FORMATS), help="What goes to stdout.")
    ] = "text",
    output: options.Output = None,
    spectrum: options.Spectrum = "",
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    color: options.Color = "auto",
    no_progress: options.NoProgress = False,
    limit: options.Limits = None,
    config: options.Config = "",
    no_config: options.NoConfig = False,
    no_plugins: options.NoPlugins = False,
) -> int:
    """Compare the inputs; the parameters are the options of the command.

    Returns:
        The exit code.

    Raises:
        ConfigError: There is nothing to compare, or a limit is none.
    """
    from regaudit.compare import compare, parse, rule, with_distances
    from regaudit.reports.comparison import RENDERERS, Judged
    from regaudit.settings import Given, apply

    renderer = named(format, RENDERERS)
    ratchets = [parse(each) for each in fail_on or []]
    paths = in_order(inputs)
    if len(paths) < 2:
        raise ConfigError(f"give two checkpoints or reports, or more, to compare; found {len(paths)}")
    view = screen(color, verbose=verbose, quiet=quiet)
    files = places(output or [], paths, RENDERERS)
    given = Given(config=config, no_config=no_config, words={"spectrum": spectrum}, limits=chosen_limits(limit or []))
    settings = resolved(given, [each for each in paths if not each.lower().endswith(".json")])
    how = Options(spectrum=settings.value("spectrum"), limits=apply.limits(settings))
    runs = [
        _run(path, how, ProgressBar(is_wanted=not (quiet or no_progress), label=f"{i}/{len(paths)} "))
        for i, path in enumerate(paths, 1)
    ]
    compared = compare(runs)
    if all(map(_is_checkpoint, paths)):
        compared = with_distances(compared, how.limits)
    judged = Judged(comparison=compared, rulings=tuple(rule(compared, each) for each in ratchets))
    write_all((each.path, partial(each.reporter.render, judged, in_file(view))) for each in files)
    write_stdout(renderer.render(judged, view))
    return judged.exit_code


def in_order(words: Sequence[str]) -> list[str]:
    """Return the paths that the words stand for, patterns expanded, a trajectory in the order of its numbers.

    Raises:
        CheckpointError: A pattern matches no file.
    """
    paths: list[str] = []
    for word in words:
        is_pattern = re.search(r"[*?]|\[[^\]]+\]", word) is not None and not os.path.lexists(word)
        found = sorted(glob(word)) if is_pattern else [word]  # noqa: PTH207, as in the other commands
        if not found:
            raise CheckpointError(word, "no file matches this pattern", "Check the spelling of the path.")
        paths += found
    is_list = len(words) == 1 or (len(paths) > 2 and paths == sorted(paths))
    ordered = sorted(paths, key=natural) if is_list else paths
    if ordered != paths:
        say(f"note: in the order of their numbers: {printable(', '.join(ordered), SENTENCE_LIMIT)}")
    return ordered


def natural(path: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts epoch_9 before epoch_10."""
    pieces = _DIGITS.split(path)
    return [(1, int(each), "") if each.isdecimal() else (0, 0, each) for each in pieces]


def _run(path: str, how: Options, progress: ProgressBar) -> "Run":
    from regaudit.compare import Run
    from regaudit.pipeline import audit

    saved = _saved(path)
    if saved:
        from regaudit.reports.reading import read

        report = read(saved, path)
        if report.parts or report.problems:
            raise CheckpointError(
                path, "a report on several inputs, or on one that could not be read", "Give one on one model."
            )
        return Run(name=path, audit=report.audit)
    with progress:
        return Run(name=path, audit=audit(path, how, progress=progress))


def _is_checkpoint(path: str) -> bool:
    return not _saved(path)


def _saved(path: str) -> bytes:
    """Return a JSON report, or nothing where the path is that of a model; an index of shards is JSON too.

    Raises:
        CheckpointError: The file cannot be read.
    """
    file = Path(path)
    if not path.lower().endswith(".json") or path.lower().endswith(".index.json") or not file.is_file():
        return b""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({error.strerror})") from error
    return raw if b'"schema_version"' in raw else b""
