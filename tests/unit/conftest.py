"""Hand-made audits: a layer is a role, a kernel shape and the measurements that a test needs."""

import numpy as np
import pytest

from regaudit.records import (
    Audit,
    Axis,
    Coverage,
    Input,
    Layer,
    LayerAudit,
    Measurement,
    Parameter,
    Role,
    Use,
)


def parameter(use, array, axes, *, dtype="F32", tensors=("weight",)):
    array = np.asarray(array)
    return Parameter(
        use=use,
        tensors=tensors,
        dtype=dtype,
        shape=array.shape,
        axes=axes,
        load=lambda start, stop: np.ascontiguousarray(array[start:stop]),
    )


@pytest.fixture
def make_layer():
    def make(name="fc1", shape=(64, 128), *, role=Role.DENSE, bias=True, dtype="F32", values=None, **fields):
        axes = (Axis.OUT, Axis.IN, *[Axis.TAP] * (len(shape) - 2))
        parameters = [parameter(Use.KERNEL, np.empty(shape, "f4"), axes, dtype=dtype)]
        if bias:
            parameters.append(parameter(Use.BIAS, np.empty(shape[:1], "f4"), (Axis.OUT,)))
        layer = Layer(name=name, role=role, parameters=tuple(parameters), **fields)
        measured = tuple(Measurement(layer=name, measure=m, value=v) for m, v in (values or {}).items())
        return LayerAudit(layer=layer, measurements=measured)

    return make


@pytest.fixture
def make_audit():
    def make(*layers, declared=(), **fields):
        source = Input(path="model.safetensors", format="safetensors", bytes=0, tensors=0, parameters=0)
        coverage = Coverage(tensors=0, measured=0)
        return Audit(inputs=(source,), coverage=coverage, layers=layers, declared=declared, **fields)

    return make
