"""A comparison of runs as text, Markdown or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.reports.comparison import document, markdown, text
from regaudit.reports.comparison.judged import Judged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regaudit.reports.base import View

RENDERERS: Mapping[str, Callable[[Judged, View], str | bytes]] = {
    "text": text.render,
    "json": document.render,
    "markdown": markdown.render,
}

__all__ = ["RENDERERS", "Judged"]
