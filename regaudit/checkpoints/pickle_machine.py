"""The stack machine of pickles, made inert: it moves, wraps and collects values and never calls one."""

from __future__ import annotations

from dataclasses import dataclass, field
from sys import getsizeof
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.pickle_plain import hashable, plain
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.checkpoints.limits import Limit


_ENTRY = 100  # bytes of one more entry in a dict, a set or the memo (CPython 3.11, measured)
_CALL = 300  # bytes of a `Call` with its empty containers (CPython 3.11, measured)
_SHOWN = 200  # characters of a global's name that are worth printing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Global:
    """A name that the pickle asks for; it was never looked up. `offset` is the opcode's place in the pickle."""

    module: str
    name: str
    offset: int

    @property
    def path(self) -> str:
        """The dotted name, fit to be printed: escaped, and cut where it is absurdly long."""
        text = f"{self.module[:_SHOWN]}.{self.name[:_SHOWN]}"
        return (text if text.isprintable() else ascii(text)[1:-1])[:_SHOWN]


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """A call that the pickle asks for; it was never made. Mutable, because a pickle fills its objects in afterwards.

    `state` is what would go to `__setstate__`; `items` and `entries` what would be appended and assigned.
    """

    function: object
    args: tuple[object, ...]
    offset: int
    kwargs: object = None
    state: object = None
    items: list[object] = field(default_factory=list)
    entries: dict[object, object] = field(default_factory=dict)


