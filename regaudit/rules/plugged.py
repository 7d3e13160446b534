"""Rules of plugins: what one must say of itself, and what its findings must be."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.records import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.plugins import Plugin
    from regaudit.records import Audit
    from regaudit.rules.base import Rule

OURS = "RGA"
_CODE = re.compile(r"[A-Z]{2,12}[0-9]{3}")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
_NEEDED = ("summary", "why", "how", "fix")


def admit(plugin: Plugin, rule: Rule) -> Rule:
    """Return a plugin's rule with its check guarded.

    Raises:
        PluginError: It does not say what a rule must say of itself.
    """
    if not _CODE.fullmatch(rule.code) or rule.code.startswith(OURS):
        raise plugin.error(f"its code is {rule.code!r}; capitals and three digits were expected, and not {OURS}")
    if not _NAME.fullmatch(rule.name):
        raise plugin.error(f"its name is {rule.name!r}; words in lower case with hyphens between them were expected")
    missing = [each for each in _NEEDED if not getattr(rule, each)]
    if missing:
        raise plugin.error(f"its page has no {missing[0]}; summary, Why, How and Fix are needed")

    def check(audit: Audit) -> Iterator[Finding]:
        found = list(rule.check(audit))
        problem = next(filter(None, (_wrong(each, rule) for each in found)), "")
        if problem:
            raise plugin.error(problem)
        return iter(found)

    return replace(rule, check=plugin.guarded(check))


def _wrong(each: object, rule: Rule) -> str:
    """Return why something is no finding of a rule, or ""."""
    if not isinstance(each, Finding):
        return f"gave {type(each).__name__}; a Finding was expected"
    if (each.rule, each.name) != (rule.code, rule.name):
        return f"gave a finding of {each.rule} {each.name}; make findings with RULE.finding"
    if not all(n is None or math.isfinite(n) for n in (each.value, each.threshold)):
        return f"gave a finding with {each.value!r} {each.op} {each.threshold!r}; finite numbers were expected"
    return ""
