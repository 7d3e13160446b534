"""The help of a command with many options: those of one purpose in a section of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter


class Sectioned(TyperCommand):
    """A command whose options appear under their `rich_help_panel`; rich itself, which costs start-up, is not used."""

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write arguments and options, section by section, in the order in which they are declared."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
