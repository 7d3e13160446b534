"""The settings of a command: what its options, the environment and the configuration file say together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regaudit.cli.messages import did_you_mean, say
from regaudit.errors import ConfigError
from regaudit.reports.escape import SENTENCE_LIMIT, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.config import Policy
    from regaudit.settings import Given, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The options of a gate, as the user gave them."""

    fail_on: str = ""
    preset: str = ""
    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    baseline: str = ""
    write_baseline: str = ""
    fail_on_stale: bool = False
    no_waivers: bool = False


def separated(words: Iterable[str] | None) -> tuple[str, ...]:
    """Return the words of a repeatable option, each of which may hold several with commas between them."""
    return tuple(piece.strip() for word in words or () for piece in word.split(",") if piece.strip())


def resolved(given: Given, inputs: list[str]) -> Settings:
    """Return the settings that hold in the working directory; what a user should know of them goes to stderr.

    Raises:
        ConfigError: Something in them is wrong, or the working directory is gone.
    """
    from regaudit.settings import resolve

    try:
        folder = Path.cwd()
    except OSError as error:
        raise ConfigError("the working directory does not exist any more") from error
    settings = resolve(given, folder=folder, environment=os.environ, inputs=inputs)
    for each in settings.notices:
        say(f"note: {printable(each, SENTENCE_LIMIT)}")
    return settings


def gate_words(gate: Gate) -> dict[str, object]:
    """Return what the options of a gate set, by the names of keys."""
    return {
        "fail-on": gate.fail_on,
        "preset": gate.preset,
        "select": gate.select,
        "extend-select": gate.extend_select,
        "ignore": gate.ignore,
        "baseline": gate.baseline,
        "fail-on-stale": gate.fail_on_stale,
    }


def policy_of(settings: Settings, gate: Gate | None) -> Policy:
    """Return the policy of a gate; without one, that by which findings are shown."""
    from datetime import UTC, datetime

    from regaudit.settings import apply

    written = gate.write_baseline if gate else ""
    policy = apply.policy(settings, datetime.now(UTC).date(), gates=gate is not None, written=written)
    if gate and policy.fail_on != "never":
        _check_rules(policy)
    return policy


def _check_rules(policy: Policy) -> None:
    """Refuse a gate that nothing could fail; `--fail-on never` is the way to say so.

    Raises:
        ConfigError: No rule about models counts.
    """
    from regaudit.policy.triage import is_on
    from regaudit.rules import every_rule
    from regaudit.rules.base import found_by_policy

    of_models = [each for each in every_rule() if each.check is not found_by_policy]
    if not any(is_on(each.code, each.name, policy, each) for each in of_models):
        raise ConfigError("no rule counts: select, ignore and levels leave none; --fail-on never lets everything pass")


def named_targets(settings: Settings, inputs: list[str]) -> list[str]:
    """Return what to read: the targets of the configuration for no input, and the path of one that is named.

    Raises:
        ConfigError: There is no input and no target, or an input is "", as from a shell's unset variable.
    """
    from regaudit.settings import apply

    if "" in inputs:
        raise ConfigError("INPUT is empty; give the path of a model file or directory")
    targets = apply.targets(settings)
    if not inputs and not targets:
        raise ConfigError(
            "Missing argument 'INPUT...': give a model, or name the project's [[targets]] in regaudit.toml"
        )
    paths = {each.name: each.path for each in targets}
    for each in inputs:
        hint = "" if each in paths or _exists(each) else did_you_mean(each, list(paths))
        if hint:
            say(f"note: {printable(each, SENTENCE_LIMIT)} is no target of the configuration.{printable(hint)}")
    return [each if _exists(each) else paths.get(each, each) for each in inputs] or list(paths.values())


def _exists(word: str) -> bool:
    return os.path.exists(word)  # noqa: PTH110, a Path can't hold every word (a NUL byte, more than a system's longest name)
