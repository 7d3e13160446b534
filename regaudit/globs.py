"""Patterns over names of layers, tensors and paths, as configuration files write them."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=1024)
def compiled(glob: str, separator: str = ".") -> re.Pattern[str]:
    """Return a glob as a regular expression for whole names, case-sensitive.

    Args:
        glob: `*` and `?` stop at a separator, `**` does not; everything else, brackets too, stands for itself.
        separator: "." in names, "/" in paths.
    """
    inside = f"[^{re.escape(separator)}]"
    signs = {"*": f"{inside}*", "?": inside}
    pieces = re.findall(r"\*\*+|.", glob, re.DOTALL)
    return re.compile("".join(".*" if p[:2] == "**" else signs.get(p, re.escape(p)) for p in pieces), re.DOTALL)


def matches(glob: str, name: str, separator: str = ".") -> bool:
    """Return whether a glob stands for a name."""
    return compiled(glob, separator).fullmatch(name) is not None
