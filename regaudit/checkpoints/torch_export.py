"""torch.export programs (`.pt2`): weights as they lie in memory, their layout and the graph as JSON.

`torch.export.load` unpickles members, evaluates expressions and executes guards that a file brings. Here JSON and weights
are read; a weight that is a pickle is refused, and what a pickle wants to call is told without calling it.

Source: torch/export/pt2_archive (constants.py, _package.py), torch/_export/serde/schema.py (version 8), PyTorch 2.13.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import limits
from regaudit.checkpoints.archive import Archive
from regaudit.checkpoints.base import (
    CONTAINS_CODE,
    UNKNOWN_GLOBAL,
    UNSAFE_GLOBAL,
    Candidate,
    Checkpoint,
    Format,
)
from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.text import parse_object, quoted
from regaudit.checkpoints.torch_checkpoint import Opened, listed, reader, remarks_on_tensors
from regaudit.checkpoints.torch_contents import Tree, is_float
from regaudit.checkpoints.torch_declared import in_module
from regaudit.checkpoints.torch_export_graph import Graph, read, targets
from regaudit.checkpoints.torch_objects import Refused, Storage, View, strided
from regaudit.checkpoints.torch_storages import ArchiveBlocks, Storages
from regaudit.checkpoints.torch_windows import Window, WindowArchive
from regaudit.checkpoints.torch_zip import open_archive
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat
from regaudit.records import Remark

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regaudit.records import Module, Tensor

SCHEMA = 8  # the version of the graph that is known

# torch/_export/serde/schema.py, ScalarType
_DTYPES = {
    1: "U8", 2: "I8", 3: "I16", 4: "I32", 5: "I64", 6: "F16", 7: "F32", 8: "F64", 10: "C64", 11: "C128", 12: "BOOL",
    13: "BF16", 28: "U16", 29: "F8_E4M3", 30: "F8_E5M2", 31: "F8_E4M3FNUZ", 32: "F8_E5M2FNUZ", 33: "F8_E8M0", 34: "U32",
    35: "U64",
}  # fmt: skip
_STRIDED = 7
_FORMAT = "archive_format"
_MODEL = re.compile(r"(?P<root>(?:[^/]+/)?)models/(?P<name>[^/]+)\.json")
_OLD = "serialized_exported_program.json"  # PyTorch 2.1 to 2.7
_COMPILED = re.compile(r"(?:[^/]+/)?data/aotinductor/.+")
_SAVE_STATE = "In PyTorch: torch.save(program.state_dict, 'model.pt')."

# What torch resolves while it loads a graph: operators of its own libraries are data, any other path is followed.
_OPERATOR = re.compile(
    r"torch\.ops\.(?:aten|prims|prim|higher_order|_c10d_functional|quantized_decomposed)\.\w+(?:\.\w+)?"
)
_ARITHMETIC = re.compile(r"(?:_operator|math)\.\w+|torch\.sym_\w+|torch\._sym_sqrt")
_LIBRARY = re.compile(r"torch\.ops\.\w+\.\w+\.\w+")
_READS_FILES = "torch.ops.aten.from_file"
# Sizes go to sympy's eval (Add(Symbol('s0'), Integer(1))), guards to exec (L['x'].size()[0] >= 2). These they may call,
# and sympy's heads, which begin with a capital letter.
_CALLED = re.compile(r"([\w.]*)\s*\(")
_MAY_CALL = frozenset(
    {"", "abs", "and", "dim", "in", "is", "isinstance", "len", "max", "min", "not", "numel", "or", "size", "stride"}
)
_CALLS_A_VALUE = re.compile(r"[\])'\"]\s*\(")


def open_export(path: Path) -> Checkpoint:
    """Open a program that `torch.export.save` wrote.

    Args:
        path: The file.

    Returns:
        The tensors of its state dict; constants are apart. Several programs keep their names in front.

    Raises:
        CheckpointError: The file is corrupt or unsafe, of a version that is not known, or holds no weights.
    """
    archive = Archive(path)
    try:
        return _checkpoint(archive)
    except CheckpointError:
        archive.close()
        raise


def read_program(path: Path) -> dict[str, Any]:
    """Return the graph of a program and its signature, as the file has them; nothing in them is checked.

    Args:
        path: The file.

    Returns:
        The JSON object `graph_module`.

    Raises:
        CheckpointError: The file is corrupt, holds several programs, or one of a version that is not known.
    """
    archive = Archive(path)
    try:
        [program, *others] = _programs(archive)
    finally:
        archive.close()
    version, module = program.json.get("schema_version"), program.json.get("graph_module")
    if others:
        raise CheckpointError(str(path), "holds several programs, one was expected", "Save the one to run by itself.")
    if not isinstance(version, dict) or version.get("major") != SCHEMA or not isinstance(module, dict):
        problem = f"its graph is of version {quoted(str(version))[:80]}, {SCHEMA} is known"
        raise CheckpointError(str(path), problem, "Export the model again with PyTorch 2.8 or later.")
    return module


def _claims(candidate: Candidate) -> bool:
    roots = {match["root"] for name in candidate.members if (match := _MODEL.fullmatch(name))}
    is_compiled = any(_COMPILED.fullmatch(name) for name in candidate.members)
    return is_compiled or _OLD in candidate.members or any(f"{root}{_FORMAT}" in candidate.members for root in roots)


FORMAT = Format(name="torch.export", claims=_claims, open=lambda candidate: open_export(candidate.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    """One model of the archive: where its members begin, its name, its graph as the file has it."""

    archive: Archive
    root: str
    name: str
    json: dict[str, Any]

    @property
    def prefix(self) -> str:
        return f"{self.archive.path.name}: {self.root}models/{self.name}.json"


def _checkpoint(archive: Archive) -> Checkpoint:
    programs = tuple(_programs(archive))
    payloads = [payload for program in programs for payload in _payloads(program, "weights", named=len(programs) > 1)]
    constants = [
        payload for program in programs for payload in _payloads(program, "constants", named=len(programs) > 1)
    ]
    found, apart = ([(each.name, each.view) for each in group] for group in (payloads, constants))
    if not any(is_float(view) for _, view in found):
        raise CheckpointError(str(archive.path), "holds no weights of floats", _SAVE_STATE)
    root = programs[0].root
    opened = Opened(
        path=archive.path,
        nbytes=archive.source.size,
        format="torch.export",
        storages=Storages(ArchiveBlocks(archive, f"{root}data/", f"{root}byteorder")),
        member=f"{root}data",
        root=None,
        tree=Tree(str(archive.path), 0),
        close=archive.close,
    )
    tensors, views = listed(found, opened)
    others, other_views = listed(apart, opened)
    tensors, modules = _graphs(programs, tensors)
    return Checkpoint(
        path=str(archive.path),
        format=opened.format,
        nbytes=opened.nbytes,
        tensors=tensors,
        read=reader(archive.path, opened.storages, other_views | views),
        apart=others,
        modules=modules,
        declared=tuple(each for module in modules for each in in_module(module, archive.path.name)),
        remarks=(
            *remarks_on_tensors(found),
            *(remark for program in programs for remark in _remarks_on_program(program)),
            *_remarks_on_pickles(archive, root, [each.member for each in (*payloads, *constants) if each.is_pickle]),
        ),
        close=archive.close,
    )


def _programs(archive: Archive) -> Iterator[_Program]:
    where = str(archive.path)
    found = [match for name in archive.names if (match := _MODEL.fullmatch(name))]
    if not found:
        is_old = _OLD in archive.names
        what = "a torch.export program of PyTorch before 2.8" if is_old else "a program compiled with AOTInductor"
        raise UnknownFormat(where, f"is {what}", _SAVE_STATE if is_old else "Give the model that it was compiled from.")
    if len({match["root"] for match in found}) > 1:
        raise CorruptCheckpoint(where, "holds models in two folders")
    kind = archive.read(f"{found[0]['root']}{_FORMAT}", limit=limits.POINTER_BYTES)
    if kind.strip() != b"pt2":
        raise UnknownFormat(where, f"is an archive of the format {quoted(kind.decode('latin-1'))}, known is 'pt2'")
    for match in found:
        raw = archive.read(match[0], limit=limits.JSON_BYTES)
        yield _Program(
            archive=archive, root=match["root"], name=match["name"], json=parse_object(raw, f"{where}: {match[0]}")
        )


# --- Weights ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Payload:
    """One entry of the weights or constants: the tensor, the member that holds it."""

    name: str
    member: str
    view: View | Refused
    is_pickle: bool


def _payloads(program: _Program, folder: str, *, named: bool) -> Iterator[_Payload]:
    member = f"{program.root}data/{folder}/{program.name}_{folder}_config.json"
    if member not in program.archive.names:
        if folder == "constants":
            return
        raise UnknownFormat(
            f"{program.archive.path}: {member}", "is missing: the layout of another PyTorch", _SAVE_STATE
        )
    where = f"{program.archive.path}: {member}"
    config = parse_object(program.archive.read(member, limit=limits.JSON_BYTES), where, unique=True).get("config")
    if not isinstance(config, dict):
        raise CorruptCheckpoint(where, "must map names to tensors under the key config")
    for name, entry in config.items():
        whole = f"{program.name}.{name}" if named else name
        yield _payload(program, folder, whole, entry, f"{program.archive.path}: tensor {quoted(name)}")


def _payload(program: _Program, folder: str, name: str, entry: object, where: str) -> _Payload:
    match entry:
        case {"path_name": str(file), "use_pickle": bool(is_pickle), "tensor_meta": meta}:
            key = f"{folder}/{file}"
            member = f"{program.root}data/{key}"
        case _:
            raise CorruptCheckpoint(where, "its entry must hold path_name, use_pickle and tensor_meta")
    if is_pickle or meta is None:
        reason = "it is stored as a pickle, which torch.export.load would run"
        view: View | Refused = Refused(kind="PICKLE", reason=reason)
        return _Payload(name=name, member=member, view=view, is_pickle=True)
    try:
        view = _view(meta, key, program.archive.size(member))
    except ValueError as error:
        raise CorruptCheckpoint(where, f"contradicts itself: {error}") from error
    return _Payload(name=name, member=member, view=view, is_pickle=False)


def _view(meta: object, key: str, size: int) -> View | Refused:
    match meta:
        case {"dtype": int(code), "layout": int(layout), "sizes": list(sizes), "strides": list(strides), **rest}:
            offset = rest.get("storage_offset", {"as_int": 0})
        case _:
            raise ValueError("its layout must have dtype, layout, sizes and strides")
    if code not in _DTYPES or layout != _STRIDED:
        return Refused(kind="UNKNOWN", reason=f"its dtype (code {code}) or layout (code {layout}) is not known")
    dtype = _DTYPES[code]
    width = DTYPES[dtype].bits // 8
    if size % width:
        raise ValueError(f"a member of {size:,} bytes for elements of {width}")
    data = Storage(key=key, dtype=dtype, numel=size // width)
    return strided(data, dtype, _integer(offset), tuple(map(_integer, sizes)), tuple(map(_integer, strides)))


def _integer(value: object) -> int:
    match value:
        case {"as_int": int(number)}:
            return number
        case _:
            raise ValueError("a size that is no number")


# --- Graph ------------------------------------------------------------------------------------------------------------


def _graphs(
    programs: tuple[_Program, ...], tensors: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], tuple[Module, ...]]:
    """Return the tensors, and the modules of the graph; of several programs, or an unknown version, none."""
    [program, *others] = programs
    version = program.json.get("schema_version")
    if others or not isinstance(version, dict) or version.get("major") != SCHEMA:
        return tensors, ()
    module = program.json.get("graph_module")
    graph: Graph = read(module if isinstance(module, dict) else {}, tensors)
    return tuple(graph.stated.get(tensor.name, tensor) for tensor in tensors), graph.modules


# --- Code -------------------------------------------------------------------------------------------------------------


def _remarks_on_program(program: _Program) -> Iterator[Remark]:
    guards = program.json.get("guards_code")
    guards = [each for each in guards if isinstance(each, str)] if isinstance(guards, list) else []
    if guards:
        text = f"The file holds Python code that torch.export.load would execute, as guards ({len(guards):,}); it was not run."
        yield Remark(kind=CONTAINS_CODE, where=program.prefix, text=text)
    odd = dict.fromkeys(each for each in (*guards, *_expressions(program.json)) if not _is_plain(each))
    for each in list(odd)[: limits.PICKLE_REMARKS.value]:
        text = f"The file wants to run {quoted(each)}, which is no condition on sizes; it was not run."
        yield Remark(kind=UNSAFE_GLOBAL, where=program.prefix, text=text)
    module = program.json.get("graph_module")
    unknown: dict[str, str] = {}
    for target in targets(module if isinstance(module, dict) else {}):
        if kind := _judged(target):
            unknown.setdefault(target, kind)
    for target, kind in list(unknown.items())[: limits.PICKLE_REMARKS.value]:
        harm = "which a network does not need" if kind == UNSAFE_GLOBAL else "which regaudit does not know"
        text = f"The graph calls {quoted(target)}, {harm}; it was not called."
        yield Remark(kind=kind, where=program.prefix, text=text)


def _judged(target: str) -> str:
    if target.startswith(_READS_FILES):
        return UNSAFE_GLOBAL
    if _OPERATOR.fullmatch(target) or _ARITHMETIC.fullmatch(target):
        return ""
    return UNKNOWN_GLOBAL if _LIBRARY.fullmatch(target) else UNSAFE_GLOBAL


def _is_plain(code: str) -> bool:
    """Return whether an expression only compares and combines sizes."""
    called = {match[1].rpartition(".")[2] for match in _CALLED.finditer(code)}
    is_known = all(name in _MAY_CALL or name[0].isupper() for name in called)
    return is_known and "__" not in code and "lambda" not in code and not _CALLS_A_VALUE.search(code)


def _expressions(value: object) -> Iterator[str]:
    """Yield every symbolic expression; JSON's nesting is bounded by its parser, ours by a list."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            if isinstance(text := each.get("expr_str"), str):
                yield text
            left.extend(inner for inner in each.values() if isinstance(inner, dict | list))
        elif isinstance(each, list):
            left.extend(inner for inner in each if isinstance(inner, dict | list))


def _remarks_on_pickles(archive: Archive, root: str, members: list[str]) -> Iterator[Remark]:
    """Yield what the pickles in the archive want to call: sample inputs, pickled weights and constants."""
    samples = [name for name in archive.names if name.startswith(f"{root}data/sample_inputs/")]
    seen: set[str] = set()
    for member in dict.fromkeys((*samples, *members)[: limits.EXPORT_PICKLES.value]):
        for remark in _remarks_on_member(archive, member):
            if remark.text not in seen:
                seen.add(remark.text)
                yield replace(remark, where=f"{archive.path.name}: {member}")


def _remarks_on_member(archive: Archive, member: str) -> tuple[Remark, ...]:
    try:
        offset = archive.offset(member)
        if offset is None:
            return ()
        return open_archive(WindowArchive(Window(archive.source, offset, archive.size(member)))).remarks
    except CheckpointError:  # no part of the model: it is never read
        return ()
