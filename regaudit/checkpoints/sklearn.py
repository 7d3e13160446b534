"""Linear models and MLPs of scikit-learn: `.skops`, `.joblib` and `.pkl`, read without scikit-learn and without unpickling.

Pipelines, searches and ensembles are walked; every estimator in them with `coef_` or `coefs_` is audited. Arrays stay in
the file until they are read.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from regaudit.checkpoints.archive import Archive
from regaudit.checkpoints.base import Candidate, Checkpoint, Format
from regaudit.checkpoints.estimators import Object, estimators, join, weights
from regaudit.checkpoints.moments import as_step, certain
from regaudit.checkpoints.numpy_arrays import _Reader
from regaudit.checkpoints.pickle_globals import remarks
from regaudit.checkpoints.pickled_objects import PickledObjects
from regaudit.checkpoints.sklearn_declared import declared
from regaudit.checkpoints.skops import SCHEMA, SkopsObjects
from regaudit.checkpoints.source import Source
from regaudit.errors import CheckpointError, UnknownFormat
from regaudit.records import Moments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from regaudit.checkpoints.estimators import Estimator, Tree, Weights
    from regaudit.checkpoints.pickles import Pickled
    from regaudit.records import Tensor

_PROTOCOLS = tuple(b"\x80" + bytes([version]) for version in (2, 3, 4, 5))
_MARKS = (b"sklearn", b"joblib.numpy_pickle")
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b")  # zlib at each level, and gzip
_SUFFIXES = (".joblib", ".pkl", ".pickle")
_OTHERS = (b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00\x00", b"\x04\x22\x4d\x18", b"ZF")  # bzip2, xz, lzma, lz4, early joblib


def _is_pickle(head: bytes) -> bool:
    return head.startswith(_PROTOCOLS) and any(mark in head for mark in _MARKS)


def _is_skops(candidate: Candidate) -> bool:
    return not candidate.is_directory and SCHEMA in candidate.members


def _is_compressed(candidate: Candidate) -> bool:
    """Return whether this is a compressed pickle, as `joblib.dump(…, compress=3)` writes."""
    if candidate.head.startswith(_ZLIB):
        return _inflated(candidate.head).startswith(_PROTOCOLS)
    return candidate.head.startswith(_OTHERS) and candidate.path.suffix.lower() in _SUFFIXES


def _inflated(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(head, 2)  # | 32: zlib or gzip, by their headers
    except zlib.error:
        return b""


def _claims(candidate: Candidate) -> bool:
    return _is_skops(candidate) or _is_pickle(candidate.head) or _is_compressed(candidate)


def _open(candidate: Candidate) -> Checkpoint:
    if _is_skops(candidate):
        return _open_skops(candidate)
    if _is_compressed(candidate):
        raise UnknownFormat(
            str(candidate.path),
            "is a compressed pickle, as joblib.dump(…, compress=…) writes",
            "Save it uncompressed: joblib.dump(joblib.load('old'), 'new.joblib'), or with skops.",
        )
    source = Source(candidate.path)
    try:
        tree = PickledObjects(source)
        return _checkpoint(candidate, tree, tree.pickled.value, tree.pickled, source.close)
    except CheckpointError:
        source.close()
        raise


FORMAT = Format(name="scikit-learn", claims=_claims, open=_open)


def _open_skops(candidate: Candidate) -> Checkpoint:
    archive = Archive(candidate.path)
    try:
        tree = SkopsObjects(archive)
        return _checkpoint(candidate, tree, tree.root, tree.named, archive.close)
    except CheckpointError:
        archive.close()
        raise


def _checkpoint(
    candidate: Candidate, tree: Tree, root: object, named: Pickled, close: Callable[[], None]
) -> Checkpoint:
    path = candidate.path
    found = estimators(tree, root)
    collected = weights(found, candidate.size)
    if not collected.own:
        raise _nothing(candidate, tree.look(root), found, [each.text for each in collected.remarks])
    kind = _kind(tree.look(root)) or found[0].kind
    return Checkpoint(
        path=str(path),
        format=f"scikit-learn {kind}, {'skops' if _is_skops(candidate) else 'pickle'}",
        nbytes=candidate.size,
        tensors=tuple(each.tensor for each in collected.own),
        read=_Reader([*collected.own, *collected.apart]).read,
        apart=tuple(each.tensor for each in collected.apart),
        modules=tuple(collected.modules),
        declared=tuple(entry for each in found for entry in declared(each, path.name)),
        moments=_moments(found, collected),
        remarks=(*remarks(named, path.name), *collected.remarks),
        close=close,
    )


def _moments(found: tuple[Estimator, ...], collected: Weights) -> tuple[Moments, ...]:
    """Return what `AdamOptimizer` keeps: `ms` and `vs` are lists of all kernels, then all biases."""
    tensors = [each.tensor for each in collected.own]
    stored = {each.tensor.name: each.tensor for each in (*collected.own, *collected.apart)}
    return certain(tensors, (moments for each in found for moments in _of_perceptron(each, stored)))


def _of_perceptron(each: Estimator, stored: Mapping[str, Tensor]) -> Iterator[Moments]:
    state = each.get("_optimizer")
    step = as_step(each.tree.look(state.attributes.get("t"))) if isinstance(state, Object) else None
    weights = [join(each.path, f"{key}.{i}") for key in ("coefs_", "intercepts_") for i in range(_count(each, key))]
    for i, name in enumerate(weights):
        first, second = (stored.get(join(each.path, f"_optimizer.{key}.{i}")) for key in ("ms", "vs"))
        if first and second:
            yield Moments(tensor=name, first=first, second=second, step=step)


def _count(each: Estimator, key: str) -> int:
    held = each.get(key)
    return len(held) if isinstance(held, list) else 0


def _kind(value: object) -> str:
    return value.type.rpartition(".")[2] if isinstance(value, Object) else ""


def _nothing(candidate: Candidate, root: object, found: tuple[Estimator, ...], refused: list[str]) -> CheckpointError:
    path, kind = str(candidate.path), _kind(root)
    if refused:
        return UnknownFormat(path, f"none of the arrays of its {found[0].kind} can be read. {refused[0]}")
    what = f"is a scikit-learn {kind}" if kind else "is a pickle, as scikit-learn and joblib write,"
    return UnknownFormat(
        path,
        f"{what} without coef_ or coefs_: not fitted, or no linear model and no MLP",
        "regaudit audits fitted linear models and MLPs.",
    )
