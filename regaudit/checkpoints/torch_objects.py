"""What the inert records of a torch pickle stand for: tensors as views of storages, and objects with named parts.

Source: torch/_utils.py (`_rebuild_*`), torch/serialization.py (persistent ids), PyTorch 2.13;
numpy/_core/multiarray.py and numeric.py (`_reconstruct`, `scalar`, `_frombuffer`), numpy 2.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.pickles import Call, Global

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPE_OF_STORAGE = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
    "QInt8Storage": "I8",
    "QUInt8Storage": "U8",
    "QInt32Storage": "I32",
    "UntypedStorage": "U8",  # bytes; `_rebuild_tensor_v3` names the dtype
}
DTYPE_OF_TORCH = {
    "float32": "F32",
    "float64": "F64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "complex64": "C64",
    "complex128": "C128",
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    "bool": "BOOL",
}
DTYPE_OF_NUMPY = {
    **{f"f{width}": f"F{8 * width}" for width in (2, 4, 8)},
    **{f"i{width}": f"I{8 * width}" for width in (1, 2, 4, 8)},
    **{f"u{width}": f"U{8 * width}" for width in (1, 2, 4, 8)},
    "b1": "BOOL",
    "c8": "C64",
    "c16": "C128",
}
_TORCH_MODULES = frozenset({"torch._utils", "torch._tensor"})
_WRAPPERS = frozenset(
    {
        "_rebuild_parameter",
        "_rebuild_parameter_with_state",
        "_rebuild_device_tensor_from_numpy",
        "_rebuild_device_tensor_from_cpu_tensor",
    }
)
_NUMPY_MODULES = frozenset(f"numpy.{core}.{part}" for core in ("core", "_core") for part in ("multiarray", "numeric"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A block of `numel` elements of one dtype; `key` says where in its container (an archive's member `data/<key>`)."""

    key: str
    dtype: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes that it must have."""
        return self.numel * DTYPES[self.dtype].bits // 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A tensor: elements of a storage, or of bytes within the pickle, at offset + Σ index·stride (in elements).

    Strides of axes of length 1 are 0. `big_endian` is for numpy arrays; the archive has its own record.
    `packed` says what the integers of a quantised tensor are ("" for a plain tensor).
    """

    data: Storage | bytes
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    big_endian: bool = False
    packed: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return DTYPES[self.dtype].bits // 8

    @property
    def last(self) -> int:
        """The highest element of the storage that it uses."""
        return self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie in C order without a gap."""
        return self.strides == contiguous(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A tensor that cannot be read as numbers, and why; `kind` goes where the dtype would."""

    kind: str
    reason: str


def storage(key: object) -> Storage:
    """Return the storage that a persistent id of `torch.save` stands for.

    Raises:
        ValueError: The id is none of torch's.
    """
    match key:
        case ("storage", Global(name=kind), str(name), _, int(numel), *_) if kind in DTYPE_OF_STORAGE and numel >= 0:
            return Storage(key=name, dtype=DTYPE_OF_STORAGE[kind], numel=numel)
    raise ValueError("a storage that is none of torch's")


def tensor(value: object) -> View | Refused | None:
    """Return the tensor that a record stands for; None where it stands for something else.

    A tensor that contradicts itself is a `ValueError`.
    """
    if isinstance(value, View | Refused):  # a reader of another container has made it already
        return value
    call = _unwrapped(value)
    if not isinstance(call, Call) or not isinstance(call.function, Global):
        return None
    module, name = call.function.module, call.function.name
    if module in _TORCH_MODULES and name.startswith("_rebuild_"):
        return _rebuilt(name, call.args)
    if module in _NUMPY_MODULES and name in _NUMPY:
        return _NUMPY[name](call)
    return None


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of C order, 0 for axes of length 1."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step if n != 1 else 0)
        step *= n
    return tuple(reversed(strides))


# --- torch ------------------------------------------------------------------------------------------------------------


def _unwrapped(value: object) -> object:
    """Return the plain tensor's record inside a parameter, a tensor of a subclass, or one of another device."""
    for _ in range(limits.TORCH_WRAPPERS.value):
        match value:
            case Call(function=Global(name=name), args=(inner, *_)) if name in _WRAPPERS:
                value = inner
            case Call(function=Global(name="_rebuild_from_type_v2"), args=(Global() as function, _, tuple(args), *_)):
                value = Call(function=function, args=args, offset=function.offset)
            case _:
                break
    return value


def _rebuilt(name: str, args: tuple[object, ...]) -> View | Refused:
    match name, args:
        case (("_rebuild_tensor" | "_rebuild_tensor_v2"), (Storage() as data, offset, shape, strides, *_)):
            return strided(data, data.dtype, offset, shape, strides)
        case "_rebuild_tensor_v3", (Storage() as data, offset, shape, strides, _, _, Global(name=dtype), *_):
            return _retyped(data, dtype, offset, shape, strides)
        case "_rebuild_qtensor", (Storage() as data, offset, shape, strides, *_):
            return strided(data, data.dtype, offset, shape, strides, packed=f"quantised integers ({data.dtype})")
        case _:
            kind = _word(name.removeprefix("_rebuild_"))
            return Refused(kind=kind.upper(), reason=f"it is stored as {kind}, which is no plain array of numbers")


