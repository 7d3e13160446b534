"""Pickles as inert records: what the file wants to build, without building it.

A pickle is a program for a small stack machine. Python's own machine imports what the program names and calls it;
ours has no import, and no call of anything that the program names: `GLOBAL` pushes a `Global` (two strings), and
`REDUCE`, `NEWOBJ`, `INST` and `OBJ` push a `Call` (a record of function and arguments). Numbers, strings, lists,
dicts, sets and tuples become themselves, and so do the few constructors that only wrap those (`pickle_plain`).

Source: CPython, Lib/pickletools.py (protocols 0 to 5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.pickle_machine import Call, Global, Machine
from regaudit.errors import UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Call", "Global", "Pickled", "load"]


_STOP = ord(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pickled:
    """The content of a pickle; every `Global` in it, and every `Call` that runs more than a class's `__new__`.

    `nbytes` counts the bytes up to its end: files of several pickles go on from there.
    """

    value: object
    globals: tuple[Global, ...]
    calls: tuple[Call, ...]
    nbytes: int = 0


def load(raw: bytes, *, persistent: Callable[[object], object], where: str = "pickle") -> Pickled:
    """Read one pickle without executing anything.

    Args:
        raw: The pickle.
        persistent: Our own function that says what a persistent id stands for (a torch storage, say).
        where: What to call the pickle in errors.

    Returns:
        Its content. Containers may be shared, nested to any depth, and contain themselves.

    Raises:
        UnsafeCheckpoint: It would exhaust the machine. What is no valid pickle is a `CorruptCheckpoint` with the offset.
    """
    if len(raw) > limits.PICKLE_BYTES.value:
        raise UnsafeCheckpoint(
            where, *limits.PICKLE_BYTES.exceeded(f"the pickle has {len(raw):,} bytes", needed=len(raw))
        )
    machine = Machine(raw, persistent, where)
    for _ in range(limits.PICKLE_OPCODES.value):
        opcode = machine.opcode()
        if opcode == _STOP:
            found, called = tuple(machine.globals), tuple(machine.calls)
            return Pickled(value=machine.pop(), globals=found, calls=called, nbytes=len(raw) - machine.left)
        _step(machine, opcode)
    raise machine.exhausting(limits.PICKLE_OPCODES, "has too many opcodes")


def _step(machine: Machine, opcode: int) -> None:
    try:
        if (make := _VALUES.get(opcode)) is not None:
            machine.push(make(machine))
        elif (act := _ACTIONS.get(opcode)) is not None:
            act(machine)
        else:
            raise machine.corrupt(f"has the unknown opcode {opcode:#04x}")
    except ValueError as error:  # bad UTF-8, bad digits, a key that can't be hashed safely
        raise machine.corrupt(f"holds a malformed value ({error})") from error


def _number(line: str) -> int:
    return line == "01" if line in {"00", "01"} else int(line)  # protocol 0 writes booleans so


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_to_mark()  # POP also removes a mark


def _pop_mark(machine: Machine) -> None:
    machine.pop_to_mark()


def _setitem(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.assign([key, value])


def _dict(machine: Machine) -> None:
    flat = machine.pop_to_mark()
    machine.push({})
    machine.assign(flat)


def _frozenset(machine: Machine) -> None:
    machine.push(frozenset(machine.set_of(machine.pop_to_mark())))


def _tuple_of(count: int) -> Callable[[Machine], None]:
    return lambda machine: machine.push(tuple([machine.pop() for _ in range(count)][::-1]))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push(machine.named(module, name))


def _reduce(machine: Machine) -> None:
    args = machine.pop_arguments()
    machine.called(machine.pop(), args)


def _inst(machine: Machine) -> None:
    function = machine.named(machine.line(), machine.line())
    machine.called(function, tuple(machine.pop_to_mark()))


def _obj(machine: Machine) -> None:
    items = machine.pop_to_mark()
    if not items:
        raise machine.corrupt("makes an object of no class")
    machine.called(items[0], tuple(items[1:]))


def _newobj(machine: Machine) -> None:
    args = machine.pop_arguments()
    machine.push(machine.made(machine.pop(), args))


def _newobj_ex(machine: Machine) -> None:
    kwargs, args = machine.pop(), machine.pop_arguments()
    machine.push(machine.made(machine.pop(), args, kwargs))


def _extension(width: int) -> Callable[[Machine], object]:
    """Return a reader of extension codes: what they stand for is registered in the process, so it can't be known."""
    return lambda machine: machine.named("copyreg", f"extension_{machine.unsigned(width)}")


