"""The standard deviation of a kernel's declared initialisation."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from regaudit.layers.bundles import find_module
from regaudit.layers.names import parent
from regaudit.records import Axis, Layer, Module, Parameter, Role, Use

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from regaudit.layers.architecture import Architecture

    Settings: TypeAlias = Mapping[str, str | int | float | bool]

# Standard deviation of a normal cut off at two standard deviations, over that of the normal
# (Keras' TruncatedNormal does not correct for it).
_TRUNCATION = 0.87962566103423978
_FROM_CONFIG = frozenset({Role.DENSE, Role.ATTENTION, Role.EMBEDDING, Role.POSITIONAL})

# VarianceScaling in Keras' terms: variance = scale / fan (keras.initializers, 3.x).
_SCALINGS: dict[str, tuple[float, str]] = {
    "Glorot": (1.0, "fan_avg"),
    "He": (2.0, "fan_in"),
    "Lecun": (1.0, "fan_in"),
}
_GATES = {"LSTM": 4, "GRU": 3}  # kernels of one step that Keras initialises as one


def initial_std(layer: Layer, modules: Mapping[str, Module], architecture: Architecture) -> float | None:
    """Return the standard deviation at initialisation that the file declares for a kernel.

    Args:
        layer: The layer, its kernel oriented.
        modules: What the file says of its modules, by path: Keras' `kernel_initializer` and its numbers are settings,
            of the module itself or of one that owns it (an LSTM its cell, an attention its projections).
        architecture: The configuration, whose `initializer_range` holds for linear weights and embeddings.

    Returns:
        The standard deviation, in the unit of the weights; None where nothing is declared.
    """
    kernel = layer.get(Use.KERNEL)
    if kernel is None:
        return None
    path, key = layer.name.partition("[")[0], _key(layer)
    settings = _settings(path, key, modules)
    if settings is not None:
        return _keras(settings, key, layer, kernel)
    if find_module(path, modules) is not None:
        return None
    return architecture.initializer_range if layer.role in _FROM_CONFIG else None


def keras_fans(layer: Layer, kernel: Parameter) -> tuple[int, int]:
    """Return fan-in and fan-out as Keras computes them.

    The last two axes count as in and out, whatever they are, and the others as a window; projections over heads
    (EinsumDense) by their real axes; the gates of a recurrent kernel together.

    Source: keras.initializers.compute_fans, EinsumDense (Keras 3.15).
    """
    heads = kernel.axes.count(Axis.OUT) + kernel.axes.count(Axis.IN) > 2
    if len(kernel.shape) < 2 or (heads and layer.role is not Role.DEPTHWISE):
        return kernel.extent(Axis.IN), kernel.extent(Axis.OUT)
    window = math.prod(kernel.shape[:-2])
    return window * kernel.shape[-2], window * kernel.shape[-1] * _gates(layer)


def keras_matrix(layer: Layer, kernel: Parameter) -> tuple[int, int]:
    """Return the shape of the matrix that Keras makes orthonormal: all axes but the last, and the last (all gates).

    Source: keras.initializers.Orthogonal (Keras 3.15).
    """
    columns = kernel.shape[-1]
    return kernel.size // columns, columns * _gates(layer)


def _gates(layer: Layer) -> int:
    """Return how many kernels were drawn as one: the gates of a cell, of which the layer is one."""
    if layer.role is not Role.RECURRENT or not layer.part:
        return 1
    return next((count for cell, count in _GATES.items() if cell in layer.op), 1)


def _key(layer: Layer) -> str:
    """Return Keras' name of the argument that initialises this kernel."""
    if layer.role is Role.EMBEDDING:
        return "embeddings_initializer"
    if layer.role is Role.DEPTHWISE:
        return "depthwise_initializer"
    if layer.role is Role.RECURRENT and "recurrent_kernel" in layer.name:
        return "recurrent_initializer"
    return "pointwise_initializer" if layer.part == "pointwise" else "kernel_initializer"


def _settings(path: str, key: str, modules: Mapping[str, Module]) -> Settings | None:
    """Return the settings of the nearest module, upwards, that declares this initializer."""
    while path:
        module = find_module(path, modules)
        if module is not None and key in module.settings:
            return module.settings
        path = parent(path)[:-1]
    return None


def _keras(settings: Settings, key: str, layer: Layer, kernel: Parameter) -> float | None:
    name = settings[key]
    if not isinstance(name, str):
        return None
    number = {n: _number(settings.get(f"{key}.{n}")) for n in ("stddev", "minval", "maxval", "scale", "gain")}
    if name in {"RandomNormal", "TruncatedNormal"} and number["stddev"] is not None:
        return number["stddev"] * (_TRUNCATION if name == "TruncatedNormal" else 1.0)
    if name == "RandomUniform" and number["minval"] is not None and number["maxval"] is not None:
        return (number["maxval"] - number["minval"]) / math.sqrt(12.0)
    if name.startswith("Orthogonal"):
        # Orthonormal rows (or columns) have Σw² = the smaller side (Saxe et al. 2014).
        return (number["gain"] or 1.0) / math.sqrt(max(keras_matrix(layer, kernel)))
    scale, mode = next((s for prefix, s in _SCALINGS.items() if name.startswith(prefix)), (number["scale"], "fan_in"))
    if name == "VarianceScaling":
        mode = str(settings.get(f"{key}.mode", "fan_in"))
    if scale is None or not name.endswith(("Uniform", "Normal", "Scaling")):
        return None
    fan_in, fan_out = keras_fans(layer, kernel)
    fan = {"fan_in": fan_in, "fan_out": fan_out}.get(mode, (fan_in + fan_out) / 2)
    return math.sqrt(scale / fan) if scale > 0 and fan > 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None  # not isfinite, which fails on large integers
