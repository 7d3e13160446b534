"""Text from untrusted files: JSON parsed within bounds, names quoted for messages."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import limits
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

# Every element of a JSON list or object but the first needs a comma, every list or object a bracket: counting them
# bounds what parsing allocates. A tensor's entry in a safetensors header has 4 commas and more for more axes, and 3
# brackets.
COMMAS_EACH, BRACKETS_EACH = 8, 4
DAMAGED = "The file is damaged or was cut short; fetch or save it again."
SHOWN_CHARACTERS = 120
SHOWN_NAMES = 5


def parse_object(raw: bytes, where: str, *, unique: bool = False) -> dict[str, Any]:
    """Parse UTF-8 JSON whose top level is an object.

    Args:
        raw: The text; its length must have been bounded by the caller.
        where: What it is, for messages (`model.safetensors: header`).
        unique: Refuse an object that has the same key twice (readers differ in which of the two they take).

    Returns:
        The object. Its types are what the file says: check them before use.

    Raises:
        CorruptCheckpoint: It is no JSON object, not UTF-8, nested too deeply, or repeats a key.
        UnsafeCheckpoint: It has more elements than any model needs.
    """
    tensors = max(-(-raw.count(b",") // COMMAS_EACH), -(-(raw.count(b"[") + raw.count(b"{")) // BRACKETS_EACH))
    if tensors > limits.TENSORS.value:
        problem = f"the JSON has as many elements as {tensors:,} tensors need"
        raise UnsafeCheckpoint(where, *limits.TENSORS.exceeded(problem, needed=tensors))
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique if unique else None)
        if b"\\ud" in raw or b"\\uD" in raw:  # escaped surrogates: a lone one could never be printed
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise CorruptCheckpoint(where, "the JSON is nested too deeply", DAMAGED) from error
    except json.JSONDecodeError as error:
        raise CorruptCheckpoint(where, f"not valid JSON ({error})", DAMAGED) from error
    except UnicodeError as error:
        raise CorruptCheckpoint(where, "the JSON is not UTF-8 text", DAMAGED) from error
    except ValueError as error:  # a key that occurs twice, or an integer of thousands of digits
        problem = str(error).partition(":")[0]  # the rest is advice to programmers
        raise CorruptCheckpoint(where, f"the JSON cannot be trusted: {problem}", DAMAGED) from error
    if not isinstance(value, dict):
        raise CorruptCheckpoint(where, f"the JSON is a {type(value).__name__}, an object was expected", DAMAGED)
    return value


def quoted(name: str) -> str:
    """Return a name from a file in quotes, with control characters escaped and its length bounded."""
    return repr(name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "…")


def listed(names: Iterable[str], *, shown: int = SHOWN_NAMES) -> str:
    """Return `'a', 'b' and 3 more`."""
    every = list(names)
    more = f" and {len(every) - shown:,} more" if len(every) > shown else ""
    return ", ".join(quoted(name) for name in every[:shown]) + more


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {quoted(twice)} occurs twice")
    return result
