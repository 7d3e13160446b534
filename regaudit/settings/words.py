"""Plain values of a configuration: each is what it must be, or the error says what was expected."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

from regaudit.plugins import are_off
from regaudit.policy.matching import weight

if TYPE_CHECKING:
    from regaudit.rules.base import Threshold
    from regaudit.settings.lines import Path

Reader: TypeAlias = Callable[[Any], Any]

MOST_DIGITS = 40  # of a number that is none, so that a message stays one
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Wrong(ValueError):
    """A value that cannot be meant, and where in its table it stands."""

    def __init__(self, text: str, path: Path = ()) -> None:
        super().__init__(text)
        self.path = path


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return ` Did you mean x?`, or nothing where no known word is close."""
    plain = {each.lower().replace("_", "-"): each for each in known}
    close = get_close_matches(word.lower().replace("_", "-"), plain, n=1)
    return f" Did you mean {plain[close[0]]}?" if close else ""


def known(word: object, words: Sequence[str], path: Path = ()) -> str:
    """Return a key that is one of the words.

    Raises:
        Wrong: It is not; the message suggests the nearest.
    """
    if isinstance(word, str) and word in words:
        return word
    hint = did_you_mean(str(word), words) or f" Known are {', '.join(words)}."
    raise Wrong(f"there is no key {word!r}.{hint}", path)


def choice(choices: Sequence[str]) -> Reader:
    """Return a reader of one of several words."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        listed = " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
        raise Wrong(f"cannot be {value!r}; choose {listed}.{did_you_mean(str(value), choices)}")

    return read


def flag(value: object) -> bool:
    """Return true or false; the environment has them as words.

    Raises:
        Wrong: It is neither.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        return value.lower() in _TRUE
    raise Wrong(f"is true or false, not {value!r}")


def text(value: object) -> str:
    """Return a text that is not empty.

    Raises:
        Wrong: It is no text, or empty.
    """
    if isinstance(value, str) and value.strip():
        return value
    raise Wrong(f"is a text, not {value!r}" if not isinstance(value, str) else "is empty")


def texts(value: object) -> tuple[str, ...]:
    """Return a list of texts; one text stands for a list of it.

    Raises:
        Wrong: It is something else.
    """
    if isinstance(value, str):
        return (text(value),)
    if isinstance(value, list | tuple):
        return tuple(text(each) for each in value)
    raise Wrong(f"is a list of texts, not {value!r}")


def some(read: Reader) -> Reader:
    """Return a reader that wants at least one value: an empty list says neither all nor none."""

    def read_some(value: object) -> Any:  # noqa: ANN401, what the reader returns
        found = read(value)
        if not found:
            raise Wrong("is an empty list: name at least one, or leave the key out")
        return found

    return read_some


def number(value: object) -> float:
    """Return a finite number.

    Raises:
        Wrong: It is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return value
    raise Wrong(f"is a number, not {str(value)[:MOST_DIGITS]}")


def bound(threshold: Threshold) -> Reader:
    """Return a reader of a number for a threshold; one that nothing could reach would switch its rule off in silence."""

    def read(value: object) -> float:
        found = number(value)
        if found < 0 <= threshold.default:
            raise Wrong(f"cannot be below 0, as {found:g} is")
        if threshold.is_share and found > 1:
            raise Wrong(f"is a share {threshold.unit}, from 0 to 1, not {found:g}: a half is 0.5")
        return found

    return read


def day(value: object) -> date:
    """Return a day, written 2027-03-01.

    Raises:
        Wrong: It is none.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise Wrong(f"is a day, as in 2027-03-01, not {value!r}")


def rule(value: object) -> str:
    """Return a rule's code, the beginning of codes, or a name, that stands for at least one rule.

    Raises:
        Wrong: It stands for none; the message suggests the nearest.
    """
    from regaudit.rules import every_rule

    word = text(value).strip()
    if any(weight([word], each.code, each.name) for each in every_rule()):
        return word.lower() if "-" in word else word.upper()
    every = [name for each in every_rule() for name in (each.code, each.name)]
    off = " Plugins are switched off." if are_off() else ""
    raise Wrong(f"names no rule: {word!r}.{off}{did_you_mean(word, every) or ' `regaudit rule` lists them all.'}")


def rules(value: object) -> tuple[str, ...]:
    """Return rules as `rule` reads each."""
    return tuple(rule(each) for each in texts(value))
