"""A small factory: arrays in, the audit of a model with those arrays out."""

from dataclasses import replace

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.records import Audit, Axis, Coverage, Input, Layer, LayerAudit, Measurement, Parameter, Role, Use
from regaudit.rules import run

AXES = {
    1: (Axis.OUT,),
    2: (Axis.OUT, Axis.IN),
    3: (Axis.OUT, Axis.IN, Axis.TAP),
    4: (Axis.OUT, Axis.IN, Axis.TAP, Axis.TAP),
}
WORDS = {Use.KERNEL: "weight", Use.SCALE: "weight", Use.MEAN: "running_mean", Use.VARIANCE: "running_var"}


class Model:
    """What tests build models with; `random` is seeded."""

    def __init__(self):
        self.random = np.random.default_rng(7)

    def noise(self, *shape):
        """Return a Gaussian kernel (out, in, taps...) with rows of norm about 1."""
        return self.random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))

    def layer(self, name, kernel=None, *, role=Role.DENSE, dtype="F32", tensors=1, more=(), **changes):
        """Return a measured layer; `bias=` and `more` (use, array) add parameters, `changes` set fields of the layer."""
        arrays = [(Use.KERNEL, kernel), (Use.BIAS, changes.pop("bias", None)), *more]
        parameters = tuple(parameter(name, use, array, dtype, tensors) for use, array in arrays if array is not None)
        return measure(Layer(name=name, role=role, parameters=parameters, **changes))

    def like_four(self, change=None, *, width=256, position=1, layers=4, **changes):
        """Return the layers of a clean dense model, one of them with another kernel or bias."""
        found = []
        for index in range(layers):
            arrays = {"kernel": self.noise(width, width), "bias": self.random.normal(size=width) * 0.01}
            extra = changes if index == position else {}
            if change is not None and index == position:
                arrays = change(arrays)
            found.append(self.layer(f"l{index}", arrays["kernel"], bias=arrays["bias"], **extra))
        return found


def parameter(name, use, array, dtype, tensors):
    array = np.asarray(array, np.float32)
    names = tuple(f"{name}.{WORDS.get(use, 'bias')}{'' if i == 0 else f'_{i}'}" for i in range(tensors))
    return Parameter(
        use=use,
        tensors=names,
        dtype=dtype,
        shape=array.shape,
        axes=AXES[array.ndim],
        load=lambda a, b: array[a:b].copy(),
    )


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def audited():
    """Return an audit of these layers, with other fields as given."""

    def build(*layers, **fields):
        source = Input(path="m.safetensors", format="safetensors", bytes=0, tensors=len(layers), parameters=0)
        coverage = Coverage(tensors=len(layers), measured=len(layers))
        return Audit(**{"inputs": (source,), "coverage": coverage, "layers": tuple(layers)} | fields)

    return build


@pytest.fixture
def findings(audited):
    """Return what the rules find in these layers as (name, layer, severity)."""

    def build(*layers, **fields):
        return [(f.name, f.layer, str(f.severity)) for f in run(audited(*layers, **fields))]

    return build


@pytest.fixture
def with_values():
    """Return a layer with some measurements replaced or added."""

    def build(each: LayerAudit, **values):
        names = {name.replace("__", "."): value for name, value in values.items()}
        kept = tuple(m for m in each.measurements if m.measure not in names)
        new = tuple(Measurement(layer=each.layer.name, measure=name, value=value) for name, value in names.items())
        return replace(each, measurements=(*kept, *new))

    return build
