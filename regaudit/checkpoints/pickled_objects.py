"""The objects in a pickle of scikit-learn, plain or as `joblib.dump` writes them; nothing is built.

joblib puts a small record (`NumpyArrayWrapper`) where the array would be, and right behind the opcode that completes it
the array's bytes, outside of the pickle. The machine steps over them and remembers where they lie. The pickle is read
piece by piece, so that only the opcodes of a file are ever in memory.

Source: joblib/numpy_pickle.py (`NumpyArrayWrapper`), joblib 1.6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.checkpoints import dtypes, limits
from regaudit.checkpoints.estimators import Object, Refused
from regaudit.checkpoints.numpy_arrays import _Stored as Stored
from regaudit.checkpoints.pickle_machine import Call, Global, Machine
from regaudit.checkpoints.pickles import _STOP, Pickled, _step
from regaudit.checkpoints.torch_objects import DTYPE_OF_NUMPY, View, contiguous, fields, tensor
from regaudit.checkpoints.torch_objects import Refused as RefusedTensor
from regaudit.errors import CorruptCheckpoint, UnknownFormat
from regaudit.records import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.checkpoints.source import Source

_PIECE = 1 << 16  # bytes read at once; a line (names in protocols below 4) must fit into it
_WRAPPER_MODULES = ("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle")
_SEPARATE = ("NDArrayWrapper", "ZNDArrayWrapper")  # joblib before 0.10 wrote each array to a file of its own
_PADDED = "numpy_array_alignment_bytes"  # joblib since 1.2 pads the array to a multiple of these


class PickledObjects:
    """The content of the pickle, node by node."""

    def __init__(self, source: Source) -> None:
        """Read the opcodes; the arrays of joblib stay in the file."""
        self.where = str(source.path)
        machine = _ArrayMachine(source, 0)
        self.pickled: Pickled = machine.run()
        if machine.left:
            raise machine.corrupt(f"is followed by {machine.left:,} bytes that belong to nothing")
        self._source = source
        self._arrays = machine.arrays

    def look(self, node: object) -> object:
        """Return what a record of the pickle is.

        Raises:
            CorruptCheckpoint: It is an array that contradicts itself.
        """
        if isinstance(node, tuple):
            return list(node)
        if not isinstance(node, Call):
            return node
        if node in self._arrays:
            return self._arrays[node]
        try:
            array = tensor(node)
        except ValueError as error:
            raise CorruptCheckpoint(self.where, f"an array contradicts itself: {error}") from error
        if isinstance(array, View):
            return self._arrays.setdefault(node, _in_pickle(array))
        if isinstance(array, RefusedTensor):
            return Refused(reason=array.reason)
        return _object(node)

    def identity(self, node: object) -> int:
        """Return the place of a record in memory: one that is used twice is there once."""
        return id(node)


class _ArrayMachine(Machine):
    """A stack machine that reads a file piece by piece, and steps over the arrays between the opcodes.

    `arrays` has the array of each wrapper's record, or why there is none. An array of objects is a plain pickle within
    the file, `is_inner`, in which joblib itself expects no wrappers.
    """

    def __init__(self, source: Source, start: int, *, is_inner: bool = False) -> None:
        super().__init__(b"", _no_persistent, str(source.path))
        self.arrays: dict[Call, Stored | Refused] = {}
        self._source = source
        self._is_inner = is_inner
        self._place = start
        self._piece = b""
        self._piece_at = start
        self._skipped = start
        self._opcodes_left = limits.PICKLE_OPCODES.value

    def run(self) -> Pickled:
        """Return the content, up to the opcode that ends it."""
        while (opcode := self.opcode()) != _STOP:
            _step(self, opcode)
        return Pickled(value=self.pop(), globals=tuple(self.globals), calls=tuple(self.calls))

    @property
    def left(self) -> int:
        """Bytes of the file that are still unread."""
        return self._source.size - self._place

    def opcode(self) -> int:
        """Return the next opcode and remember its place."""
        self._opcode_at = self._place
        self._opcodes_left -= 1
        if self._opcodes_left < 0:
            raise self.exhausting(limits.PICKLE_OPCODES, "has too many opcodes")
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        begin = self._place - self._piece_at
        if begin + count > len(self._piece):
            self._load(count)
            begin = 0
        self._place += count
        return self._piece[begin : begin + count]

    def line(self) -> str:
        """Return the text up to the next newline, which is consumed."""
        self._load(0)
        end = self._piece.find(b"\n")
        if end < 0:
            raise self.corrupt("is cut short, or has a line without end,")
        self._place += end + 1
        return self._piece[:end].decode("utf-8", "backslashreplace")

    def build(self, state: object) -> None:
        """Set the attributes of the object under construction; behind a wrapper lies its array.

        Raises:
            UnknownFormat: The array lies in a file of its own.
        """
        super().build(state)
        target = self.stack[-1]
        match target:
            case Call(function=Global(module=module)) if self._is_inner or module not in _WRAPPER_MODULES:
                return
            case Call(function=Global(name="NumpyArrayWrapper")):
                self.arrays[target] = self._array(fields(target))
            case Call(function=Global(name=name)) if name in _SEPARATE:
                raise UnknownFormat(
                    str(self._source.path),
                    "keeps its arrays in files beside it, as joblib did before version 0.10",
                    "Save it again: joblib.dump(joblib.load('old'), 'new.joblib').",
                )

    def _load(self, count: int) -> None:
        """Read the next piece of the file, at least `count` bytes."""
        if count > self.left:  # checked before anything is allocated: a length is only a claim
            raise self.corrupt("is cut short")
        if self._place - self._skipped + count > limits.PICKLE_BYTES.value:
            raise self.exhausting(limits.PICKLE_BYTES, "is too long without its arrays")
        self._piece = self._source.read_at(self._place, min(max(count, _PIECE), self.left))
        self._piece_at = self._place

    def _array(self, state: dict[object, object]) -> Stored | Refused:
        code, is_swapped = _dtype(state.get("dtype"))
        if code.startswith("O"):
            return self._objects()
        shape, order = _shape(state.get("shape")), state.get("order")
        width = _width(code)
        if shape is None or width is None or order not in ("C", "F"):
            raise self.corrupt("describes an array that is none")
        if _PADDED in state:
            self._skip(self.take(1)[0])
        begin, size = self._place, math.prod(shape)
        self._skip(size * width)
        if code not in DTYPE_OF_NUMPY:
            return Refused(reason=f"it is a numpy array of dtype {code[:20]!r}")
        dtype = DTYPE_OF_NUMPY[code]
        return Stored(
            tensor=Tensor(name="", shape=shape, dtype=dtype, nbytes=dtypes.nbytes(dtype, size)),
            read_at=self._source.read_at,
            offset=begin,
            is_swapped=is_swapped,
            is_column_major=order == "F" and len(shape) > 1,
        )

    def _objects(self) -> Refused:
        """Step over an array of objects (labels that are text), which is a whole pickle of its own.

        Returns:
            Why it cannot be read.
        """
        inner = _ArrayMachine(self._source, self._place, is_inner=True)
        inner._skipped, inner._opcodes_left = self._skipped, self._opcodes_left
        inner.charge(self._memory)
        found = inner.run()
        self.globals += found.globals
        self.calls += found.calls
        self.charge(inner._memory - self._memory)
        self._opcodes_left, self._place, self._skipped = inner._opcodes_left, inner._place, inner._skipped
        return Refused(reason="it is a numpy array of objects")

    def _skip(self, count: int) -> None:
        if count > self.left:
            raise self.corrupt(f"is cut short: an array of {count:,} bytes follows, {self.left:,} are there,")
        self._place += count
        self._skipped += count


def _no_persistent(key: object) -> object:
    """Refuse a persistent id, which scikit-learn never writes.

    Raises:
        ValueError: Always.
    """
    del key
    raise ValueError("a persistent id")


def _dtype(value: object) -> tuple[str, bool]:
    """Return the code of a numpy dtype without its byte order, and whether that is big-endian."""
    match value:
        case Call(function=Global(name="dtype"), args=(str(code), *_), state=state):
            order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
            return code, order == ">"
        case _:
            return "", False


def _width(code: str) -> int | None:
    """Return the bytes of an element (text, `U5`, has 4 a character); None where the code is no such thing."""
    digits = code[1:]
    if not (code[:1].isalpha() and digits.isascii() and digits.isdigit() and len(digits) < 10):
        return None
    return int(digits) * (4 if code[0] == "U" else 1)


def _shape(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, tuple) or len(value) > limits.RANK.value:
        return None
    shape = tuple(
        n for n in value if isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= limits.ELEMENTS.value
    )
    return shape if len(shape) == len(value) and math.prod(shape) <= limits.ELEMENTS.value else None


def _in_pickle(view: View) -> Stored | Refused:
    """Return an array whose bytes lie in the pickle itself."""
    if not isinstance(view.data, bytes):
        return Refused(reason="its bytes are not in the file")
    return Stored(
        tensor=Tensor(name="", shape=view.shape, dtype=view.dtype, nbytes=view.size * view.itemsize),
        read_at=_reader(view.data),
        offset=0,
        is_swapped=view.big_endian,
        is_column_major=view.strides != contiguous(view.shape),
    )


def _reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, count: data[offset : offset + count]


def _object(call: Call) -> Object | None:
    if not isinstance(call.function, Global):
        return None
    attributes = {key: value for key, value in fields(call).items() if isinstance(key, str)}
    return Object(type=call.function.path, attributes=attributes)