class Machine:
    """The stack machine. It moves, wraps and collects values; it never calls one."""

    def __init__(self, raw: bytes, persistent: Callable[[object], object], where: str) -> None:
        self.persistent = persistent
        self.globals: list[Global] = []
        self.calls: list[Call] = []
        self.stack: list[object] = []
        self._outer: list[list[object]] = []  # the stacks below each MARK
        self._memo: dict[int, object] = {}
        self._raw = raw
        self._where = where
        self._at = 0
        self._opcode_at = 0
        self._memory = 0
        self._memory_limit = limits.PICKLE_MEMORY.value  # looked up once: it is compared with for every opcode

    # Limits

    def corrupt(self, problem: str) -> CorruptCheckpoint:
        """Return the error of an invalid pickle, with the place."""
        return CorruptCheckpoint(self._where, f"the pickle {problem} at byte {self._opcode_at:,}")

    def exhausting(self, limit: Limit, problem: str) -> UnsafeCheckpoint:
        """Return the error of a pickle that asks for too much, with the place."""
        return UnsafeCheckpoint(self._where, *limit.exceeded(f"the pickle {problem}, seen at byte {self._opcode_at:,}"))

    def charge(self, count: int) -> None:
        """Count bytes of memory about to be taken, against the limit."""
        self._memory += count
        if self._memory > self._memory_limit:
            raise self.exhausting(limits.PICKLE_MEMORY, "would take too much memory")

    # Bytes in

    @property
    def left(self) -> int:
        """Bytes of the pickle that are still unread."""
        return len(self._raw) - self._at

    def opcode(self) -> int:
        """Return the next opcode and remember its place."""
        self._opcode_at = at = self._at
        if at >= len(self._raw):
            raise self.corrupt("is cut short")
        self._at = at + 1
        return self._raw[at]

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        end = self._at + count
        if end > len(self._raw):  # checked before anything is allocated: a length is only a claim
            raise self.corrupt("is cut short")
        part = self._raw[self._at : end]
        self._at = end
        return part

    def line(self) -> str:
        """Return the text up to the next newline, which is consumed."""
        end = self._raw.find(b"\n", self._at)
        if end < 0:
            raise self.corrupt("is cut short")
        part = self._raw[self._at : end]
        self._at = end + 1
        return part.decode("utf-8", "backslashreplace")

    def unsigned(self, width: int) -> int:
        """Return an unsigned little-endian integer of so many bytes."""
        return int.from_bytes(self.take(width), "little")

    def signed(self, width: int) -> int:
        """Return a signed little-endian integer of so many bytes."""
        return int.from_bytes(self.take(width), "little", signed=True)

    def sized(self, width: int) -> bytes:
        """Return bytes whose length comes first, in so many bytes."""
        return self.take(self.unsigned(width))

    def text(self, width: int) -> str:
        """Return UTF-8 text whose length comes first."""
        return self.sized(width).decode("utf-8", "backslashreplace")  # lone surrogates could never be printed

    def native(self, width: int) -> str | bytes:
        """Return a string of Python 2, which may be text or bytes."""
        raw = self.sized(width)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw

    def long(self, width: int) -> int:
        """Return an integer whose length comes first."""
        count = self.unsigned(width)
        if count > limits.PICKLE_INTEGER.value:
            raise self.corrupt(f"claims an integer of {count:,} bytes")
        return self.signed(count)

    # The stack and the memo

    def push(self, value: object) -> None:
        """Put a new value on the stack."""
        self.charge(getsizeof(value))
        self.stack.append(value)

    def top(self) -> object:
        """Return what is on top of the stack."""
        if not self.stack:
            raise self.corrupt("takes from an empty stack")
        return self.stack[-1]

    def pop(self) -> object:
        """Return what was on top of the stack."""
        self.top()
        return self.stack.pop()

    def mark(self) -> None:
        """Set the stack aside and begin a new one."""
        self._outer.append(self.stack)
        self.stack = []
        self.charge(getsizeof(self.stack))

    def pop_to_mark(self) -> list[object]:
        """Return everything that was above the last mark, and remove the mark."""
        if not self._outer:
            raise self.corrupt("looks for a mark that is not there")
        items, self.stack = self.stack, self._outer.pop()
        return items

    def pop_arguments(self) -> tuple[object, ...]:
        """Return the arguments of a call, which were on top of the stack."""
        args = self.pop()
        if not isinstance(args, tuple):
            raise self.corrupt("calls with arguments that are no tuple")
        return args

    def put(self, key: int) -> None:
        """Remember the top of the stack under a number."""
        if key not in self._memo:
            self.charge(_ENTRY)
        self._memo[key] = self.top()

    def memoize(self) -> None:
        """Remember the top of the stack under the next number."""
        self.put(len(self._memo))

    def get(self, key: int) -> None:
        """Push what was remembered under a number."""
        if key not in self._memo:
            raise self.corrupt(f"takes memo entry {key}, which was never put there,")
        self.stack.append(self._memo[key])

    # Names and calls: records only

    def named(self, module: object, name: object) -> Global:
        """Return a global by its name; nothing is imported."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise self.corrupt("names a global by something that is no string")
        found = Global(module=module, name=name, offset=self._opcode_at)
        self.globals.append(found)
        return found

    def made(self, function: object, args: tuple[object, ...], kwargs: object = None) -> Call:
        """Return the record of an object to be made by a class's `__new__`."""
        self.charge(_CALL)
        return Call(function=function, args=args, kwargs=kwargs, offset=self._opcode_at)

    def called(self, function: object, args: tuple[object, ...]) -> None:
        """Push the record of a call, or the value where it only wraps plain ones; nothing is called."""
        value: object = None
        if isinstance(function, Global):
            value = self.attribute(function, args) or plain(function.module, function.name, args)
        if value is None:
            value = self.made(function, args)
            self.calls.append(value)
        self.push(value)

    def attribute(self, function: Global, args: tuple[object, ...]) -> Global | None:
        """Return the global that `getattr` of a global means: protocols below 4 write `Outer.Inner` so."""
        match args:
            case (Global() as owner, str(name)) if function.path in {"builtins.getattr", "__builtin__.getattr"}:
                self.charge(len(owner.name) + len(name))
                return self.named(owner.module, f"{owner.name}.{name}")
            case _:
                return None

    # Filling in

    def target(self) -> object:
        """Return the object under construction. To change a global in place counts as calling it."""
        target = self.top()
        if isinstance(target, Global):
            target = self.made(target, ())
            self.calls.append(target)
            self.stack[-1] = target
        return target

    def build(self, state: object) -> None:
        """Set the attributes of the object under construction."""
        target = self.target()
        if isinstance(target, Call):
            target.state = state
        elif not isinstance(target, dict | list | set | bytearray):
            raise self.corrupt(f"sets attributes of a {type(target).__name__}")
        # Attributes of a plain container are dropped: a state dict's `_metadata` holds version numbers only.

    def append(self, items: list[object]) -> None:
        """Append to the list under construction."""
        target = self.target()
        if not isinstance(target, list | Call):
            raise self.corrupt(f"appends to a {type(target).__name__}")
        (target if isinstance(target, list) else target.items).extend(items)

    def assign(self, flat: list[object]) -> None:
        """Set keys of the dict under construction; `flat` has keys and values in turn."""
        target = self.target()
        if len(flat) % 2 or not isinstance(target, dict | Call):
            raise self.corrupt(f"assigns {len(flat)} keys and values to a {type(target).__name__}")
        entries = target if isinstance(target, dict) else target.entries
        self.charge(_ENTRY * (len(flat) // 2))
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            entries[hashable(key)] = value

    def add(self, items: list[object]) -> None:
        """Add to the set under construction."""
        target = self.target()
        if not isinstance(target, set | Call):
            raise self.corrupt(f"adds to a {type(target).__name__}")
        if isinstance(target, set):
            target.update(self.set_of(items))
        else:
            target.items.extend(items)

    def set_of(self, items: list[object]) -> set[object]:
        """Return a set of these items."""
        self.charge(_ENTRY * len(items))
        return {hashable(item) for item in items}
