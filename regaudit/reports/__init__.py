"""Reports: the finished audit for a person, a program, later a CI system.

A new format is one file here that defines a `REPORTER`, and its entry in `REPORTERS`.
"""

from __future__ import annotations

from regaudit.plugins import Kind
from regaudit.reports import github, gitlab, html, json, jsonl, junit, markdown, plugged, sarif, terminal
from regaudit.reports.base import Problem, Report, Reporter, View

REPORTERS: tuple[Reporter, ...] = (
    terminal.REPORTER,
    json.REPORTER,
    jsonl.REPORTER,
    sarif.REPORTER,
    junit.REPORTER,
    markdown.REPORTER,
    html.REPORTER,
    github.REPORTER,
    gitlab.REPORTER,
)

PLUGINS = Kind(
    name="reports",
    type=Reporter,
    names=lambda each: (each.name, *each.suffixes),
    taken=lambda: (word for each in REPORTERS for word in (each.name, *each.suffixes)),
    admit=plugged.admit,
)

__all__ = ["PLUGINS", "REPORTERS", "Problem", "Report", "Reporter", "View", "every_reporter"]


def every_reporter() -> tuple[Reporter, ...]:
    """Return regaudit's own reporters, then those of plugins; a broken plugin is a `PluginError`."""
    return (*REPORTERS, *PLUGINS.objects())
