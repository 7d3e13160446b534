"""Text from a model file, made safe to show: names come from strangers and may carry terminal commands."""

from __future__ import annotations

NAME_LIMIT = 120  # characters; the longest parameter name in transformers 5 has 103
SENTENCE_LIMIT = 2000  # characters; sentences of the audit quote several names


def printable(text: str, limit: int = NAME_LIMIT) -> str:
    r"""Return the text with everything invisible or active written out, on one line, no longer than `limit`.

    Control characters, ANSI escapes, newlines, bidirectional and zero-width characters, lone surrogates and odd
    spaces become `\x1b`, `\n`, `\u202e` …; what is longer keeps its beginning and its end.

    Args:
        text: Anything that a file, a path or a message contains.
        limit: Most characters to return.

    Returns:
        Text of visible characters and plain spaces only.

    Example:
        >>> printable("fc1\x1b[31m.weight")
        'fc1\\x1b[31m.weight'
        >>> printable("abcdefghij", limit=5)
        'ab…ij'
    """
    return shortened(visible(shortened(text, limit)), limit)


def visible(text: str) -> str:
    """Return the text with everything invisible or active written out, however long it is."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _written_out(c) for c in text)


def shortened(text: str, limit: int) -> str:
    """Return the text with its middle left out where it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return text[: limit - 1 - tail] + "…" + text[len(text) - tail :]


def _written_out(character: str) -> str:
    # unicode_escape leaves a Latin-1 no-break space as \xa0 and encodes lone surrogates too
    return character.encode("unicode_escape").decode("ascii")
