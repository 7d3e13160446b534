"""What the weights alone say of one layer that the user wants explained: its sizes and the quantiles of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.records import Axis, Explanation, Prediction, Pulls, Site, Use

if TYPE_CHECKING:
    from regaudit.records import Array, Layer, Parameter

PERCENTS: Final = (10, 25, 50, 75, 90, 100)
NEGLIGIBLE: Final = 0.01  # of the kernel's rms as it is: a weight below it does nothing (our choice, as in `Response`)
NO_LABELS: Final = "What the data pull at, and so what a penalty would do, needs labels (y beside x) and a loss."
NOTHING: Final = "The layer has neither a kernel nor a bias that could be penalised."


def explained(layer: Layer) -> Explanation:
    """Return the quantiles of |w|, ‖W‖ and ‖b‖.

    Args:
        layer: The layer; its kernel and bias are read whole.
    """
    found = {use: _whole(parameter) for use in (Use.KERNEL, Use.BIAS) if (parameter := layer.get(use)) is not None}
    return Explanation(
        layer=layer.name,
        pulls=tuple(pulls(use, each) for use, each in found.items() if each.size),
        present=prediction(found.get(Use.KERNEL), found.get(Use.BIAS), inputs=input_axis(layer)),
        reason=NO_LABELS if found else NOTHING,
    )


def pulls(use: Use, w: Array, u: Array | None = None) -> Pulls:
    """Return quantiles of |w|, and of |u| and u·sign(w) where u is known.

    Args:
        use: Kernel or bias.
        w: Its weights.
        u: -∂L/∂w, of the same shape.
    """
    w = w[np.isfinite(w)] if u is None else w.ravel()
    if u is None:
        return Pulls(use=use, percents=PERCENTS, weights=_quantiles(np.abs(w)))
    u = u.ravel()
    return Pulls(
        use=use,
        percents=PERCENTS,
        weights=_quantiles(np.abs(w)),
        pulls=_quantiles(np.abs(u)),
        outward=_quantiles(u * np.sign(w)),
    )


def prediction(
    kernel: Array | None, bias: Array | None, *, inputs: int | None, rms: float | None = None, **penalty: object
) -> Prediction:
    """Return the sizes of a layer.

    Args:
        kernel: W; None where there is none.
        bias: b; None where there is none.
        inputs: The kernel's axis over inputs; None where not known.
        rms: Of the kernel as it is, where this is another; by default its own.
        penalty: Fields of the `Prediction` that say which penalty.
    """
    fields = {"site": Site.NONE, "norm": None, "strength": 0.0, **penalty}
    small = None if kernel is None or not kernel.size else np.abs(kernel) < NEGLIGIBLE * _or(rms, kernel)
    return Prediction(
        kernel_norm=None if kernel is None else _norm(kernel),
        bias_norm=None if bias is None else _norm(bias),
        zero_fraction=None if small is None else float(small.mean()),
        dropped_inputs=() if small is None or inputs is None else _dropped(small, inputs),
        **fields,  # type: ignore[arg-type]
    )


def input_axis(layer: Layer) -> int | None:
    """Return which axis of the kernel runs over inputs; None where that is not known."""
    kernel = layer.get(Use.KERNEL)
    return kernel.axes.index(Axis.IN) if kernel is not None and kernel.axes.count(Axis.IN) == 1 else None


def _dropped(small: Array, inputs: int) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(np.moveaxis(small, inputs, 0).reshape(small.shape[inputs], -1).all(1)))


def _or(rms: float | None, kernel: Array) -> float:
    return float(np.sqrt(np.mean(np.square(kernel)))) if rms is None else rms


def _norm(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.sqrt(np.square(finite).sum()))


def _quantiles(values: Array) -> tuple[float, ...]:
    return tuple(float(each) for each in np.percentile(values, PERCENTS)) if values.size else ()


def _whole(parameter: Parameter) -> Array:
    return parameter.load(0, parameter.shape[0] if parameter.shape else 1).astype(np.float64).reshape(parameter.shape)
