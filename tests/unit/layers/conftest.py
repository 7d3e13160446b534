"""Checkpoints over dicts of arrays, and the laws that every grouping keeps."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.checkpoints.base import Checkpoint
from regaudit.layers import group
from regaudit.records import Tensor

_SPELLING = {
    "float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "int8": "I8", "uint8": "U8",
    "uint32": "U32", "bool": "BOOL", "complex64": "C64",
}  # fmt: skip


def _checkpoint(arrays, *, shares=None, dtypes=None, **fields):
    """Return an open checkpoint over arrays; `dtypes` overrides how a dtype is spelled."""
    shares, dtypes = shares or {}, dtypes or {}
    tensors = tuple(
        Tensor(
            name=name,
            shape=array.shape,
            dtype=dtypes.get(name, _SPELLING[array.dtype.name]),
            nbytes=array.nbytes,
            shares=shares.get(name, ""),
        )
        for name, array in arrays.items()
    )

    def read(tensor, start, stop):
        return arrays[tensor.name].reshape(-1)[start:stop].copy()

    return Checkpoint(path="model", format="arrays", nbytes=0, tensors=tensors, read=read, **fields)


def _numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _model(shapes, **fields):
    """Return a grouping over random arrays of these shapes, checked for the laws of every grouping."""
    arrays = {name: _numbers(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    return _checked(_checkpoint(arrays, **fields))


def _checked(opened):
    found = group(opened)
    names = [tensor.name for tensor in opened.tensors]
    used = {name for layer in found.layers for p in layer.parameters for name in p.tensors}
    skipped = [skip.tensor for skip in found.skipped]
    assert used | set(skipped) == set(names)
    assert not used & set(skipped)
    assert len(skipped) == len(set(skipped))
    assert list(found.roles) == names
    layers = [layer.name for layer in found.layers]
    assert len(layers) == len(set(layers))
    assert all(layers)
    for layer in found.layers:
        uses = [p.use for p in layer.parameters]
        assert len(uses) == len(set(uses))
        assert layer.evidence
        for p in layer.parameters:
            assert not p.axes or len(p.axes) == len(p.shape)
            if p.shape and p.size < 10**6:
                block = p.load(0, p.shape[0])
                assert block.shape == p.shape
                assert block.dtype in (np.float32, np.float64)
                assert block.flags.c_contiguous
                half = p.shape[0] // 2
                np.testing.assert_array_equal(np.concatenate([p.load(0, half), p.load(half, p.shape[0])]), block)
    return found


@pytest.fixture
def checkpoint():
    """Return the function that makes an open checkpoint over a dict of arrays."""
    return _checkpoint


@pytest.fixture
def numbers():
    """Return the function that draws float32 normal numbers of a shape."""
    return _numbers


@pytest.fixture
def checked():
    """Return the function that groups a checkpoint and checks the laws of every grouping."""
    return _checked


@pytest.fixture
def model():
    """Return the function that groups random arrays of given shapes, checked."""
    return _model


@pytest.fixture
def by_name():
    """Return a function from a grouping to its layers by name."""
    return lambda found: {layer.name: layer for layer in found.layers}
