"""What the names in a pickle would do when it is loaded the usual way: harm, nothing but data, or nobody knows.

A list of bad names alone misses the next bad name, as the scanners' advisories show; a list of good names alone sounds
the alarm at everyone's own model class. So the answer depends on whose name it is and on what the pickle does with it:

- Names that run commands or code, import, or reach the network are unsafe, even if only mentioned.
- The standard library, torch and numpy are known: what checkpoints need to call of them is a short list (`_DATA`), and
  a call of anything else is unsafe. Objects of their classes may be made, as `NEWOBJ` runs no `__init__`.
- A call of something that the pickle has itself made is unsafe: no checkpoint needs it, chains of gadgets do.
- Other packages can't be known. To make objects of their classes is what pickles are for; a call of one of their
  functions is worth a remark, but no alarm.

Source: picklescan's advisories (github.com/mmaitre314/picklescan/security), fickling, modelscan, 2023 to 2026.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.base import UNKNOWN_GLOBAL, UNSAFE_GLOBAL
from regaudit.checkpoints.pickles import Call, Global
from regaudit.records import Remark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.checkpoints.pickles import Pickled


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Unsafe to mention: commands, code, imports, processes, network, native code, other pickles.
_UNSAFE_ROOTS = _words(
    """
    _frozen_importlib _frozen_importlib_external _pickle _posixsubprocess _socket asyncio bdb cPickle code codeop
    commands ctypes doctest ftplib http imp importlib marshal multiprocessing nt os pdb pickle pip pkgutil popen2 posix
    pty pydoc requests runpy shutil smtplib socket socketserver subprocess sys telnetlib timeit urllib urllib2
    webbrowser xmlrpc
    """
)
_UNSAFE_MODULES = ("torch.fx.graph_module", "torch.hub", "torch.jit", "torch.package", "torch.utils.cpp_extension")
_UNSAFE_PATHS = frozenset(
    {"numpy.load", "operator.attrgetter", "operator.methodcaller", "torch.load", "torch.serialization.load"}
    | {f"types.{name}" for name in ("CodeType", "FunctionType", "LambdaType")}
    | {
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in _words(
            "__import__ apply breakpoint compile delattr eval exec execfile file globals input locals open"
            " reload setattr vars"
        )
    }
)
# Unsafe to call in any package: a module that has imported one of these exports it, too.
_UNSAFE_NAMES = _words(
    "__import__ eval exec execfile getattr load_module open popen Popen read_pickle runstring system"
)

# Packages all of whose harmless calls are in `_DATA`; the others run commands, code or pickles for a living.
_KNOWN_ROOTS = sys.stdlib_module_names | _words(
    """
    __builtin__ copy_reg numpy torch
    IPython aiohttp cffi cloudpickle dill fabric httpx invoke joblib jsonpickle numexpr paramiko pexpect pkg_resources
    plumbum psutil setuptools sh urllib3 yaml
    """
)
# Libraries of training whose classes (settings, enumerations) lie in checkpoints.
_DATA_ROOTS = _words(
    "accelerate datasets lightning lightning_fabric omegaconf peft pytorch_lightning scipy sklearn timm tokenizers"
    " torchmetrics torchvision transformers ultralytics"
)
_DATA = _words(
    """
    _codecs.encode array._array_reconstructor copy_reg._reconstructor copyreg.__newobj__ copyreg.__newobj_ex__
    copyreg._reconstructor datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone
    decimal.Decimal fractions.Fraction functools.partial logging.getLogger operator.itemgetter pathlib.Path
    pathlib.PosixPath pathlib.PurePath pathlib.PurePosixPath pathlib.PureWindowsPath pathlib.WindowsPath random.Random
    re._compile types.SimpleNamespace uuid.UUID zoneinfo.ZoneInfo._unpickle
    collections.ChainMap collections.Counter collections.OrderedDict collections.UserDict collections.defaultdict
    collections.deque
    numpy.dtype numpy.ndarray numpy.random._pickle.__bit_generator_ctor numpy.random._pickle.__generator_ctor
    numpy.random._pickle.__randomstate_ctor numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar
    numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar numpy.core.numeric._frombuffer
    numpy._core.numeric._frombuffer numpy.ma.core._mareconstruct
    jax._src.array._reconstruct_array jax.array._reconstruct_array
    torch.Generator torch.Size torch.Tensor torch._C.Generator torch._tensor._rebuild_from_type_v2 torch.device
    torch.nn.parameter.Parameter torch.serialization._get_layout torch.tensor
    """
) | {
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in _words(
        "bool bytearray bytes complex dict float frozenset int list long object range set slice str tuple unicode xrange"
    )
}
_DATA_PREFIXES = ("torch._utils._rebuild_", "numpy.random.bit_generator.__pyx_unpickle_")
_CALLS_ITS_ARGUMENT = "torch._tensor._rebuild_from_type_v2"


def remarks(pickled: Pickled, where: str) -> tuple[Remark, ...]:
    """Return what is alarming or unknown about a pickle's names.

    Args:
        pickled: The pickle, read but not executed.
        where: File and member, for `Remark.where`.

    Returns:
        One remark for each name, the alarming ones first.
    """
    unsafe: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for function in _functions(pickled):
        if not isinstance(function, Global):
            unsafe["a call"] = "The file wants to call something that it has itself built; it was not called."
        elif _is_unsafe_to_call(function):
            unsafe.setdefault(function.path, f"The file wants to call {_place(function)}; it was not called.")
        elif not _is_data(function):
            text = f"The file wants to call {_place(function)}, which regaudit does not know; it was not called."
            unknown.setdefault(function.path, text)
    for each in pickled.globals:
        if _is_unsafe_to_mention(each):
            unsafe.setdefault(each.path, f"The file names {_place(each)}, which no model needs; it was not called.")
    return (*_bounded(UNSAFE_GLOBAL, where, unsafe), *_bounded(UNKNOWN_GLOBAL, where, unknown))


def _functions(pickled: Pickled) -> Iterator[object]:
    for call in pickled.calls:
        if not _is_bound_method(call):
            yield call.function
        if isinstance(call.function, Global) and call.function.path == _CALLS_ITS_ARGUMENT and call.args:
            yield call.args[0]


def _is_bound_method(call: Call) -> bool:
    """Return whether this is how a method of an object of the file is written; to call it would be another call."""
    match call:
        case Call(function=Global(module="builtins" | "__builtin__", name="getattr"), args=(Call(), str(name))):
            return not name.startswith("__")
        case _:
            return False


def _is_unsafe_to_mention(name: Global) -> bool:
    path = name.path
    if path in _DATA:
        return False
    # Protocol 4 follows dots in the name: `torch.serialization` + `os.system`.
    parts = name.name.split(".")
    reaches = len(parts) > 1 and any(part in _UNSAFE_ROOTS or part.startswith("__") for part in parts)
    is_module = any(path.startswith(f"{module}.") for module in _UNSAFE_MODULES)
    return reaches or is_module or _root(name) in _UNSAFE_ROOTS or path in _UNSAFE_PATHS


def _is_unsafe_to_call(name: Global) -> bool:
    if _is_data(name):
        return False
    is_known = _root(name) in _KNOWN_ROOTS or name.name.rpartition(".")[2] in _UNSAFE_NAMES
    return is_known or _is_unsafe_to_mention(name)


def _is_data(name: Global) -> bool:
    if name.path in _DATA or any(name.path.startswith(prefix) for prefix in _DATA_PREFIXES):
        return True
    return _root(name) in _DATA_ROOTS and name.name.isidentifier() and name.name[:1].isupper()


def _root(name: Global) -> str:
    return name.module.partition(".")[0]


def _place(name: Global) -> str:
    return f"{name.path} (byte {name.offset:,})"


def _bounded(kind: str, where: str, texts: dict[str, str]) -> Iterator[Remark]:
    shown = list(texts.values())[: limits.PICKLE_REMARKS.value]
    for text in shown:
        yield Remark(kind=kind, where=where, text=text)
    if len(texts) > len(shown):
        text = f"The file names {len(texts) - len(shown):,} more such functions; none was called."
        yield Remark(kind=kind, where=where, text=text)
