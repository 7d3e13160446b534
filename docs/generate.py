"""Rebuild the pages of docs/ that are made from the code: `make docs`. A test compares them."""

from __future__ import annotations

from pathlib import Path

from regaudit import rules
from regaudit.checkpoints import describe as limits
from regaudit.effects import describe as effects
from regaudit.penalties import describe as penalties
from regaudit.probes import describe as measures
from regaudit.settings import describe as settings
from regaudit.settings import schema

PAGES = {
    "config.md": settings.describe,
    "effects.md": effects.describe,
    "limits.md": limits.describe,
    "measures.md": measures.describe,
    "penalties.md": penalties.describe,
    "rules.md": rules.describe,
}


def main() -> None:
    """Write every generated page beside this file."""
    folder = Path(__file__).resolve().parent
    for name, describe in PAGES.items():
        (folder / name).write_text(describe(), encoding="utf-8")
        print("wrote", folder / name)
    schema.SCHEMA.write_text(schema.render(), encoding="utf-8")
    print("wrote", schema.SCHEMA)


if __name__ == "__main__":
    main()
