"""The options that commands share, declared once; their choices are read from the tuples that define them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from regaudit.cli.destinations import COLORS
from regaudit.config import FAIL_ON_CHOICES, SPECTRUM_CHOICES
from regaudit.reports import REPORTERS

FORMATS = "|".join(each.name for each in REPORTERS)

Inputs: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Model files, directories that hold one model each, indexes of shards, or patterns such as 'runs/*.pt'.",
        show_default=False,
    ),
]
Recursive: TypeAlias = Annotated[
    bool,
    typer.Option("--recursive", "-r", help="Audit every model in the directories and below.", show_default=False),
]
FailOn: TypeAlias = Annotated[
    str, typer.Option("--fail-on", metavar="|".join(FAIL_ON_CHOICES), help="The least severity that fails the gate.")
]
Format: TypeAlias = Annotated[str, typer.Option("--format", "-f", metavar=FORMATS, help="What goes to stdout.")]
Output: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="[FORMAT=]FILE",
        help="Also write the report to a file, in the format of its suffix; repeatable.",
        show_default=False,
    ),
]
Tensors: TypeAlias = Annotated[
    bool, typer.Option("--tensors", help="Also list every tensor as the file has it.", show_default=False)
]
Spectrum: TypeAlias = Annotated[
    str,
    typer.Option(
        "--spectrum",
        metavar="|".join(SPECTRUM_CHOICES),
        help="Singular values: of the matrices that take seconds, of all, of none.",
    ),
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show every layer with every measurement.", show_default=False)
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show the verdict and what needs attention only.", show_default=False)
]
Color: TypeAlias = Annotated[
    str, typer.Option("--color", metavar="|".join(COLORS), help="Colours on stdout; auto heeds NO_COLOR.")
]
NoProgress: TypeAlias = Annotated[
    bool, typer.Option("--no-progress", help="No progress bar on stderr.", show_default=False)
]
