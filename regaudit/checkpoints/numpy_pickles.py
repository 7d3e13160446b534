"""Pickled dicts of arrays: JAX' (Haiku, Flax), PaddlePaddle's `.pdparams`, and anyone's own. Nothing is executed.

The arrays lie within the pickle, which is read as inert records and therefore whole; larger files than
the limit pickle-bytes are refused.

Source: jax/_src/array.py (`_reconstruct_array`, JAX 0.12); paddle/framework/io.py (`_build_saved_state_dict`, 3.2).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regaudit.checkpoints import jax_trees, limits, pickles
from regaudit.checkpoints.base import UNREADABLE_TENSOR, Candidate, Checkpoint, Format
from regaudit.checkpoints.dtypes import DTYPES, decode
from regaudit.checkpoints.paddle import NAMES, as_in_paddle, modules
from regaudit.checkpoints.pickle_globals import remarks as remarks_on_globals
from regaudit.checkpoints.pickles import Call, Global
from regaudit.checkpoints.source import read_whole
from regaudit.checkpoints.text import quoted
from regaudit.checkpoints.torch_objects import Refused, View, fields, tensor
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Remark, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import Array


_START = re.compile(rb"\x80[\x02-\x05]")
_ARRAYS = (b"numpy", b"_reconstruct_array", NAMES.encode())
_OTHERS = (b"torch", b"sklearn", b"joblib", b"xgboost", b"lightgbm", b"catboost")
_BFLOAT16 = "ml_dtypes.bfloat16"


class _Found(NamedTuple):
    """An array of the tree, and the record that it came from."""

    name: str
    record: Call
    array: View | Refused


def _claims(candidate: Candidate) -> bool:
    head = candidate.head
    is_ours = _START.match(head) is not None and any(mark in head for mark in _ARRAYS)
    return is_ours and not any(mark in head for mark in _OTHERS)


def _open(candidate: Candidate) -> Checkpoint:
    path, where = candidate.path, str(candidate.path)
    raw = read_whole(path, limit=limits.PICKLE_BYTES)
    pickled = pickles.load(raw, persistent=_no_persistent, where=where)
    walk = _Walk(where, len(raw))
    found = list(walk.arrays(pickled.value, ""))
    views = {each.name: each.array for each in found if isinstance(each.array, View)}
    refused = {each.name: each.array for each in found if isinstance(each.array, Refused)}
    tensors = tuple(_tensors(found, path.name))
    table = pickled.value.get(NAMES) if isinstance(pickled.value, dict) else None
    if isinstance(table, dict):
        tensors = as_in_paddle(tensors, table, where)

    def read(each: Tensor, start: int, stop: int) -> Array:
        return _read(views[each.name], each.dtype, start, stop)

    remarks = (*remarks_on_globals(pickled, path.name), *_unreadable(refused, path.name))
    checkpoint = jax_trees.checkpoint(path, _words(pickled, table), len(raw), tensors, read, remarks=remarks)
    return replace(checkpoint, modules=modules(checkpoint.tensors, table)) if isinstance(table, dict) else checkpoint


FORMAT = Format(name="pickled arrays", claims=_claims, open=_open)


def _no_persistent(key: object) -> object:
    """Refuse a persistent id, which means something to PyTorch only.

    Raises:
        ValueError: Always.
    """
    del key
    raise ValueError("a persistent id")


def _words(pickled: pickles.Pickled, table: object) -> str:
    if isinstance(table, dict):
        return "PaddlePaddle parameters"
    is_jax = any(each.module.partition(".")[0] in {"jax", "jaxlib", "flax", "haiku"} for each in pickled.globals)
    return "pickled JAX arrays" if is_jax else "pickled numpy arrays"


class _Walk:
    """A walk through dicts, lists and objects, with a budget: a pickle may hold a container in itself."""

    def __init__(self, where: str, pickle_bytes: int) -> None:
        self._where = where
        self._steps_left = 1000 + 4 * pickle_bytes  # a plain tree has fewer entries than its pickle has bytes

    def arrays(self, node: object, name: str, depth: int = limits.OBJECT_DEPTH.default) -> Iterator[_Found]:
        """Yield every array below a node, under its path.

        Raises:
            UnsafeCheckpoint: The walk goes in circles.
        """
        inner = () if isinstance(node, str | bytes | int | float | None) else _children(node).items()
        self._steps_left -= 1 + len(name) // 64
        if self._steps_left < 0 or len(name) > limits.NAME_CHARACTERS.value or not depth:
            raise UnsafeCheckpoint(
                self._where, f"the containers around {quoted(name[:40])} hold each other without end"
            )
        if isinstance(node, Call) and (array := self._array(node, name)) is not None:
            yield _Found(name or "array", node, array)
            return
        if isinstance(node, tuple) and len(node) == 2 and node[0] == name:
            yield from self.arrays(node[1], name, depth - 1)  # Paddle: (name, array)
            return
        for key, child in inner:
            if isinstance(key, str | int) and key != NAMES:
                yield from self.arrays(child, f"{name}/{key}" if name else str(key), depth - 1)

    def _array(self, record: Call, name: str) -> View | Refused | None:
        try:
            return _array(record)
        except ValueError as error:
            raise CorruptCheckpoint(self._where, f"the array {quoted(name)} contradicts itself: {error}") from error


def _children(node: object) -> dict[object, object]:
    """Return the parts of a container or object; of one that only wraps a dict (FrozenDict), the dict's."""
    if isinstance(node, Call) and not fields(node):
        return fields(node.args[0] if len(node.args) == 1 else node.args)
    return fields(node)


