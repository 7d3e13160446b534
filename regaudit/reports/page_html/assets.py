"""The style, the scripts and the chart library that every page carries in itself, and what the browser may run.

The page may load nothing and run only the scripts of its head: their hashes are in its content security policy, so that
markup which came through in spite of all would do nothing.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Final

from regaudit.reports.page_html.markup import Markup, html, raw, tag

_FOLDER: Final = Path(__file__).parent
_LIBRARY: Final = "vendor/chart.umd.min.js"
_SCRIPTS: Final = (
    "theme.js",
    "format.js",
    "tips.js",
    "charts.js",
    "table.js",
    "detail.js",
    "start.js",
)  # in this order


@cache
def head() -> Markup:
    """Return the style, the scripts and the policy that allows no others."""
    scripts = (library(), own_scripts())
    return html((
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(scripts)),
        raw("style", _read("static/page.css")),
        *(raw("script", each) for each in scripts),
    ))  # fmt: skip


@cache
def library() -> str:
    """Return the chart library, without the link to its source map, which a browser would look for."""
    return "".join(line for line in _read(_LIBRARY).splitlines(keepends=True) if not line.startswith("//#"))


@cache
def own_scripts() -> str:
    """Return our scripts as one, with no name of theirs left in the page."""
    body = "\n".join(_read(f"static/{each}") for each in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{body}\n}})();\n'


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _policy(scripts: tuple[str, ...]) -> str:
    hashes = " ".join(f"'sha256-{b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
