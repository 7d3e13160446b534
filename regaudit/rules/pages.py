"""The rules as text: the page of docs/ and what `regaudit rule` prints."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from regaudit.records import Severity
from regaudit.rules.base import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.rules.base import Rule, Threshold

_SECTIONS = ("Why", "How", "Fix", "Silent on", "Example")
_KINDS = {Severity.ERROR: "error", Severity.WARN: "warning", Severity.INFO: "note"}
COSTS = {
    Cost.FILE: "the file's own words only: names, shapes, dtypes and what it declares",
    Cost.WEIGHTS: "every weight, read once",
    Cost.SPECTRUM: "singular values, so that it is silent with --spectrum off",
    Cost.PROBE: "data to run the model on (--probe)",
    Cost.LABELS: "data with labels (--probe, --val, --loss)",
}
_WIDTH = 88  # columns of `regaudit rule`
_INTRODUCTION = """\
# Rules

What `regaudit check` looks for. This page is made from the rules themselves; `regaudit rule CODE` prints the same
offline. An **error** means that the model is broken or unsafe, a **warn** that somebody should act, an **info** that it
is good to know. Every threshold names its source; "calibrated" gives the worst value that was seen on healthy models
(MiniLM-L6, Silero VAD, mini-XCEPTION, and 240 small nets trained with and without penalties).
"""
# What Markdown would take for markup; a line that starts with a list or heading sign is escaped as well.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|~#])")


def markdown(rules: Sequence[Rule]) -> str:
    """Return all rules as one Markdown page: a table, then a chapter each."""
    table = ["| code | name | severity | what it finds |", "| --- | --- | --- | --- |"]
    for rule in rules:
        link = f"[{rule.name}](#{_anchor(rule)})"
        table.append(f"| {rule.code} | {link} | {rule.severity} | {escape(rule.summary)} |")
    return "\n".join([_INTRODUCTION, *table, "", *(_chapter(rule) for rule in rules)])


def plain(rule: Rule) -> str:
    """Return one rule as plain text."""
    lines = [f"{rule.code} {rule.name} ({_levels(rule)})", "", *_wrapped(rule.summary, ""), *_presets(rule)]
    for title in _SECTIONS:
        lines += ["", title, *_wrapped(rule.section(title), "  ")]
    if rule.thresholds:
        lines += ["", f"Thresholds ([tool.regaudit.rules.{rule.name}])"]
        for each in rule.thresholds:
            name = "fixed at" if each.is_fixed else f"{each.key} ="
            lines += _wrapped(f"{name} {each.default:.10g}: {_said(each)} ({each.source})", "  ")
    if rule.roles:
        lines += ["", "Looks at", *_wrapped(", ".join(rule.roles), "  ")]
    lines += ["", "Needs", *_wrapped(COSTS[rule.cost], "  ")]
    return "\n".join([*lines, ""])


def escape(text: str) -> str:
    """Return text that Markdown renders as it is, also inside a table."""
    return _MARKUP.sub(r"\\\1", text)


def _chapter(rule: Rule) -> str:
    parts = [
        f"## {rule.code} {rule.name}",
        "",
        f"{escape(rule.summary)}",
        "",
        f"*{' '.join([f'{_levels(rule)}.', *_presets(rule)])}*",
        "",
    ]
    for title in _SECTIONS:
        parts += [f"**{title}.** {escape(rule.section(title))}", ""]
    if rule.thresholds:
        parts += ["| key | threshold | value | source |", "| --- | --- | --- | --- |"]
        parts += [
            f"| {'' if t.is_fixed else f'`{t.key}`'} | {escape(t.name)} | {escape(_amount(t))} | {escape(t.source)} |"
            for t in rule.thresholds
        ]
        parts.append("")
    if rule.roles:
        parts += [f"Looks at: {escape(', '.join(rule.roles))}.", ""]
    parts += [f"Needs: {escape(COSTS[rule.cost])}.", ""]
    return "\n".join(parts)


def _levels(rule: Rule) -> str:
    return f"{_KINDS[rule.severity]}, {rule.confidence} confidence, since {rule.since}"


def _presets(rule: Rule) -> list[str]:
    """Return a line on what other presets make of the rule, where they differ."""
    said = [f"{_KINDS[rule.publish].capitalize()} with the preset publish."] if rule.publish else []
    return [*said, "Off unless the preset is all, or it is asked for."] if rule.is_optional else said


def _said(threshold: Threshold) -> str:
    return f"{threshold.name}, {threshold.unit}" if threshold.unit else threshold.name


def _amount(threshold: Threshold) -> str:
    return f"{threshold.default:.10g} {threshold.unit}".strip()


def _anchor(rule: Rule) -> str:
    return f"{rule.code} {rule.name}".lower().replace(" ", "-")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
