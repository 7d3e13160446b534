"""The objects in a skops file (scikit-learn): a zip archive of `schema.json` and one `.npy` for each array.

The schema is a tree of nodes, each with the class that skops would build and the loader that would build it. Nothing is
built: of all loaders only those of containers, plain values and arrays are followed.

Source: skops/io (`_general.py`, `_numpy.py`, `_utils.py`), skops 0.16, protocol 2.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import limits
from regaudit.checkpoints.estimators import Object, Refused
from regaudit.checkpoints.numpy_arrays import _Stored as Stored
from regaudit.checkpoints.numpy_arrays import _stored
from regaudit.checkpoints.pickles import Global, Pickled
from regaudit.checkpoints.text import parse_object, quoted
from regaudit.errors import CorruptCheckpoint, UnknownFormat, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from regaudit.checkpoints.archive import Archive

SCHEMA = "schema.json"

_OBJECTS = frozenset({"ObjectNode", "TreeNode", "LossNode", "ReduceNode"})
_SPARSE = "SparseMatrixNode"
_LISTS = frozenset({"ListNode", "TupleNode"})
_DICTS = frozenset({"DictNode", "DefaultDictNode", "OrderedDictNode"})


class SkopsObjects:
    """The content of the file, node by node."""

    def __init__(self, archive: Archive) -> None:
        """Read the schema; the arrays stay in the archive."""
        self.where = str(archive.path)
        raw = archive.read(SCHEMA, limit=limits.JSON_BYTES)
        self._archive = archive
        self.root: dict[str, Any] = parse_object(raw, f"{archive.path}: {SCHEMA}")
        self.named = Pickled(value=None, globals=tuple(_named(self.root, raw)), calls=())
        self._arrays: dict[str, Stored | Refused] = {}

    def look(self, node: object) -> object:
        """Return what a node of the schema is.

        Raises:
            CorruptCheckpoint: It is an array that contradicts itself, or a value that is none.
        """
        if not isinstance(node, dict):
            return None
        loader, content = node.get("__loader__"), node.get("content")
        if loader in _DICTS:
            return content if isinstance(content, dict) else {}
        if loader in _LISTS:
            return content if isinstance(content, list) else []
        if loader == "JsonNode":
            return self._plain(content)
        if loader == "NdArrayNode":
            return self._array(node.get("file"))
        if loader == _SPARSE:
            return Refused(reason="it is a sparse matrix of scipy")
        return self._object(node) if loader in _OBJECTS else None

    def identity(self, node: object) -> Hashable:
        """Return the number that skops gave an object: it writes one that is used twice out twice."""
        number = node.get("__id__") if isinstance(node, dict) else None
        return number if isinstance(number, int) else id(node)

    def _plain(self, content: object) -> object:
        """Return a plain value, which is JSON in a string of the JSON.

        Raises:
            CorruptCheckpoint: The string is none.
        """
        if not isinstance(content, str) or len(content) > limits.SKOPS_VALUE.value:
            return None
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            where = f"{self.where}: {SCHEMA}"
            raise CorruptCheckpoint(where, f"holds the value {quoted(content)}, which is no JSON") from error
        return value if isinstance(value, str | int | float | bool) else None

    def _array(self, member: object) -> Stored | Refused:
        """Return the array in a member, the same one for every node that names it."""
        if not isinstance(member, str):
            return Refused(reason="it is a numpy array of objects")
        if member not in self._arrays:
            self._arrays[member] = self._opened(member)
        return self._arrays[member]

    def _opened(self, member: str) -> Stored | Refused:
        def read_at(offset: int, count: int) -> bytes:
            return self._archive.read_at(member, offset, count)

        where = f"{self.where}: {quoted(member)}"
        try:
            return _stored(read_at, self._archive.size(member), name="", source=member, where=where)
        except (UnknownFormat, UnsafeCheckpoint) as error:
            return Refused(reason=f"it {error.problem}")

    def _object(self, node: dict[str, Any]) -> Object:
        """Return an object; its state is a dict, or a pair of that and its slots."""
        state = self.look(node.get("content"))
        if isinstance(state, list):
            state = self.look(state[0]) if state else None
        attributes = state if isinstance(state, dict) else {}
        return Object(type=_path(node), attributes=attributes)


def _named(root: dict[str, Any], raw: bytes) -> Iterator[Global]:
    """Yield the class or function that each node names; a place is that of the name's first mention."""
    seen: set[tuple[str, str]] = set()
    stack: list[object] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack.extend(node.values())
            for keys in (("__module__", "__class__"), ("module_path", "function")):
                module, name = (node.get(key) for key in keys)
                if isinstance(module, str) and isinstance(name, str) and (module, name) not in seen:
                    seen.add((module, name))
                    yield Global(module=module, name=name, offset=max(raw.find(json.dumps(name).encode()), 0))
        elif isinstance(node, list):
            stack.extend(node)


def _path(node: dict[str, Any]) -> str:
    module, name = node.get("__module__"), node.get("__class__")
    if not (isinstance(module, str) and isinstance(name, str)):
        return "object"
    return Global(module=module, name=name, offset=0).path
