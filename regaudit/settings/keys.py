"""Every key of a configuration, once: what it is for, its default, how it is read. Schema, help and docs come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regaudit.config import FAIL_ON_CHOICES, PRESETS, SPECTRUM_CHOICES
from regaudit.settings.words import choice, flag, rules, text

if TYPE_CHECKING:
    from regaudit.settings.words import Reader

CODES = "codes, beginnings of codes, or names of rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key with one value.

    Args:
        name: In the file; the option is `--name`, the variable of the environment REGAUDIT_NAME.
        text: What it is for; a sentence without its full stop.
        default: Its value where nobody says otherwise.
        read: Returns the value that is meant, or raises `Wrong`.
        schema: Of its value, for editors.
    """

    name: str
    text: str
    default: Any
    read: Reader
    schema: dict[str, Any]

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return "REGAUDIT_" + self.name.upper().replace("-", "_")

    @property
    def is_list(self) -> bool:
        """Whether it has several values; the environment separates them by commas."""
        return isinstance(self.default, tuple)


def _choice(name: str, said: str, choices: tuple[str, ...]) -> Key:
    return Key(name=name, text=said, default=choices[0], read=choice(choices), schema={"enum": list(choices)})


def _rules(name: str, said: str) -> Key:
    words = {"type": "array", "items": {"$ref": "#/definitions/rule"}}
    return Key(name=name, text=said, default=(), read=rules, schema=words)


def _flag(name: str, said: str, *, default: bool) -> Key:
    return Key(name=name, text=said, default=default, read=flag, schema={"type": "boolean"})


KEYS: tuple[Key, ...] = (
    _choice(
        "preset",
        "Which rules count and how much: recommended; publish, stricter on what ships in the file; all, optional rules too",
        PRESETS,
    ),
    _choice("fail-on", "The least severity that fails the gate", FAIL_ON_CHOICES),
    _rules("select", f"The only rules that count: {CODES}; empty for those of the preset"),
    _rules("extend-select", f"Rules that count as well: {CODES}"),
    _rules("ignore", f"Rules that do not count: {CODES}; the closer word wins over select"),
    Key(
        name="baseline",
        text="An earlier JSON report; what it found no longer fails the gate",
        default="",
        read=text,
        schema={"type": "string"},
    ),
    _flag("fail-on-stale", "Whether an entry of the baseline that matches nothing any more is an error", default=False),
    _flag("require-waiver-expiry", "Whether every waiver needs the day on which it ends", default=True),
    _flag("no-plugins", "Whether the plugins of other packages are left alone", default=False),
    _choice(
        "spectrum",
        "Singular values: computed where it takes seconds, all, estimated where that is faster, or none",
        SPECTRUM_CHOICES,
    ),
)
TABLES: dict[str, str] = {
    "rules": "A table for a rule, by name or code: level (off, info, warn, error), and its thresholds as `regaudit rule` names them",
    "per-tensor": "Rules that do not count, by a glob over layers and tensors; * stops at a dot, ** does not",
    "limits": "How much a file may ask for, by the names that `regaudit doctor` lists",
    "targets": "The models of this project: name and path; `regaudit check` without INPUT audits them all",
    "waivers": "Findings that are accepted: rule, tensors, inputs, reason, expires, max-value",
}
