"""HTML that cannot be broken by what it shows: text is escaped unless it is `Markup`, which only this module makes.

A template language would do the same with `autoescape`, for one more dependency; the page has few kinds of elements.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Final

from regaudit.reports.escape import NAME_LIMIT, SENTENCE_LIMIT, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

# Inside <script> the parser looks for `</script` and `<!--` only; the separators end a line in old JavaScript.
_IN_SCRIPT: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_VOID: Final = frozenset({"meta", "input", "br"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | None | tuple["Content", ...]


def html(content: Content) -> Markup:
    """Return content as HTML: plain text is made visible, cut where it is longer than a sentence, and escaped."""
    if content is None:
        return Markup()
    if isinstance(content, tuple):
        return Markup("".join(html(each) for each in content))
    return content if isinstance(content, Markup) else Markup(escape(printable(content, SENTENCE_LIMIT)))


def tag(name: str, /, *content: Content, **attributes: object) -> Markup:
    """Return an element: `tag("p", "text", class_="hint", data_m="kernel.rms")`.

    Args:
        name: Its name.
        content: What it holds, as `html` takes it.
        attributes: `_` stands for `-`, one at the end is dropped; True has no value, None and False leave it out.
    """
    opened = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Markup(opened) if name in _VOID else Markup(f"{opened}{html(content)}</{name}>")


def join(parts: Iterable[Content], separator: Content = "") -> Markup:
    """Return several pieces of content as one, something between them."""
    return Markup(html(separator).join(html(each) for each in parts))


def name(text: str) -> str:
    """Return the name of a layer, tensor or file, short enough to show."""
    return printable(text, NAME_LIMIT) or "''"


def code(text: str) -> Markup:
    """Return lines of code to copy."""
    lines = (escape(printable(line, SENTENCE_LIMIT)) for line in text.splitlines())
    return Markup(f"<pre><code>{chr(10).join(lines)}</code></pre>")


def data(value: object, /, **attributes: object) -> Markup:
    """Return a JSON document for scripts to read; the browser does not run it, and nothing in it can end it."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":")).translate(_IN_SCRIPT)
    return tag("script", Markup(text), type="application/json", **attributes)


def raw(element: str, text: str, /, **attributes: object) -> Markup:
    """Return a style or script of our own as it is.

    Raises:
        ValueError: The text would end its element.
    """
    if f"</{element}" in text.lower() or "<!--" in text:
        raise ValueError(f"the text of <{element}> would end it")
    return tag(element, Markup(text), **attributes)


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(printable(str(value), SENTENCE_LIMIT))}"'
