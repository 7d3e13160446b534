"""The standard deviation of a kernel's declared initialisation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.records import Axis, Layer, Module, Role, Use

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.layers.architecture import Architecture

# Standard deviation of a normal cut off at two standard deviations, over that of the normal
# (Keras' TruncatedNormal does not correct for it; science.md A1.2).
_TRUNCATION = 0.87962566103423978
_FROM_CONFIG = frozenset({Role.DENSE, Role.ATTENTION, Role.EMBEDDING, Role.POSITIONAL})

# VarianceScaling in Keras' terms: variance = scale / fan (keras.initializers, 3.x).
_SCALINGS: dict[str, tuple[float, str]] = {
    "Glorot": (1.0, "fan_avg"),
    "He": (2.0, "fan_in"),
    "Lecun": (1.0, "fan_in"),
}


def initial_std(layer: Layer, module: Module | None, architecture: Architecture) -> float | None:
    """Return the standard deviation at initialisation that the file declares for a kernel.

    Args:
        layer: The layer, its kernel oriented.
        module: What the file says of it: Keras' `kernel_initializer` and its numbers among the settings.
        architecture: The configuration, whose `initializer_range` holds for linear weights and embeddings.

    Returns:
        The standard deviation, in the unit of the weights; None where nothing is declared.
    """
    kernel = layer.get(Use.KERNEL)
    if kernel is None:
        return None
    if module is not None and layer.role is not Role.RECURRENT:
        return _keras(
            module.settings,
            kernel.extent(Axis.IN) * kernel.extent(Axis.TAP),
            kernel.extent(Axis.OUT) * kernel.extent(Axis.TAP),
        )
    return architecture.initializer_range if layer.role in _FROM_CONFIG else None


def _keras(settings: Mapping[str, str | int | float | bool], fan_in: int, fan_out: int) -> float | None:
    key = next((k for k in ("kernel_initializer", "embeddings_initializer") if k in settings), "")
    name = settings.get(key)
    if not isinstance(name, str):
        return None
    number = {n: _number(settings.get(f"{key}.{n}")) for n in ("stddev", "minval", "maxval", "scale")}
    if name in {"RandomNormal", "TruncatedNormal"} and number["stddev"] is not None:
        return number["stddev"] * (_TRUNCATION if name == "TruncatedNormal" else 1.0)
    if name == "RandomUniform" and number["minval"] is not None and number["maxval"] is not None:
        return (number["maxval"] - number["minval"]) / math.sqrt(12.0)
    scale, mode = next((s for prefix, s in _SCALINGS.items() if name.startswith(prefix)), (number["scale"], "fan_in"))
    if name == "VarianceScaling":
        mode = str(settings.get(f"{key}.mode", "fan_in"))
    if scale is None or not name.endswith(("Uniform", "Normal", "Scaling")):
        return None
    fan = {"fan_in": fan_in, "fan_out": fan_out}.get(mode, (fan_in + fan_out) / 2)
    return math.sqrt(scale / fan) if scale > 0 and fan > 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
