"""Reports: the finished audit for a person, a program, later a CI system.

A new format is one file here that defines a `REPORTER`, and its entry in `REPORTERS`.
"""

from __future__ import annotations

from regaudit.reports import github, gitlab, html, json, jsonl, junit, markdown, sarif, terminal
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

__all__ = ["REPORTERS", "Problem", "Report", "Reporter", "View"]
