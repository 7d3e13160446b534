"""`regaudit schema`: the JSON Schema of the JSON report."""

from __future__ import annotations

from regaudit.cli.destinations import write_stdout

HELP = """
Print the JSON Schema of the JSON report.

\b
  regaudit schema > report.schema.json
"""


def schema() -> int:
    """Print the schema as it is committed.

    Returns:
        The exit code.
    """
    from regaudit.reports.json import SCHEMA

    write_stdout(SCHEMA.read_bytes())
    return 0
