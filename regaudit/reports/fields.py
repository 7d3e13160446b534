"""The fields of a saved report, each of the type that the contract says, or an error that names the field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from regaudit.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

Word = TypeVar("Word", bound=StrEnum)

FIX = "Give a JSON report that regaudit wrote with -f json."


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of the document, and where it stands."""

    content: dict[str, Any]
    file: str
    where: str = ""

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; null is "". With a default the key may be missing, as in reports of an earlier version."""
        value = self._get(key, default)
        return "" if value is None else self._typed(key, value, str, "a text")

    def count(self, key: str) -> int:
        """Return a whole number from 0."""
        value: int = self._typed(key, self._get(key), int, "a whole number")
        if value < 0:
            self._refuse(key, "0 or more")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value: bool = self._typed(key, self._get(key), bool, "true or false")
        return value

    def number(self, key: str) -> float:
        """Return a finite number."""
        return self._number(key, self._get(key))

    def maybe(self, key: str) -> float | None:
        """Return a finite number, or None for null or a key that is missing."""
        value = self.content.get(key)
        return None if value is None else self._number(key, value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return an array of finite numbers."""
        return tuple(self._number(key, each) for each in self._array(key))

    def named_numbers(self, key: str) -> dict[str, float]:
        """Return an object of numbers."""
        found = self.part(key)
        return {name: found.number(name) for name in found.content}

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of texts."""
        return tuple(self._typed(key, each, str, "an array of texts") for each in self._array(key))

    def counts(self, key: str) -> tuple[int, ...]:
        """Return an array of whole numbers."""
        return tuple(self._typed(key, each, int, "an array of whole numbers") for each in self._array(key))

    def word(self, key: str, words: type[Word]) -> Word:
        """Return one of several words."""
        return self._word(key, self._get(key), words)

    def words(self, key: str, words: type[Word]) -> tuple[Word, ...]:
        """Return an array of words."""
        return tuple(self._word(key, each, words) for each in self._array(key))

    def maybe_word(self, key: str, words: type[Word]) -> Word | None:
        """Return one of several words, or None for null."""
        return None if self.content.get(key) is None else self.word(key, words)

    def part(self, key: str) -> Fields:
        """Return an object in this one."""
        return Fields(self._typed(key, self._get(key), dict, "an object"), self.file, self._path(key))

    def maybe_part(self, key: str) -> Fields | None:
        """Return an object, or None for null or a key that is missing."""
        return None if self.content.get(key) is None else self.part(key)

    def parts(self, key: str) -> Iterator[Fields]:
        """Yield the objects of an array; none where the key is missing, as in reports of an earlier version."""
        for i, each in enumerate(self._array(key) if key in self.content else ()):
            place = f"{key}[{i}]"
            yield Fields(self._typed(place, each, dict, "an object"), self.file, self._path(place))

    def _get(self, key: str, default: object = None) -> Any:  # noqa: ANN401, from JSON
        if key in self.content:
            return self.content[key]
        if default is None:
            self._refuse(key, "there, and is missing")
        return default

    def _array(self, key: str) -> list[Any]:
        found: list[Any] = self._typed(key, self._get(key), list, "an array")
        return found

    def _word(self, key: str, value: Any, words: type[Word]) -> Word:  # noqa: ANN401, from JSON
        if not (isinstance(value, str) and value in set(words)):
            self._refuse(key, f"one of {', '.join(words)}")
        return words(value)

    def _number(self, key: str, value: Any) -> float:  # noqa: ANN401, from JSON
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            self._refuse(key, "a finite number")
        return float(value)

    def _typed(self, key: str, value: Any, kind: type[Any], said: str) -> Any:  # noqa: ANN401, of that kind
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            self._refuse(key, said)
        return value

    def _refuse(self, key: str, said: str) -> NoReturn:
        raise CorruptCheckpoint(self.file, f"no report of regaudit: {self._path(key)} should be {said}", FIX)

    def _path(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key
