"""The tables of a configuration: rules, tensors, limits, targets, waivers; each as flat names and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from regaudit.config import LEVELS, Waiver
from regaudit.settings.lines import Path
from regaudit.settings.words import Reader, Wrong, bound, choice, day, known, number, rule, rules, some, text, texts

# (name of the setting, its value, where in the table it stands)
Entries: TypeAlias = list[tuple[str, Any, Path]]

WAIVER_KEYS = ("rule", "tensors", "inputs", "reason", "expires", "max-value")
TARGET_KEYS = ("name", "path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model of the project, by name."""

    name: str
    path: str


def rule_table(table: object) -> Entries:
    """Return `[rules.NAME]`: a level, and numbers for the rule's thresholds; `NAME = "off"` is a level alone.

    Raises:
        Wrong: A rule, a key or a value is unknown, or a rule is named twice.
    """
    from regaudit.rules import every_rule

    by_word = {word: each for each in every_rule() for word in (each.code, each.name)}
    entries: Entries = []
    seen: dict[str, str] = {}
    for word, content in _table(table).items():
        found = by_word.get(word.upper()) or by_word.get(word.lower())
        if found is None:
            known(word, list(by_word), (word,))
            continue
        if found.code in seen:
            raise Wrong(f"{word} is the rule {seen[found.code]}, which has a table already", (word,))
        seen[found.code] = word
        readers: dict[str, Reader] = {"level": choice(LEVELS)}
        readers |= {each.key: bound(each) for each in found.thresholds if not each.is_fixed}
        for key, value in (content if isinstance(content, dict) else {"level": content}).items():
            path: Path = (word, key) if isinstance(content, dict) else (word,)
            known(key, tuple(readers), path)
            entries.append((f"rules.{found.code}.{key}", _at(path, readers[key], value), path))
    return entries


def tensor_table(table: object) -> Entries:
    """Return `[per-tensor]`: rules that do not count, by a glob over layers and tensors."""
    return [(f"per-tensor.{glob}", _at((glob,), some(rules), value), (glob,)) for glob, value in _table(table).items()]


def limit_table(table: object) -> Entries:
    """Return `[limits]`: numbers, or texts like "2M", by the names that `regaudit doctor` lists.

    Raises:
        Wrong: A limit is unknown, fixed, or its value no positive whole number.
    """
    from regaudit.checkpoints.limits import parse
    from regaudit.errors import ConfigError

    entries: Entries = []
    for name, value in _table(table).items():
        try:
            entries.append((f"limits.{name}", parse([f"{name}={value}"])[name], (name,)))
        except ConfigError as error:
            raise Wrong(str(error).removeprefix("--limit "), (name,)) from error
    return entries


def target_tables(tables: object) -> Entries:
    """Return `[[targets]]`: the models of the project, each with its name and path.

    Raises:
        Wrong: A key is unknown or missing, or two targets share a name.
    """
    entries: Entries = []
    for i, table in enumerate(_tables(tables)):
        _keys(table, TARGET_KEYS, required=TARGET_KEYS, path=(i,))
        name, path = (_at((i, key), text, table[key]) for key in TARGET_KEYS)
        if any(value.name == name for _, value, _ in entries):
            raise Wrong(f"two targets are named {name!r}", (i, "name"))
        entries.append((f"targets.{name}", Target(name=name, path=path), (i,)))
    return entries


def waiver_tables(tables: object) -> Entries:
    """Return `[[waivers]]`: findings that are accepted, each with its reason."""
    entries: Entries = []
    for i, table in enumerate(_tables(tables)):
        _keys(table, WAIVER_KEYS, required=("rule", "reason"), path=(i,))
        found = {key: _at((i, key), _WAIVER[key], value) for key, value in table.items()}
        waiver = Waiver(
            rule=found["rule"],
            tensors=found.get("tensors", ()),
            inputs=found.get("inputs", ()),
            reason=found["reason"],
            expires=found.get("expires"),
            max_value=found.get("max-value"),
        )
        entries.append((f"waivers.{i + 1}", waiver, (i,)))
    return entries


_WAIVER = {
    "rule": rule,
    "tensors": some(texts),
    "inputs": some(texts),
    "reason": text,
    "expires": day,
    "max-value": number,
}


def _keys(table: dict[str, Any], keys: tuple[str, ...], *, required: tuple[str, ...], path: Path) -> None:
    for key in table:
        known(key, keys, (*path, key))
    for key in required:
        if key not in table:
            raise Wrong(f"needs {key}", path)


def _at(path: Path, reader: Any, value: object) -> Any:  # noqa: ANN401, what the reader returns
    """Return what a reader makes of a value.

    Raises:
        Wrong: As the reader says, with where the value stands.
    """
    try:
        return reader(value)
    except Wrong as error:
        raise Wrong(str(error), path) from error


def _table(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise Wrong(f"is a table, not {value!r}")


def _tables(value: object) -> list[dict[str, Any]]:
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return value
    raise Wrong(f"is an array of tables, not {value!r}")
