"""Constructors in a pickle that only wrap plain values: what they would return, made by us without calling them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Args = tuple[object, ...]
_CONTAINERS = (list, dict, set, tuple, frozenset, bytearray)


def hashable(value: object) -> object:
    """Return a dictionary key or set element as it is, if it can be hashed safely.

    Nested tuples hash recursively in C and overflow its stack; integers over 64 bits can be made to collide.

    Raises:
        ValueError: It can't.
    """
    parts = value if isinstance(value, tuple) else (value,)
    if any(isinstance(part, _CONTAINERS) or (isinstance(part, int) and part.bit_length() > 64) for part in parts):
        raise ValueError(f"a {type(value).__name__} as a key")
    return value


def plain(module: str, name: str, args: _Args) -> object | None:
    """Return what the call would have returned, or None where it is none of these or its arguments are odd."""
    make = _PLAIN.get((module, name))
    return None if make is None else make(args)


def _items(args: _Args) -> list[object] | None:
    source = args[0] if args else []
    return list(source) if isinstance(source, list | tuple | set | frozenset) else None


def _of(kind: Callable[[Iterable[object]], object]) -> Callable[[_Args], object | None]:
    def make(args: _Args) -> object | None:
        items = _items(args)
        return None if items is None else kind(items)

    return make


def _set(items: Iterable[object]) -> object:
    return {hashable(item) for item in items}


def _frozenset(items: Iterable[object]) -> object:
    return frozenset(hashable(item) for item in items)


def _dict(args: _Args) -> object | None:
    if args and isinstance(args[0], dict):
        return dict(args[0])
    pairs: dict[object, object] = {}
    for pair in _items(args) or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            return None
        pairs[hashable(pair[0])] = pair[1]
    return pairs


def _bytes(args: _Args) -> object | None:
    raw = args[0] if args else b""
    return raw if isinstance(raw, bytes) else None  # never bytes(n), which allocates n


def _bytearray(args: _Args) -> object | None:
    raw = _bytes(args)
    return bytearray(raw) if isinstance(raw, bytes) else None


def _encode(args: _Args) -> object | None:
    """Return bytes, which protocols below 3 write as `_codecs.encode(text, "latin1")`."""
    if len(args) == 2 and isinstance(args[0], str) and args[1] in {"latin1", "latin-1"}:
        return args[0].encode("latin-1")
    return None


_BUILTINS: dict[str, Callable[[_Args], object | None]] = {
    "list": _of(list),
    "tuple": _of(tuple),
    "set": _of(_set),
    "frozenset": _of(_frozenset),
    "dict": _dict,
    "bytes": _bytes,
    "bytearray": _bytearray,
}
_PLAIN: dict[tuple[str, str], Callable[[_Args], object | None]] = {
    ("collections", "OrderedDict"): _dict,
    ("collections", "Counter"): _dict,
    ("collections", "defaultdict"): lambda args: _dict(args[1:]),
    ("collections", "deque"): _of(list),
    ("torch", "Size"): _of(tuple),
    ("_codecs", "encode"): _encode,
    **{(module, name): make for module in ("builtins", "__builtin__") for name, make in _BUILTINS.items()},
}
