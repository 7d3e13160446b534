"""RNN, GRU and LSTM modules: an input and a hidden kernel for each direction, cut into gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.layers.names import RECURRENT_LEAF, join
from regaudit.layers.split import Plan, parts
from regaudit.layers.values import Values, slab
from regaudit.records import Axis, Confidence, Layer, Parameter, Role, Use

if TYPE_CHECKING:
    from regaudit.layers.bundles import Bundle

# Order of the gates along the stacked axis (formats.md section 6).
_TORCH_GATES = {4: ("gate i", "gate f", "gate g", "gate o"), 3: ("gate r", "gate z", "gate n")}
_KERAS_GATES = {4: ("gate i", "gate f", "gate c", "gate o"), 3: ("gate z", "gate r", "gate h")}
_OPS = {4: "LSTM", 3: "GRU", 1: "RNN"}


def recurrent(bundle: Bundle) -> tuple[Layer, ...]:
    """Return the kernels of a recurrent module, gate by gate; () where it is none."""
    if all(leaf in bundle.values and bundle.values[leaf].ndim > 1 for leaf in ("kernel", "recurrent_kernel")):
        return _keras(bundle)
    return tuple(
        layer
        for leaf, values in bundle.values.items()
        if (match := RECURRENT_LEAF.match(leaf)) and match[1] == "weight" and values.ndim == 2
        for layer in _torch(bundle, leaf, match[2], match[3] or "")
    )


def _torch(bundle: Bundle, leaf: str, kind: str, place: str) -> tuple[Layer, ...]:
    kernel, hidden = bundle.values[leaf], bundle.values.get(f"weight_hh{place}", bundle.values[leaf])
    hidden = hidden if hidden.ndim == 2 else kernel
    projection = bundle.values.get(f"weight_hr{place}")
    units = projection.shape[1] if projection is not None and projection.ndim == 2 else hidden.shape[1]
    gates = hidden.shape[0] // units if units and hidden.shape[0] % units == 0 else 0
    parameters = [kernel.parameter(Use.KERNEL, (Axis.OUT, Axis.IN))]
    bias = bundle.values.get(f"bias_{kind}{place}")
    if bias is not None:
        parameters.append(bias.parameter(Use.BIAS, (Axis.OUT,)))
    layer = _layer(bundle, leaf, parameters, gates)
    names = () if kind == "hr" or gates not in _TORCH_GATES else _TORCH_GATES[gates]
    return _gated(layer, names, units)


def _keras(bundle: Bundle) -> tuple[Layer, ...]:
    kernel, hidden = bundle.values["kernel"], bundle.values["recurrent_kernel"]
    units = hidden.shape[-2]
    gates = kernel.shape[-1] // units if units and kernel.shape[-1] % units == 0 else 0
    biases = _keras_biases(bundle.bias, kernel.shape[-1])
    found: list[Layer] = []
    for leaf, values, bias in (("kernel", kernel, biases[0]), ("recurrent_kernel", hidden, biases[1])):
        axes = (*[Axis.TAP] * (values.ndim - 2), Axis.IN, Axis.OUT)
        parameters = [values.parameter(Use.KERNEL, axes)]
        if bias is not None:
            parameters.append(bias.parameter(Use.BIAS, (Axis.OUT,)))
        found.extend(_gated(_layer(bundle, leaf, parameters, gates), _KERAS_GATES.get(gates, ()), units))
    return tuple(found)


def _keras_biases(bias: Values | None, length: int) -> tuple[Values | None, Values | None]:
    """Return the biases of the input and of the hidden kernel; a GRU with `reset_after` stacks two."""
    if bias is not None and bias.shape == (2, length):
        return slab(bias, 0), slab(bias, 1)
    return (bias, None) if bias is not None and bias.shape == (length,) else (None, None)


def _layer(bundle: Bundle, leaf: str, parameters: list[Parameter], gates: int) -> Layer:
    op = bundle.type or _OPS.get(gates, "")
    return Layer(
        name=join(bundle.path, leaf), role=Role.RECURRENT, op=op, parameters=tuple(parameters),
        evidence=(*bundle.notes, f"{leaf} is a kernel of a recurrent module" + (f" ({op})" if op else "")),
        confidence=Confidence.HIGH if gates in _OPS else Confidence.MEDIUM,
    )  # fmt: skip


def _gated(layer: Layer, names: tuple[str, ...], units: int) -> tuple[Layer, ...]:
    if not names:
        return (layer,)
    reason = f"{len(names)} gates of {units} units are stacked: measured apart"
    return parts(layer, Plan(names=names, lengths=(units,) * len(names), reason=reason))
