"""TorchScript programs (`torch.jit.save`): the network's objects in a pickle, its classes as text, its weights in place.

Read without torch: the pickle gives inert records, of the program's text a few fixed forms are read. Nothing is run.

Source: torch/csrc/jit/serialization (export_module.cpp, pickler.cpp), PyTorch 2.13.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits, pickles
from regaudit.checkpoints.archive import Archive
from regaudit.checkpoints.base import CONTAINS_CODE, Candidate, Checkpoint, Format
from regaudit.checkpoints.pickles import Call, Global
from regaudit.checkpoints.torch_checkpoint import Opened, listed, reader, remarks_on_names, remarks_on_tensors
from regaudit.checkpoints.torch_contents import Tree, is_float
from regaudit.checkpoints.torch_declared import describe, in_module
from regaudit.checkpoints.torch_objects import View, fields, storage
from regaudit.checkpoints.torch_script_code import Behaviour, ScriptClass, behaviour, classes, plain_name
from regaudit.checkpoints.torch_script_frozen import constants_used
from regaudit.checkpoints.torch_storages import ArchiveBlocks, Storages
from regaudit.errors import CheckpointError, CorruptCheckpoint
from regaudit.records import Declared, Module, Remark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


_PICKLE = re.compile(r"(?P<root>(?:[^/]+/)?)data\.pkl")
# Names that only say the type of a list or dict; torch.jit writes them, and nothing else of torch.jit.
_TYPES = "torch.jit._pickle"
_TYPED = frozenset(f"build_{kind}list" for kind in ("int", "double", "bool", "tensor")) | {"restore_type_tag"}


def open_script(path: Path) -> Checkpoint:
    """Open a TorchScript program.

    Args:
        path: The file.

    Returns:
        The tensors of its `state_dict` under their attribute paths, and its modules. Tensors that are plain attributes
        are apart. Of a frozen program the tensors are its constants.

    Raises:
        CheckpointError: The file is corrupt or unsafe, or holds no weights.
    """
    archive = Archive(path)
    try:
        return _checkpoint(archive)
    except CheckpointError:
        archive.close()
        raise


def _claims(candidate: Candidate) -> bool:
    roots = [match["root"] for name in candidate.members if (match := _PICKLE.fullmatch(name))]
    return any(
        name.startswith((f"{root}code/", f"{root}constants.pkl")) for root in roots for name in candidate.members
    )


FORMAT = Format(name="TorchScript", claims=_claims, open=lambda candidate: open_script(candidate.path))


def _checkpoint(archive: Archive) -> Checkpoint:
    found = [match for name in archive.names if (match := _PICKLE.fullmatch(name))]
    if len(found) != 1:
        raise CorruptCheckpoint(str(archive.path), f"a program has one member data.pkl, this has {len(found)}")
    program = _Program(archive, found[0]["root"])
    network = _open(archive, found[0]["root"], "data", program.children)
    if any(is_float(view) for _, view in network.tree.tensors(network.root)):
        return _of_objects(network, program)
    return _of_constants(_open(archive, found[0]["root"], "constants", _entries), program)


def _of_objects(network: Opened, program: _Program) -> Checkpoint:
    """Return the checkpoint of a program whose objects hold their weights."""
    found = list(network.tree.tensors(network.root))
    tensors, views = listed(found, network)
    used = {view.data for view in views.values()}
    attributes = network.tree.through(program.attributes).tensors(network.root)
    others = [(name, view) for name, view in attributes if isinstance(view, View) and view.data not in used]
    apart, apart_views = listed(others, network)
    modules, declared = program.modules(network)
    return Checkpoint(
        path=str(network.path),
        format=network.format,
        nbytes=network.nbytes,
        tensors=tensors,
        read=reader(network.path, network.storages, apart_views | views),
        apart=apart,
        modules=modules,
        declared=declared,
        remarks=(*network.remarks, *remarks_on_tensors(found), *program.remarks()),
        close=network.close,
    )


def _of_constants(constants: Opened, program: _Program) -> Checkpoint:
    """Return the checkpoint of a frozen program: its weights are constants of its code, which tells their use.

    Raises:
        CheckpointError: None of its constants are weights.
    """
    found = [(f"CONSTANTS.c{name}", view) for name, view in constants.tree.tensors(constants.root)]
    if not any(is_float(view) for _, view in found):
        raise CheckpointError(
            str(constants.path), "is a TorchScript program without weights", "Give the file that holds the model."
        )
    tensors, views = listed(found, constants)
    tensors, modules = constants_used(tensors, program.text())
    return Checkpoint(
        path=str(constants.path),
        format=f"{constants.format}, frozen",
        nbytes=constants.nbytes,
        tensors=tensors,
        read=reader(constants.path, constants.storages, views),
        modules=modules,
        remarks=(*constants.remarks, *remarks_on_tensors(found), *program.remarks()),
        close=constants.close,
    )


def _open(archive: Archive, root: str, name: str, children: Callable[[object], dict[object, object]]) -> Opened:
    member = f"{root}{name}.pkl"
    raw = archive.read(member, limit=limits.PICKLE_BYTES)
    where = f"{archive.path}: {member}"
    pickled = pickles.load(raw, persistent=storage, where=where)
    return Opened(
        path=archive.path,
        nbytes=archive.source.size,
        format="TorchScript",
        storages=Storages(ArchiveBlocks(archive, f"{root}{name}/", f"{root}byteorder")),
        member=member,
        root=pickled.value,
        tree=Tree(where, len(raw), children),
        remarks=remarks_on_names(pickled, f"{archive.path.name}: {member}", harmless=_is_type),
        close=archive.close,
    )


def _is_type(name: object) -> bool:
    return isinstance(name, Global) and name.module == _TYPES and name.name in _TYPED


def _unwrapped(value: object) -> object:
    """Return the list or dict itself of one whose type the pickle says, too."""
    return value.args[0] if isinstance(value, Call) and _is_type(value.function) and value.args else value


class _Program:
    """The text of a program, read file by file as its objects need them."""

    def __init__(self, archive: Archive, root: str) -> None:
        self._archive = archive
        self._root = root
        self._files: dict[str, dict[str, ScriptClass]] = {}
        self._behaviours: dict[int, Behaviour] = {}
        self._left = limits.TORCHSCRIPT_CODE_BYTES.value
        self._unparsed = limits.TORCHSCRIPT_PARSED.value

    def children(self, value: object) -> dict[object, object]:
        """Return the submodules, parameters and buffers of an object; what lies in a list, dict or packed parameter.

        An object whose class is not there may have any tensor as a parameter; lists repeat those of an RNN.
        """
        inner, state = _entries(value), self._class_of(value).state
        if not _is_object(value) or _is_packed(value):
            return inner
        return {
            name: each
            for name, each in inner.items()
            if _is_object(each) or (isinstance(each, Call) if state is None else name in state)
        }

    def attributes(self, value: object) -> dict[object, object]:
        """Return the submodules of an object, and what is neither parameter nor buffer of it."""
        state = self._class_of(value).state
        if state is None:
            return {} if isinstance(value, Call) else _entries(value)
        return {name: each for name, each in _entries(value).items() if _is_object(each) or name not in state}

    def modules(self, network: Opened) -> tuple[tuple[Module, ...], tuple[Declared, ...]]:
        """Return the modules of a network, and the dropout that they declare."""
        found: list[Module] = []
        declared: list[Declared] = []
        bent: dict[str, str] = {}
        for path, node in network.tree.walk(network.root, ""):
            if not _is_object(node) or _is_packed(node):
                continue
            known = self._class_of(node)
            does = self._behaviour_of(node, known)
            prefix = f"{path}." if path else ""
            bent |= {f"{prefix}{child}": each for child, each in does.activations.items()}
            plain = describe(path, node)
            settings = {**known.settings, **plain.settings}
            module = replace(plain, type=_name_of(node), activation=bent.get(path, ""), settings=settings)
            found.append(module)
            declared += in_module(module, network.path.name) or _in_code(module, does, network.path.name)
        return tuple(found), tuple(declared)

    def text(self) -> str:
        """Return the whole text, as far as the budget goes."""
        return "\n".join(self._read(name) for name in self._names())

    def remarks(self) -> tuple[Remark, ...]:
        """Return that there is a program."""
        count = len(self._names())
        if not count:
            return ()
        text = f"The file holds the network's program as TorchScript ({count:,} files); it was read as text, not run."
        return (Remark(kind=CONTAINS_CODE, where=f"{self._archive.path.name}: {self._root}code/", text=text),)

    def _behaviour_of(self, value: object, known: ScriptClass) -> Behaviour:
        """Return what a class's `forward` does; it is read once, however many objects the class has."""
        if not known.forward:
            return Behaviour()
        if id(known) not in self._behaviours:  # all classes are kept, so that no id comes twice
            self._unparsed -= sum(map(len, known.forward))
            if self._unparsed < 0:
                return Behaviour()
            kinds = {str(name): _name_of(each) for name, each in _entries(value).items() if _is_object(each)}
            self._behaviours[id(known)] = behaviour(known.forward, kinds)
        return self._behaviours[id(known)]

    def _class_of(self, value: object) -> ScriptClass:
        match value:
            case Call(function=Global(module=module, name=name)) if _is_object(value):
                file = f"{self._root}code/{module.replace('.', '/')}.py"
                if file not in self._files:
                    self._files[file] = classes(self._read(file))
                return self._files[file].get(name, ScriptClass())
            case _:
                return ScriptClass()

    def _names(self) -> list[str]:
        return [n for n in self._archive.names if n.startswith(f"{self._root}code/") and n.endswith(".py")]

    def _read(self, name: str) -> str:
        if name not in self._archive.names or self._archive.size(name) > self._left:
            return ""
        self._left -= self._archive.size(name)
        return self._archive.read(name, limit=limits.TORCHSCRIPT_CODE_BYTES).decode("utf-8", "replace")


def _in_code(module: Module, does: Behaviour, file: str) -> tuple[Declared, ...]:
    where = f"{file}: forward of {module.name or module.type}"
    return tuple(
        Declared(target=module.name, site="activity", kind="dropout", value=rate, where=where) for rate in does.dropout
    )


def _is_object(value: object) -> bool:
    return isinstance(value, Call) and isinstance(value.function, Global) and _is_of_program(value.function.module)


def _is_packed(value: object) -> bool:
    """Return whether an object is of a class in C++: the packed weights of a quantised layer."""
    return _name_of(value).startswith("torch.classes.")


def _is_of_program(module: str) -> bool:
    return module == "__torch__" or module.startswith("__torch__.")


def _name_of(value: object) -> str:
    return plain_name(value.function.path) if isinstance(value, Call) and isinstance(value.function, Global) else ""


def _entries(value: object) -> dict[object, object]:
    """Return the attributes of an object of the program, or what is in a list or dict."""
    state = value.state if isinstance(value, Call) else value
    inner = fields(_unwrapped(state)) if isinstance(_unwrapped(state), dict | list | tuple) else {}
    return {name: _unwrapped(each) for name, each in inner.items()}
