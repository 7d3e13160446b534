"""How much noise rounding to a grid has added to a kernel: what is smaller says nothing of the training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from regaudit.layers.values import Values
    from regaudit.records import Array

SPANS, SPAN = 8, 1 << 13  # elements that are looked at: 65,536 give the rms of a kernel to about 0.5 %
FLOATS = {  # bits of the mantissa, and exponent of the smallest normal number
    "F8_E4M3": (3, -6), "F8_E5M2": (2, -14), "F8_E4M3FNUZ": (3, -7), "F8_E5M2FNUZ": (2, -15),
}  # fmt: skip


def noise_floor(values: Values, steps: Values) -> float | None:
    """Return √(mean(step²)/12) / rms of a kernel, from a sample of it; None where that is not finite.

    An error that is uniform within half a step to either side has the variance step²/12.

    Args:
        values: The kernel as dequantised.
        steps: Distance between neighbouring levels at each of its elements, same shape.

    Source: Widrow and Kollár, Quantization Noise (2008), chapter 5.
    """
    squares, noise = 0.0, 0.0
    stride = max(1, values.size // SPANS)
    with np.errstate(all="ignore"):
        for start in range(0, values.size, stride):
            stop = min(start + min(SPAN, stride), values.size)
            squares += float(np.square(values.flat(start, stop), dtype=np.float64).sum())
            noise += float(np.square(steps.flat(start, stop), dtype=np.float64).sum())
    ratio = math.sqrt(noise / 12 / squares) if 0 < squares < math.inf and noise >= 0 else math.nan
    return ratio if math.isfinite(ratio) else None


def noise_note(values: Values, steps: Values) -> tuple[str, ...]:
    """Return the evidence sentence on the noise floor; () where there is none."""
    floor = noise_floor(values, steps)
    if floor is None:
        return ()
    return (f"rounding noise is about {100 * floor:.2g} % of the kernel's rms (step/√12): less than that is no effect",)


def level_widths(levels: Array) -> Array:
    """Return for each level of a codebook how wide the range is that rounds to it."""
    order = np.argsort(levels, kind="stable")
    inner = np.diff(levels[order].astype(np.float64))
    widths = np.empty(len(levels))
    widths[order] = (np.append(inner[:1], inner) + np.append(inner, inner[-1:])) / 2
    return widths


def float_steps(x: Array, dtype: str) -> Array:
    """Return the distance from each 8-bit float to the next larger one in size; `dtype` is a key of `FLOATS`."""
    mantissa, lowest = FLOATS[dtype]
    _, exponent = np.frexp(x)  # x = f · 2^exponent with f in [½, 1)
    return np.exp2(np.maximum(np.where(x == 0, lowest, exponent - 1), lowest) - float(mantissa))
