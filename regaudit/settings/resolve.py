"""Option over environment over file over default: the settings that hold, each with who set it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regaudit.errors import ConfigError
from regaudit.plugins import switch_off
from regaudit.settings.discovery import Nearest, nearest
from regaudit.settings.keys import KEYS, Key
from regaudit.settings.reading import Setting, opened, settings_in
from regaudit.settings.words import Wrong, did_you_mean, flag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


_CONFIG, _NO_CONFIG, _NO_PLUGINS = "REGAUDIT_CONFIG", "REGAUDIT_NO_CONFIG", "REGAUDIT_NO_PLUGINS"
_ACTION = "REGAUDIT_ACTION_"  # the GitHub Action hands its own inputs to its steps
_VARIABLES = (*(each.variable for each in KEYS), _CONFIG, _NO_CONFIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command line says of settings; "", () and None where it says nothing.

    Args:
        config: Path of the configuration file.
        no_config: Whether to use none.
        no_waivers: Whether waivers do not hold.
        words: Values of keys, by name.
        limits: Values of limits, by name.
    """

    config: str = ""
    no_config: bool = False
    no_waivers: bool = False
    words: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings that hold, by name.

    Args:
        values: Those that somebody set, and every default of `KEYS`.
        source: Path of the configuration file; None where there is none.
        notices: What a user should know: files and variables that were passed over; whole sentences.
    """

    values: Mapping[str, Setting]
    source: Path | None = None
    notices: tuple[str, ...] = ()

    def value(self, name: str) -> Any:  # noqa: ANN401, the type of its default
        """Return the value of a key of `KEYS`."""
        return self.values[name].value

    def under(self, table: str) -> tuple[Setting, ...]:
        """Return what is set in a table (`rules`, `waivers` …), in the order of the file."""
        return tuple(each for name, each in self.values.items() if name.startswith(f"{table}."))


def resolve(given: Given, *, folder: Path, environment: Mapping[str, str], inputs: list[str]) -> Settings:
    """Return the settings that hold.

    Args:
        given: What the command line says.
        folder: The working directory.
        environment: Variables; those that begin with REGAUDIT_ are read.
        inputs: The models of the run.

    Raises:
        ConfigError: Something is misspelt or cannot be meant; file and line, variable or option are named.
    """
    found = _file(given, folder, environment, inputs)
    if _is_set(environment, _NO_PLUGINS) or (found.source and found.source.table.get("no-plugins") is True):
        switch_off()  # before the names of rules are read
    values = {each.name: Setting(name=each.name, value=each.default, origin="default") for each in KEYS}
    if found.source:
        from_file, problems = settings_in(found.source)
        if problems:
            raise ConfigError(_first(problems))
        values |= {each.name: each for each in from_file}
    values |= {each.name: each for each in (*_from_environment(environment), *_from_options(given))}
    if given.no_waivers:
        values = {name: each for name, each in values.items() if not name.startswith("waivers.")}
    path = found.source.path if found.source else None
    settings = Settings(values=values, source=path, notices=(*_passed_over(found), *_unknown(environment)))
    _check_expiry(settings)
    return settings


def _file(given: Given, folder: Path, environment: Mapping[str, str], inputs: list[str]) -> Nearest:
    if given.config and given.no_config:
        raise ConfigError("--config and --no-config contradict each other")
    if given.no_config or (not given.config and _is_set(environment, _NO_CONFIG)):
        return Nearest()
    chosen = given.config or environment.get(_CONFIG, "")
    if not chosen:
        return nearest(folder, inputs)
    source = opened(folder / chosen)
    if source is None:
        raise ConfigError(f"{chosen} has no table [tool.regaudit]")
    return Nearest(source=source)


def _is_set(environment: Mapping[str, str], name: str) -> bool:
    try:
        return bool(environment.get(name)) and flag(environment[name])
    except Wrong as error:
        raise ConfigError(f"{name} {error}") from error


def _from_environment(environment: Mapping[str, str]) -> Iterator[Setting]:
    for key in KEYS:
        word = environment.get(key.variable, "").strip()
        if word:
            value: Any = [each.strip() for each in word.split(",") if each.strip()] if key.is_list else word
            yield _read(key, value, key.variable)


def _from_options(given: Given) -> Iterator[Setting]:
    for key in KEYS:
        value = given.words.get(key.name)
        if value:
            yield _read(key, value, f"--{key.name}")
    for name, limit in given.limits.items():
        yield Setting(name=f"limits.{name}", value=limit, origin="--limit")


def _read(key: Key, value: object, origin: str) -> Setting:
    try:
        return Setting(name=key.name, value=key.read(value), origin=origin)
    except Wrong as error:
        raise ConfigError(f"{origin} {error}") from error


def _first(problems: tuple[str, ...]) -> str:
    more = f" (and {len(problems) - 1} more: regaudit config validate lists them)" if len(problems) > 1 else ""
    return problems[0] + more


def _passed_over(found: Nearest) -> Iterator[str]:
    for path in found.passed_over:
        yield (
            f"{path} is not used: it lies in the model's folder, and a model must not judge itself; "
            f"use it with --config {path.name}"
        )
    for path in found.shadowed:
        yield f"{path} is not used: {found.source.path.name if found.source else 'another file'} beside it goes first"
    for path, name in found.misspelt:
        yield f"{path}: the table [{name}] is not read; is [tool.regaudit] meant?"


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(environment):
        if name.startswith("REGAUDIT_") and not name.startswith(_ACTION) and name not in _VARIABLES:
            yield f"{name} in the environment sets nothing.{did_you_mean(name, _VARIABLES)}"


def _check_expiry(settings: Settings) -> None:
    for each in settings.under("waivers") if settings.value("require-waiver-expiry") else ():
        if each.value.expires is None:
            raise ConfigError(
                f"{each.origin}: the waiver of {each.value.rule} needs expires = YYYY-MM-DD; "
                "require-waiver-expiry = false does without"
            )