def _word(text: str) -> str:
    return text[:40] if text.isidentifier() else "unknown"


def _retyped(data: Storage, dtype: str, offset: object, shape: object, strides: object) -> View | Refused:
    if dtype not in DTYPE_OF_TORCH:
        word = _word(dtype)
        return Refused(kind=word.upper(), reason=f"its dtype is torch.{word}, which regaudit cannot decode")
    kind = DTYPE_OF_TORCH[dtype]
    if data.nbytes * 8 % DTYPES[kind].bits:
        raise ValueError(f"a storage of {data.nbytes} bytes for elements of {DTYPES[kind].bits} bits")
    typed = Storage(key=data.key, dtype=kind, numel=data.nbytes * 8 // DTYPES[kind].bits)
    return strided(typed, kind, offset, shape, strides)


def strided(data: Storage, dtype: str, offset: object, shape: object, strides: object, *, packed: str = "") -> View:
    """Return the view with these lengths and steps.

    Raises:
        ValueError: They are no counts, do not fit together, or leave the storage.
    """
    lengths, steps = _shape(shape), counts(strides)
    if not isinstance(offset, int) or offset < 0 or len(lengths) != len(steps):
        raise ValueError("its shape, strides and offset do not fit together")
    steps = tuple(0 if n == 1 else step for n, step in zip(lengths, steps, strict=True))
    view = View(data=data, dtype=dtype, shape=lengths, strides=steps, offset=offset, packed=packed)
    if view.size and view.last >= data.numel:
        raise ValueError(f"it reaches element {view.last:,} of a storage of {data.numel:,}")
    return view


def _shape(value: object) -> tuple[int, ...]:
    shape = counts(value)
    if math.prod(shape) > limits.ELEMENTS.value:
        raise ValueError(f"its shape has more than {limits.ELEMENTS.value:,} elements")
    return shape


def counts(value: object) -> tuple[int, ...]:
    """Return a shape or strides.

    Raises:
        ValueError: They are no short list of counts.
    """
    given = tuple(value) if isinstance(value, tuple | list) else (value,)
    found = tuple(
        n for n in given if isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= limits.ELEMENTS.value
    )
    if len(found) != len(given) or len(found) > limits.RANK.value:
        raise ValueError("its shape or strides are no short list of counts")
    return found


# --- numpy ------------------------------------------------------------------------------------------------------------


def _reconstructed(value: Call) -> View | Refused:
    match value.state:
        case (int(), shape, dtype, bool(fortran), (bytes() | str()) as raw):
            return _array(raw, dtype, shape, fortran=fortran)
        case _:
            return Refused(kind="OBJECT", reason="it is a numpy array of objects")


def _scalar(value: Call) -> View | Refused:
    match value.args:
        case (dtype, (bytes() | str()) as raw):
            return _array(raw, dtype, (), fortran=False)
        case _:
            return Refused(kind="OBJECT", reason="it is a numpy object")


def _from_buffer(value: Call) -> View | Refused:
    match value.args:
        case ((bytes() | bytearray()) as raw, dtype, shape, ("C" | "F") as order):
            return _array(bytes(raw), dtype, shape, fortran=order == "F")
        case _:
            return Refused(kind="OBJECT", reason="it is a numpy array whose bytes are elsewhere")


_NUMPY: dict[str, Callable[[Call], View | Refused]] = {
    "_reconstruct": _reconstructed,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
}


def _array(raw: bytes | str, dtype: object, shape: object, *, fortran: bool) -> View | Refused:
    code, big_endian = _numpy_dtype(dtype)
    if code not in DTYPE_OF_NUMPY:
        return Refused(kind="OBJECT", reason=f"it is a numpy array of dtype {code[:20]!r}")
    lengths = _shape(shape)
    strides = contiguous(lengths[::-1])[::-1] if fortran else contiguous(lengths)
    data = raw if isinstance(raw, bytes) else raw.encode()  # text where Python 2 wrote bytes that happen to be UTF-8
    view = View(data=data, dtype=DTYPE_OF_NUMPY[code], shape=lengths, strides=strides, big_endian=big_endian)
    if len(data) != view.size * view.itemsize:
        raise ValueError(f"it has {len(data):,} bytes for {view.size:,} elements")
    return view


def _numpy_dtype(value: object) -> tuple[str, bool]:
    """Return the type code without its byte order, and whether that is big-endian."""
    match value:
        case Call(function=Global(name="dtype"), args=(str(code), *_), state=(_, order, *_)):
            return code, order == ">"
        case Call(function=Global(name="dtype"), args=(str(code), *_)):
            return code, False
        case _:
            return "unknown", False


# --- Objects ----------------------------------------------------------------------------------------------------------


def fields(value: object) -> dict[object, object]:
    """Return the entries of a dict or list, or the attributes of an object; {} for anything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if not isinstance(value, Call):
        return {}
    state = value.state[0] if isinstance(value.state, tuple) and value.state else value.state
    return {**(state if isinstance(state, dict) else {}), **value.entries}


def is_module(value: object) -> bool:
    """Return whether a record stands for a whole `torch.nn.Module`."""
    return (
        isinstance(value, Call) and isinstance(value.state, dict) and {"_parameters", "_modules"} <= value.state.keys()
    )
