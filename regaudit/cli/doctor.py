"""`regaudit doctor`: what this installation can do, and what would make it do more."""

import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regaudit.cli import options
from regaudit.cli.destinations import write_stdout
from regaudit.cli.messages import choose
from regaudit.reports.escape import SENTENCE_LIMIT, printable

if TYPE_CHECKING:
    from regaudit.plugins import Kind

FORMATS = ["text", "json"]
HELP = """
Show what this installation can read, and what is missing.

\b
  regaudit doctor
  regaudit doctor -f json

Python and the packages in use, the extras with the line that installs each, the formats that can be read right now, the
plugins of other packages, and the limits that keep hostile files at bay.

\b
Exit code 0: the base installation is complete
          3: a package of it is missing, or a plugin is broken
"""

_PACKAGE = "regaudit"
# How the metadata of a package names what an extra needs: the package, its versions, then the extra as a condition.
_REQUIREMENT = re.compile(r"(?P<package>[\w.-]+)(?:.*extra == ['\"](?P<extra>[\w-]+)['\"])?")
_NOT_FOR_USERS = frozenset({"dev", "all"})
_MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A package that the base installation ("") or an extra needs, and its version ("" where it is missing)."""

    extra: str
    package: str
    version: str


def doctor(
    *,
    format: Annotated[  # noqa: A002, the option's name
        str, typer.Option("--format", "-f", metavar="|".join(FORMATS), help="What goes to stdout.")
    ] = "text",
    no_plugins: options.NoPlugins = False,
) -> int:
    """Print what this installation can do.

    Returns:
        The exit code.
    """
    choose("--format", format, FORMATS)
    found = _document()
    if format == "json":
        write_stdout(json.dumps(found, indent=1, sort_keys=True, allow_nan=False) + "\n")
    else:
        write_stdout(_text(found))
    is_whole = all(each["version"] for each in found["packages"]) and not any(
        each["error"] for each in found["plugins"]
    )
    return 0 if is_whole else 3


def _document() -> dict[str, Any]:
    from regaudit import __version__

    needed = _requirements()
    base = [each for each in needed if not each.extra]
    extras = sorted({each.extra for each in needed} - {""})
    missing = {each.extra for each in needed if each.extra and not each.version}
    is_whole = all(each.version for each in base)
    return {
        "tool": {"name": _PACKAGE, "version": __version__},
        "python": {"version": sys.version.split()[0], "executable": sys.executable, "platform": sys.platform},
        "packages": [{"name": each.package, "version": each.version} for each in base],
        "extras": [
            {
                "name": extra,
                "packages": [{"name": each.package, "version": each.version} for each in needed if each.extra == extra],
                "is_installed": extra not in missing,
                "install": _line(extra),
            }
            for extra in extras
        ],
        "formats": _formats(missing) if is_whole else [],
        "plugins": _plugins() if is_whole else [],
        "limits": _limits(),
    }


def _requirements() -> list[Requirement]:
    """Return what the installed package says that it needs; nothing where it runs from a bare source tree."""
    from importlib import metadata

    try:
        lines = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    matches = [match for line in lines if (match := _REQUIREMENT.match(line))]
    named = [(match["extra"] or "", match["package"]) for match in matches]
    return [
        Requirement(extra=extra, package=package, version=_version(package))
        for extra, package in named
        if extra not in _NOT_FOR_USERS and package != _PACKAGE
    ]


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _formats(missing: set[str]) -> list[dict[str, Any]]:
    """Return the formats in the order in which they are tried."""
    from regaudit.checkpoints import own_formats

    return [
        {"name": each.name, "is_readable": each.extra not in missing, "extra": each.extra, "install": _line(each.extra)}
        for each in own_formats()
    ]


def _plugins() -> list[dict[str, Any]]:
    """Return every plugin that is installed, with what is wrong with it ("" for nothing)."""
    from regaudit import checkpoints, measures, reports, rules
    from regaudit.errors import PluginError

    kinds: tuple[Kind[Any], ...] = (rules.PLUGINS, measures.PLUGINS, checkpoints.PLUGINS, reports.PLUGINS)
    return [
        {
            "name": plugin.name,
            "kind": plugin.kind,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "error": found.problem if isinstance(found, PluginError) else "",
        }
        for kind in kinds
        for plugin, found in kind.results()
    ]


def _line(extra: str) -> str:
    return f"pip install '{_PACKAGE}[{extra}]'" if extra else ""


def _limits() -> list[dict[str, Any]]:
    from regaudit.checkpoints.limits import LIMITS

    return [
        {
            "name": each.name,
            "value": each.default,
            "unit": each.unit,
            "guards": each.guards,
            "is_fixed": each.is_fixed,
        }
        for each in LIMITS
    ]


def _text(found: dict[str, Any]) -> str:
    python = found["python"]
    sections = {
        f"{_PACKAGE} {found['tool']['version']}": [
            ("Python", f"{python['version']}, {python['platform']}, {python['executable']}"),
            *((each["name"], each["version"] or _MISSING) for each in found["packages"]),
        ],
        "Extras": [(each["name"], _extra(each)) for each in found["extras"]],
        "Formats": [(each["name"], _format(each)) for each in found["formats"]],
        "Plugins": [(each["name"], _plugin(each)) for each in found["plugins"]],
        "Limits on what a file may ask for; --limit NAME=VALUE sets another": [
            (each["name"], _limit(each)) for each in found["limits"] if not each["is_fixed"]
        ],
        "Limits that are fixed": [(each["name"], _limit(each)) for each in found["limits"] if each["is_fixed"]],
    }
    sections = {title: rows for title, rows in sections.items() if rows}
    width = max(len(label) for rows in sections.values() for label, _ in rows)
    blocks = ([title, *(f"  {label:<{width}}  {text}" for label, text in rows)] for title, rows in sections.items())
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _format(each: dict[str, Any]) -> str:
    if each["is_readable"]:
        return f"readable, by the extra {each['extra']}" if each["extra"] else "readable"
    return f"needs the extra {each['extra']}; install it: {each['install']}"


def _limit(each: dict[str, Any]) -> str:
    from regaudit.checkpoints.limits import shown

    return f"{shown(each['value']):>9} {each['unit']:<10}  {each['guards']}"


def _plugin(each: dict[str, Any]) -> str:
    text = f"{each['kind']}, {each['distribution']} {each['version']}"
    return printable(f"{text}: broken: {each['error']}" if each["error"] else text, SENTENCE_LIMIT)


def _extra(extra: dict[str, Any]) -> str:
    packages = ", ".join(f"{each['name']} {each['version'] or _MISSING}" for each in extra["packages"])
    return packages if extra["is_installed"] else f"{packages}; install it: {extra['install']}"
