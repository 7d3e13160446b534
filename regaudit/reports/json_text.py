"""JSON as text, one field a line: what `json.dumps(indent=1, sort_keys=True)` gives, in two thirds of its time.

With an indent the standard library writes token by token, in Python; a report on 10,000 layers has seven million.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Enough to tell float32 values apart (9) and to compare reports; fewer than where platforms begin to differ (13).
SIGNIFICANT_DIGITS = 12


def written(value: object, margin: str = "\n") -> str:
    """Return a value as JSON: sorted keys, ASCII, floats rounded, text that every JSON reader accepts.

    Args:
        value: Dictionaries with keys of text, lists, tuples, text, numbers, booleans and None.
        margin: A line break, and the indentation of the line that the value begins on.

    Raises:
        ValueError: A number is not finite.
        TypeError: Something else is in it.
    """
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float):
        return number(value)
    if value is None:
        return "null"
    if isinstance(value, int):  # a bool is one, too
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else int.__repr__(value)
    inner = margin + " "
    deeper = partial(written, margin=inner)
    if isinstance(value, dict):
        parts = [f"{quoted(key)}: {_LEAVES.get(type(each), deeper)(each)}" for key, each in sorted(value.items())]
        return _enclosed("{}", parts, inner, margin)
    if isinstance(value, list | tuple):
        return _enclosed("[]", [_LEAVES.get(type(each), deeper)(each) for each in value], inner, margin)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def number(value: float) -> str:
    """Return a float as JSON, rounded to `SIGNIFICANT_DIGITS`.

    Raises:
        ValueError: It is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} has no place in JSON")
    if value.is_integer():
        return repr(float(value))
    text = f"{value:.{SIGNIFICANT_DIGITS}g}"
    return text if "." in text and "e" not in text else repr(float(text))  # the shortest that gives the float back


def rounded(value: float) -> float:
    """Return a float with `SIGNIFICANT_DIGITS` digits; a whole number as it is."""
    return float(value) if value.is_integer() else float(f"{value:.{SIGNIFICANT_DIGITS}g}")


@lru_cache(maxsize=1 << 14)
def quoted(text: str) -> str:
    """Return text as a JSON string, in ASCII. Keys, reasons and names return often."""
    return json.dumps(acceptable(text))


def acceptable(text: str) -> str:
    """Return text without lone surrogates, which strict readers refuse (RFC 8259, section 8.2)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# Most of a report is leaves: what is exactly of such a type is written without another look.
_LEAVES: Final[dict[type, Callable[[Any], str]]] = {str: quoted, float: number, int: int.__repr__}


def _enclosed(brackets: str, parts: list[str], inner: str, margin: str) -> str:
    return f"{brackets[0]}{inner}{(',' + inner).join(parts)}{margin}{brackets[1]}" if parts else brackets
