"""Layers over numpy arrays, so that measures are tested without files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from regaudit.records import Axis, Layer, Parameter, Role, Use

MakeParameter: TypeAlias = Callable[..., Parameter]
MakeLayer: TypeAlias = Callable[..., Layer]

AXES = (Axis.OUT, Axis.IN, Axis.TAP, Axis.TAP)


@pytest.fixture(scope="session")
def make_parameter() -> MakeParameter:
    """Return a parameter that serves rows of an array."""

    def make(array, use=Use.KERNEL, axes=None, dtype="F32", tensors=("layer.weight",)):
        array = np.asarray(array)
        return Parameter(
            use=use,
            tensors=tensors,
            dtype=dtype,
            shape=array.shape,
            axes=AXES[: array.ndim] if axes is None else axes,
            load=lambda start, stop: array[start:stop] if array.ndim else array,
        )

    return make


@pytest.fixture(scope="session")
def make_layer(make_parameter) -> MakeLayer:
    """Return a layer with a kernel and, if given, a bias."""

    def make(kernel, bias=None, axes=None, dtype="F32", tensors=("layer.weight",), role=Role.DENSE, **fields):
        parameters = [make_parameter(kernel, axes=axes, dtype=dtype, tensors=tensors)]
        if bias is not None:
            parameters.append(make_parameter(bias, Use.BIAS, axes=(Axis.OUT,), tensors=("layer.bias",)))
        return Layer(name=fields.pop("name", "layer"), role=role, parameters=tuple(parameters), **fields)

    return make
