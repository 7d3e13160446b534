"""`regaudit schema`: the JSON Schema of the JSON report, or of another document."""

from __future__ import annotations

from typing import Annotated

import typer

from regaudit.cli.destinations import write_stdout
from regaudit.cli.messages import choose

DOCUMENTS = ["report", "comparison"]
HELP = """
Print the JSON Schema of the JSON report, or that of a comparison.

\b
  regaudit schema > report.schema.json
  regaudit schema comparison > comparison.schema.json
"""


def schema(
    document: Annotated[
        str, typer.Argument(metavar="|".join(DOCUMENTS), help="What inspect and check, or compare, write.")
    ] = DOCUMENTS[0],
) -> int:
    """Print a schema as it is committed.

    Returns:
        The exit code.
    """
    choose("DOCUMENT", document, DOCUMENTS)
    if document == "comparison":
        from regaudit.reports.comparison import SCHEMA
    else:
        from regaudit.reports.json import SCHEMA
    write_stdout(SCHEMA.read_bytes())
    return 0
