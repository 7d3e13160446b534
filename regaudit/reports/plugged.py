"""Reports of plugins: what they write is text or bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regaudit.plugins import Plugin
    from regaudit.reports.base import Report, Reporter


def admit(plugin: Plugin, reporter: Reporter) -> Reporter:
    """Return a plugin's reporter with its function guarded.

    Raises:
        PluginError: Its name cannot be an option's word, or a suffix has no dot.
    """
    if not reporter.name.isalnum():
        raise plugin.error(
            f"its name is {reporter.name!r}; letters and digits were expected, as -f {reporter.name} has it"
        )
    if not all(each.startswith(".") for each in reporter.suffixes):
        raise plugin.error(f"its suffixes are {reporter.suffixes!r}; each needs its dot")

    def rendered(report: Report) -> str | bytes:
        found = reporter.render(report)
        if not isinstance(found, str | bytes):
            raise plugin.error(f"wrote {type(found).__name__}; text or bytes were expected")
        return found

    return replace(reporter, render=plugin.guarded(rendered))