def _array(record: Call) -> View | Refused | None:
    """Return the array that a record stands for; None where it stands for something else.

    Raises:
        ValueError: It contradicts itself.
    """
    match record:
        case Call(function=Global(name="_reconstruct_array"), args=(Global() as function, tuple(args), state, *_)):
            return _array(Call(function=function, args=args, state=state, offset=record.offset))
        case Call(state=(int(version), shape, Call(args=(Global() as kind, *_)) as dtype, fortran, raw)):
            if kind.path == _BFLOAT16:  # numpy knows it by its class only: read its codes, then call them what they are
                codes = Call(function=dtype.function, args=("u2",), offset=dtype.offset)
                view = tensor(replace(record, state=(version, shape, codes, fortran, raw)))
                return replace(view, dtype="BF16") if isinstance(view, View) else view
        case _:
            pass
    found = tensor(record)
    return found if not isinstance(found, View) or isinstance(found.data, bytes) else None


def _tensors(found: list[_Found], source: str) -> Iterator[Tensor]:
    first: dict[Call, str] = {}
    for name, record, array in found:
        if isinstance(array, View):
            owner = first.setdefault(record, name)
            yield Tensor(
                name=name,
                shape=array.shape,
                dtype=array.dtype,
                nbytes=array.size * array.itemsize,
                source=source,
                shares="" if owner == name else owner,
            )


def _read(view: View, dtype: str, start: int, stop: int) -> Array:
    if not isinstance(view.data, bytes):
        raise TypeError("an array of a pickle without storages has its bytes with it")
    kind = np.dtype(DTYPES[dtype].raw)
    codes: Array = np.frombuffer(view.data, kind.newbyteorder(">") if view.big_endian else kind)
    part = codes[start:stop] if view.is_contiguous else codes.reshape(view.shape, order="F").flat[start:stop]
    return decode(dtype, part.astype(kind).tobytes())


def _unreadable(refused: dict[str, Refused], where: str) -> Iterator[Remark]:
    for name, array in refused.items():
        text = f"The array {quoted(name)} was not read: {array.reason}."
        yield Remark(kind=UNREADABLE_TENSOR, where=where, text=text)
