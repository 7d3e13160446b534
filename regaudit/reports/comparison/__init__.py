"""A comparison of runs as text, Markdown or JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.reports.comparison import document, markdown, text
from regaudit.reports.comparison.document import SCHEMA
from regaudit.reports.comparison.judged import Judged

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.reports.base import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Renderer:
    """A format of a comparison.

    Args:
        name: The word for `--format`.
        suffixes: File suffixes that mean it, with their dots.
        render: The comparison in this format.
    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[Judged, View], str | bytes]


RENDERERS: tuple[Renderer, ...] = (
    Renderer(name="text", suffixes=(".txt",), render=text.render),
    Renderer(name="json", suffixes=(".json",), render=document.render),
    Renderer(name="markdown", suffixes=(".md",), render=markdown.render),
)

__all__ = ["RENDERERS", "SCHEMA", "Judged", "Renderer"]
