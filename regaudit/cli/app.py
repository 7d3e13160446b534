"""The program's commands in one place."""

from typing import Annotated

import typer

from regaudit.cli import check, compare, config, demo, doctor, inspect, report, rule, schema, trial
from regaudit.cli.panels import Sectioned

HELP = """
Audit trained models for regularization effects, and recommend a kernel, bias or activity penalty.

\b
  regaudit inspect model.safetensors     what regularization did to it, and what to do
  regaudit check model.safetensors       the same as a gate for CI
  regaudit trial model.safetensors ...   measure penalties by training, then recommend
  regaudit compare old.pt new.pt         what moved between checkpoints
  regaudit report run.json               a saved report again, in another format
  regaudit rule                          what is checked, and why
  regaudit config show                   the settings that hold, and who set them
  regaudit demo                          what each penalty does, on a network trained here
  regaudit doctor                        what can be read here
"""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command(help=inspect.HELP, cls=Sectioned)(inspect.inspect)
app.command(help=check.HELP, cls=Sectioned)(check.check)
app.command(help=trial.HELP, cls=Sectioned)(trial.trial)
app.command(help=compare.HELP, cls=Sectioned)(compare.compare)
app.command(help=report.HELP, cls=Sectioned)(report.report)
app.command(help=rule.HELP)(rule.rule)
app.add_typer(config.app, name="config")
app.command(help=schema.HELP)(schema.schema)
app.command(help=demo.HELP)(demo.demo)
app.command(help=doctor.HELP)(doctor.doctor)


@app.callback(invoke_without_command=True, help=HELP)
def main(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", show_default=False)] = False,
) -> None:
    """Print the version, or the help where no command is given."""
    if version:
        from regaudit import __version__

        typer.echo(f"regaudit {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
        context.exit(2)
