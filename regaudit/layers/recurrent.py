"""RNN, GRU and LSTM modules: an input and a hidden kernel for each direction, cut into gates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.layers.names import MLX_RECURRENT, RECURRENT_LEAF, join, parent
from regaudit.layers.split import Plan, parts
from regaudit.layers.values import Values, slab
from regaudit.records import Axis, Confidence, Layer, Parameter, Role, Use

if TYPE_CHECKING:
    from regaudit.layers.bundles import Bundle, Surroundings

# Order of the gates along the stacked axis (the documentation of torch.nn.LSTM and GRU, and of their Keras namesakes).
_TORCH_GATES = {4: ("gate i", "gate f", "gate g", "gate o"), 3: ("gate r", "gate z", "gate n")}
_KERAS_GATES = {4: ("gate i", "gate f", "gate c", "gate o"), 3: ("gate z", "gate r", "gate h")}
_FLAX_GATES = ("ifgo", "rzn")  # LSTM, GRU: flax.linen keeps a dense layer for each, input (ii) and hidden (hi)
_OPS = {4: "LSTM", 3: "GRU", 1: "RNN"}


def recurrent(bundle: Bundle) -> tuple[Layer, ...]:
    """Return the kernels of a recurrent module, gate by gate; () where it is none."""
    if all(leaf in bundle.values and bundle.values[leaf].ndim > 1 for leaf in ("kernel", "recurrent_kernel")):
        return _keras(bundle)
    if MLX_RECURRENT & bundle.values.keys():
        return _mlx(bundle)
    return tuple(
        layer
        for leaf, values in bundle.values.items()
        if (match := RECURRENT_LEAF.match(leaf)) and match[1] == "weight" and values.ndim == 2
        for layer in _torch(bundle, leaf, match[2], match[3] or "")
    )


def flax_cell(bundle: Bundle, around: Surroundings) -> tuple[Layer, ...]:
    """Return the kernels that a Flax cell keeps in this module: one gate (linen), or all (nnx); () where it is none.

    Source: flax.linen.LSTMCell, GRUCell (ii, if, ig, io, hi …; ir, iz, in, hr …); flax.nnx (dense_i, dense_h).
    """
    kernel, last = bundle.values.get("kernel"), bundle.last
    if kernel is None or kernel.ndim != 2:
        return ()
    stem = parent(bundle.path)
    hidden = around.shapes.get(f"{stem}dense_h", ())
    if last in {"dense_i", "dense_h"} and f"{stem}dense_i" in around.shapes and len(hidden) == 2:
        gates = hidden[1] // hidden[0] if hidden[0] and hidden[1] % hidden[0] == 0 else 0
        is_fit = gates in _TORCH_GATES and kernel.shape[1] == hidden[1]  # in torch's order
        return _gated(_in_out(bundle, kernel, gates), _TORCH_GATES[gates], hidden[0]) if is_fit else ()
    for letters in _FLAX_GATES:
        cell = {stem + side + letter for side in "ih" for letter in letters}
        if bundle.path in cell and cell <= around.shapes.keys():
            return (replace(_in_out(bundle, kernel, len(letters)), part=f"gate {last[1]}"),)
    return ()


def _in_out(bundle: Bundle, kernel: Values, gates: int) -> Layer:
    """Return a layer of a Flax cell, named as its module."""
    parameters = [kernel.parameter(Use.KERNEL, (Axis.IN, Axis.OUT))]
    if bundle.bias is not None and bundle.bias.shape == kernel.shape[1:]:
        parameters.append(bundle.bias.parameter(Use.BIAS, (Axis.OUT,)))
    return replace(_layer(bundle, "", parameters, gates), name=bundle.name)


def _mlx(bundle: Bundle) -> tuple[Layer, ...]:
    """Return the kernels of a recurrent module of MLX: (gates · units, in) and (gates · units, units).

    Source: mlx.nn.LSTM (i, f, g, o), GRU (r, z, n), RNN.
    """
    found: list[Layer] = []
    hidden = next((bundle.values[leaf] for leaf in ("Wh", "Whh") if leaf in bundle.values), None)
    units = hidden.shape[1] if hidden is not None and hidden.ndim == 2 else 0
    gates = hidden.shape[0] // units if hidden is not None and units and hidden.shape[0] % units == 0 else 0
    bias = bundle.bias
    for leaf in sorted(MLX_RECURRENT & bundle.values.keys(), reverse=True):  # Wx before Wh
        values = bundle.values[leaf]
        if values.ndim != 2:
            continue
        parameters = [values.parameter(Use.KERNEL, (Axis.OUT, Axis.IN))]
        if leaf in {"Wx", "Wxh"} and bias is not None and bias.shape == values.shape[:1]:
            parameters.append(bias.parameter(Use.BIAS, (Axis.OUT,)))
        names = _TORCH_GATES.get(gates, ()) if values.shape[0] == gates * units else ()
        found.extend(_gated(_layer(bundle, leaf, parameters, gates), names, units))
    return tuple(found)


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
        evidence=(*bundle.notes, f"{leaf or bundle.last} is a kernel of a recurrent module" + (f" ({op})" if op else "")),
        confidence=Confidence.HIGH if gates in _OPS else Confidence.MEDIUM,
    )  # fmt: skip


def _gated(layer: Layer, names: tuple[str, ...], units: int) -> tuple[Layer, ...]:
    if not names:
        return (layer,)
    reason = f"{len(names)} gates of {units} units are stacked: measured apart"
    return parts(layer, Plan(names=names, lengths=(units,) * len(names), reason=reason))
