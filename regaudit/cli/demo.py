"""`regaudit demo`: train a small network with each penalty, and see what regaudit measures of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from regaudit.cli.destinations import write_stdout
from regaudit.cli.messages import say
from regaudit.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.demo.arms import Demo

HELP = """
Show what each penalty does, on a small network trained here.

\b
  regaudit demo
  regaudit demo --output-dir /tmp/demo --seed 1

Trains a network on 100 handwritten digits, audits it, trains it again with the penalty that the audit recommends and with
each kind of penalty, and measures all of them. Writes the data, the checkpoints, audit.json and demo.html with the pictures.
Needs the extra `torch`; about 20 seconds.

\b
Exit code 0: complete
          2: an option is wrong, or torch is not installed
          3: the folder cannot be written
"""

PAGE = "demo.html"
_FIRST_COLUMN, _COLUMN = 32, 9

Folder: TypeAlias = Annotated[str, typer.Option("--output-dir", metavar="DIR", help="Where the files go.")]
Seed: TypeAlias = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Of rows, initial weights and batches.")
]


def demo(*, output_dir: Folder = "regaudit-demo", seed: Seed = 0) -> int:
    """Run the demonstration and write its files; the parameters are the options of the command.

    Returns:
        The exit code.

    Raises:
        ConfigError: `--output-dir` is no folder, or torch is not installed.
        CheckpointError: The folder cannot be written.
    """
    folder = Path(output_dir)
    if not output_dir or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"--output-dir {output_dir}: expected the name of a folder")
    from regaudit.probes.devices import imported

    imported()
    from regaudit.demo.arms import demonstrate
    from regaudit.demo.page import page

    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = demonstrate(folder, seed, lambda what: say(f"{what} ..."))
        (folder / PAGE).write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(output_dir, f"cannot be written ({error.strerror or error})") from error
    write_stdout("\n".join(_lines(found, folder)) + "\n")
    return 0


def _lines(found: Demo, folder: Path) -> Iterator[str]:
    from regaudit.demo.page import introduction, sentences

    yield introduction(found)
    yield ""
    yield from _table(found)
    yield ""
    yield from (f"- {each}" for each in sentences(found))
    yield ""
    if found.after and found.after.detected and found.after.detected.rationale:
        yield "Audited again, the network trained with it shows:"
        yield from (f"  {each}" for each in found.after.detected.rationale)
        yield ""
    yield f"Pictures: {folder / PAGE}"
    yield f"More of the first network: regaudit report {folder / 'audit.json'}"


def _table(found: Demo) -> Iterator[str]:
    """Yield one line for each quantity, one column for each penalty; names are broken into words."""
    from regaudit.demo.measuring import QUANTITIES
    from regaudit.demo.page import shown

    words = [arm.name.split() for arm in found.arms]
    for k in range(max(len(each) for each in words)):
        yield _row("", [each[k] if k < len(each) else "" for each in words])
    for quantity in QUANTITIES:
        yield _row(quantity.title, [shown(quantity, arm.values[quantity.measure]) for arm in found.arms])


def _row(title: str, cells: list[str]) -> str:
    return (title.ljust(_FIRST_COLUMN) + "".join(each.rjust(_COLUMN) for each in cells)).rstrip()
