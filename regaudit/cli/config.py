"""`regaudit config`: what holds and who set it, a file to begin with, a check of one, the schema for editors."""

import json
from dataclasses import asdict, is_dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regaudit.cli import options
from regaudit.cli.configured import resolved
from regaudit.cli.destinations import write_stdout
from regaudit.cli.messages import choose, complain, say
from regaudit.errors import ConfigError
from regaudit.reports.escape import SENTENCE_LIMIT, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.settings import Settings
    from regaudit.settings.reading import Setting

FORMATS = ["text", "json"]
FILE = "regaudit.toml"
MOST_COLUMNS = 36  # of a name or a value, so that one long value does not push all origins off the screen
HELP = """
Show, check or begin the configuration.

\b
  regaudit config show
  regaudit config init
  regaudit config validate
  regaudit config schema > regaudit.schema.json

An option wins over a REGAUDIT_* variable, which wins over the file, which wins over the default. The file is the nearest
.regaudit.toml, regaudit.toml or pyproject.toml with [tool.regaudit], from the working directory up to the root of the
repository; never one in the model's own folder, unless --config names it.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, help=HELP, no_args_is_help=True)
Format = Annotated[str, typer.Option("--format", "-f", metavar="|".join(FORMATS), help="What goes to stdout.")]


@app.command()
def show(
    *,
    format: Format = "text",  # noqa: A002, the option's name
    config: options.Config = "",
    no_config: options.NoConfig = False,
    no_plugins: options.NoPlugins = False,
) -> int:
    """Print every setting that holds, and who set it.

    Returns:
        The exit code.
    """
    from regaudit.settings import Given

    choose("--format", format, FORMATS)
    settings = resolved(Given(config=config, no_config=no_config, words={"no-plugins": no_plugins}), [])
    shown = [*settings.values.values(), *_defaults(settings)]
    if format == "json":
        document = {
            "file": str(settings.source) if settings.source else None,
            "settings": {each.name: {"value": _plain(each.value), "origin": each.origin} for each in shown},
        }
        write_stdout(json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")
    else:
        write_stdout(_table(settings, shown))
    return 0


@app.command()
def validate(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="A configuration; by default the one that holds.")] = "",
) -> int:
    """Check a configuration file, and list everything that is wrong with it.

    Returns:
        The exit code: 0 where it is right, 2 where it is wrong.

    Raises:
        ConfigError: There is no file to check.
    """
    from regaudit.settings.discovery import nearest
    from regaudit.settings.reading import opened, settings_in

    source = opened(Path(file)) if file else nearest(Path.cwd(), ()).source
    if source is None:
        raise ConfigError(f"{file} has no table [tool.regaudit]" if file else "there is no configuration to check")
    _, problems = settings_in(source)
    for each in problems:
        complain(each)
    if not problems:
        from regaudit.settings import Given

        resolved(Given(config=str(source.path.absolute())), [])
        write_stdout(f"{printable(str(source.path), SENTENCE_LIMIT)}: valid\n")
    return 2 if problems else 0


@app.command()
def init(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="The file to write; never replaced.")] = FILE,
) -> int:
    """Write a commented configuration to begin with.

    Returns:
        The exit code.

    Raises:
        ConfigError: The file is there already, or its folder is not.
    """
    from regaudit.settings.start import written

    try:
        with Path(file).open("x", encoding="utf-8") as new:
            new.write(written())
    except FileExistsError as error:
        raise ConfigError(f"{file} is there already; it is not replaced") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror})") from error
    say(f"wrote {printable(file, SENTENCE_LIMIT)}")
    return 0


@app.command()
def schema() -> int:
    """Print the JSON Schema of a configuration file (draft 7), for editors.

    Returns:
        The exit code.
    """
    from regaudit.settings.schema import SCHEMA

    write_stdout(SCHEMA.read_bytes())
    return 0


def _defaults(settings: "Settings") -> "Iterator[Setting]":
    """Yield what holds of rules and limits where nobody says otherwise."""
    from regaudit.checkpoints.limits import LIMITS
    from regaudit.rules import every_rule
    from regaudit.settings.reading import Setting

    preset = settings.value("preset")
    for rule in every_rule():
        worse = rule.publish if preset == "publish" else None
        level = "off" if rule.is_optional and preset != "all" else worse or rule.severity
        origin = f"preset {preset}" if worse or rule.is_optional else "default"
        values = [
            ("level", str(level), origin),
            *((t.key, t.default, "default") for t in rule.thresholds if not t.is_fixed),
        ]
        for key, value, source in values:
            name = f"rules.{rule.code}.{key}"
            if name not in settings.values:
                yield Setting(name=name, value=value, origin=source)
    for limit in LIMITS:
        if f"limits.{limit.name}" not in settings.values and not limit.is_fixed:
            yield Setting(name=f"limits.{limit.name}", value=limit.default, origin="default")


def _table(settings: "Settings", shown: "list[Setting]") -> str:
    rows = [(printable(each.name), printable(_worded(each.value)), printable(each.origin, 160)) for each in shown]
    widths = [min(max(len(row[i]) for row in rows), MOST_COLUMNS) for i in (0, 1)]
    file = printable(str(settings.source), SENTENCE_LIMIT) if settings.source else "none"
    lines = [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}".rstrip() for name, value, origin in rows]
    return "\n".join([f"configuration file: {file}", "", *lines, ""])


def _worded(value: object) -> str:
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:  # noqa: ANN401, any value of a setting
    """Return a value as JSON has it; a waiver's own line is its origin."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {key.replace("_", "-"): _plain(each) for key, each in asdict(value).items() if key != "where"}
        return {key: each for key, each in found.items() if each not in (None, [], "")}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value
