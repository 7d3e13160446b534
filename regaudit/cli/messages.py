"""What goes to stderr: messages for a person, escaped, whatever they quote."""

from __future__ import annotations

import sys

from regaudit.reports.escape import SENTENCE_LIMIT, printable


def complain(problem: str, fix: str = "") -> None:
    """Say what went wrong, and what to do about it."""
    say(f"error: {printable(problem, SENTENCE_LIMIT)}")
    if fix:
        say(f"fix: {printable(fix, SENTENCE_LIMIT)}")


def say(line: str) -> None:
    """Write a line to stderr; a closed stderr is no reason to fail."""
    if sys.stderr is None:
        return
    try:
        encoding = sys.stderr.encoding or "ascii"
        sys.stderr.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = None


def did_you_mean(word: str, known: list[str]) -> str:
    """Return ` Did you mean x?`, or nothing where no known word is close."""
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def choose(option: str, word: str, known: list[str]) -> str:
    """Return the word if it is a known one.

    Raises:
        ConfigError: It is not; the message lists what is.
    """
    from regaudit.errors import ConfigError

    if word in known:
        return word
    choices = " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))
    raise ConfigError(f"{option} cannot be {word!r}; choose {choices}.{did_you_mean(word, known)}")