def _proto(machine: Machine) -> None:
    version = machine.unsigned(1)
    if version > 5:
        raise machine.corrupt(f"is of protocol {version}, the newest known is 5,")


def _frame(machine: Machine) -> None:
    count = machine.unsigned(8)
    if count > machine.left:
        raise machine.corrupt(f"claims a frame of {count:,} bytes")


# Opcodes that push a new value.
_VALUES: dict[int, Callable[[Machine], object]] = {
    ord("N"): lambda _: None,
    0x88: lambda _: True,
    0x89: lambda _: False,
    ord("I"): lambda machine: _number(machine.line()),
    ord("L"): lambda machine: int(machine.line().rstrip("L")),
    ord("F"): lambda machine: float(machine.line()),
    ord("J"): lambda machine: machine.signed(4),
    ord("K"): lambda machine: machine.unsigned(1),
    ord("M"): lambda machine: machine.unsigned(2),
    0x8A: lambda machine: machine.long(1),
    0x8B: lambda machine: machine.long(4),
    ord("G"): lambda machine: struct.unpack(">d", machine.take(8))[0],
    ord("S"): lambda machine: machine.line()[1:-1],  # escapes stay as written: no name or number needs them
    ord("V"): lambda machine: machine.line(),
    ord("U"): lambda machine: machine.native(1),
    ord("T"): lambda machine: machine.native(4),
    0x8C: lambda machine: machine.text(1),
    ord("X"): lambda machine: machine.text(4),
    0x8D: lambda machine: machine.text(8),
    ord("C"): lambda machine: machine.sized(1),
    ord("B"): lambda machine: machine.sized(4),
    0x8E: lambda machine: machine.sized(8),
    0x96: lambda machine: bytearray(machine.sized(8)),
    ord("]"): lambda _: [],
    ord("}"): lambda _: {},
    ord(")"): lambda _: (),
    0x8F: lambda _: set(),
    ord("l"): lambda machine: machine.pop_to_mark(),
    ord("t"): lambda machine: tuple(machine.pop_to_mark()),
    ord("c"): lambda machine: machine.named(machine.line(), machine.line()),
    0x82: _extension(1),
    0x83: _extension(2),
    0x84: _extension(4),
    ord("P"): lambda machine: machine.persistent(machine.line()),
    ord("Q"): lambda machine: machine.persistent(machine.pop()),
}

# Opcodes that rearrange the stack. The two for out-of-band buffers (0x97, 0x98) can't occur in a file.
_ACTIONS: dict[int, Callable[[Machine], None]] = {
    ord("0"): _pop,
    ord("1"): _pop_mark,
    ord("2"): lambda machine: machine.stack.append(machine.top()),
    ord("("): Machine.mark,
    ord("g"): lambda machine: machine.get(int(machine.line())),
    ord("h"): lambda machine: machine.get(machine.unsigned(1)),
    ord("j"): lambda machine: machine.get(machine.unsigned(4)),
    ord("p"): lambda machine: machine.put(int(machine.line())),
    ord("q"): lambda machine: machine.put(machine.unsigned(1)),
    ord("r"): lambda machine: machine.put(machine.unsigned(4)),
    0x94: Machine.memoize,
    ord("a"): lambda machine: machine.append([machine.pop()]),
    ord("e"): lambda machine: machine.append(machine.pop_to_mark()),
    ord("s"): _setitem,
    ord("u"): lambda machine: machine.assign(machine.pop_to_mark()),
    0x90: lambda machine: machine.add(machine.pop_to_mark()),
    ord("d"): _dict,
    0x91: _frozenset,
    0x85: _tuple_of(1),
    0x86: _tuple_of(2),
    0x87: _tuple_of(3),
    0x93: _stack_global,
    ord("R"): _reduce,
    ord("i"): _inst,
    ord("o"): _obj,
    0x81: _newobj,
    0x92: _newobj_ex,
    ord("b"): lambda machine: machine.build(machine.pop()),
    0x80: _proto,
    0x95: _frame,
}
