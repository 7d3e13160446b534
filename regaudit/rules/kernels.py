"""Which kernels a rule may judge, and how one compares with the others of its model."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

from regaudit.records import Audit, Axis, LayerAudit, Parameter, Role, Use

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Roles whose kernel maps inputs to units, so that its rows, columns, scale and rank mean something.
# Positional tables (sinusoids have equal and constant columns) and adapters (low rank by construction) are not here.
MAPS = (Role.DENSE, Role.CONV, Role.DEPTHWISE, Role.CONV_TRANSPOSE, Role.ATTENTION, Role.RECURRENT)

# A kernel with this share of scattered exact zeros is sparse (calibrated: healthy dense models stay below 1e-6).
SPARSE = 0.05

# Norms and maxima that are equal by construction agree to rounding only.
_EQUAL = 1e-6


def kernels(audit: Audit, roles: tuple[Role, ...] = MAPS) -> Iterator[LayerAudit]:
    """Yield the layers with one of these roles that have a kernel of known orientation."""
    for each in audit.layers:
        if each.layer.role in roles:
            kernel = each.layer.get(Use.KERNEL)
            if kernel is not None and kernel.axes:
                yield each


def kernel_of(each: LayerAudit) -> Parameter:
    """Return the kernel of a layer that `kernels` yielded.

    Raises:
        ValueError: The layer has no kernel.
    """
    kernel = each.layer.get(Use.KERNEL)
    if kernel is None:
        raise ValueError(f"{each.layer.name} has no kernel")
    return kernel


def units(each: LayerAudit) -> int:
    """Return the number of output units."""
    return kernel_of(each).extent(Axis.OUT)


def inputs(each: LayerAudit) -> int:
    """Return the number of input units, without the taps of a convolution."""
    return kernel_of(each).extent(Axis.IN)


def fan_in(each: LayerAudit) -> int:
    """Return the number of weights of one unit, in·taps."""
    kernel = kernel_of(each)
    return kernel.extent(Axis.IN) * kernel.extent(Axis.TAP)


def gain(each: LayerAudit) -> float | None:
    """Return rms(W)·√fan_in: the standard deviation of the layer's output for independent inputs of variance 1."""
    rms = each.value("kernel.rms")
    return None if rms is None else rms * math.sqrt(fan_in(each))


def median_of_others(ordered: Sequence[float], value: float) -> float:
    """Return the median of a sorted sequence without one element equal to `value`; 0 if none is left."""
    left = len(ordered) - 1
    if left < 1:
        return 0.0
    gap = bisect_left(ordered, value)

    def at(position: int) -> float:
        return ordered[position if position < gap else position + 1]

    return (at((left - 1) // 2) + at(left // 2)) / 2


def copies_inputs(each: LayerAudit) -> bool:
    """Return whether every unit copies one input (identity and Dirac initialisations, permutations, one-hot tables).

    Then as many elements are nonzero as there are rows that are not zero, and all have one magnitude:
    ‖W‖_F² = rows · max|w|².
    """
    zeros, empty = each.value("kernel.zero_fraction"), each.value("kernel.zero_out_count")
    fro, largest = each.value("kernel.fro_norm"), each.value("kernel.max_abs")
    if zeros is None or empty is None or not fro or not largest:
        return False
    rows = units(each) - empty
    nonzero = round((1 - zeros) * kernel_of(each).size)
    return nonzero == rows and math.isclose(fro**2, rows * largest**2, rel_tol=_EQUAL)


def scattered_zeros(each: LayerAudit) -> float:
    """Return the share of exact zeros outside rows and columns that are zero as a whole."""
    zeros = each.value("kernel.zero_fraction")
    if not zeros or not each.value("kernel.max_abs") or copies_inputs(each):
        return 0.0
    rows = 1 - (each.value("kernel.zero_out_count") or 0.0) / units(each)
    columns = 1 - (each.value("kernel.zero_in_count") or 0.0) / inputs(each)
    return max(0.0, 1 - (1 - zeros) / (rows * columns))


def is_sparse_throughout(audit: Audit) -> bool:
    """Return whether scattered exact zeros are the style of the model, as an L1 penalty or pruning leaves them.

    True where more than half of the kernels have them; empty units and unused inputs then follow from the zeros.
    """
    shares = [scattered_zeros(each) for each in kernels(audit)]
    return 2 * sum(share >= SPARSE for share in shares) > len(shares)


def number(value: float) -> str:
    """Return a number in three digits; from a thousand to a thousand million in full, thousands set apart."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def percent(fraction: float) -> str:
    """Return a fraction in percent, never rounded to 0% or 100%."""
    if 0 < fraction < 0.01 or 0.99 < fraction < 1:
        return f"{fraction:.2%}"
    return f"{fraction:.0%}"


def which(detail: str) -> str:
    """Return a measurement's detail in parentheses, with a space before it, or ""."""
    return f" ({detail})" if detail else ""
