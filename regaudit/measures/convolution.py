"""The norm of a convolution as an operator on images, which its reshaped kernel only brackets; measured on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ORIENTATION_UNKNOWN, Measure, Value, require
from regaudit.records import Axis, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.measures.subject import Subject

CONVOLUTIONS: Final = frozenset({Role.CONV, Role.CONV_TRANSPOSE, Role.DEPTHWISE})
MOST_WORK: Final = 1 << 36  # m²·n·frequencies: some ten seconds
MOST_TRANSFORMED: Final = 1 << 26  # complex numbers at a time: 1 GB


def measures(side: int) -> tuple[Measure[Subject], ...]:
    """Return the measures of a convolution on periodic images with `side` places along each axis."""
    return (_measure(lambda subject: operator_norm(subject, side)),)


def operator_norm(subject: Subject, side: int) -> Value:
    """Return the largest singular value of the convolution with stride 1 on periodic images.

    The Fourier transform takes the convolution apart into one (out, in) matrix for each frequency; the norm is the
    largest among theirs. Channels of a depthwise convolution do not mix: each is a matrix of one number.

    Source: Sedghi, Gupta & Long 2019, "The singular values of convolutional layers", theorem 6.
    """
    parameter, (out, into, _) = subject.parameter, subject.blocks.shape
    taps = tuple(n for n, axis in zip(parameter.shape, parameter.axes, strict=False) if axis is Axis.TAP)
    require(subject.blocks.oriented, ORIENTATION_UNKNOWN)
    require(max(taps, default=1) <= side, f"a kernel of {max(taps, default=1)} taps does not fit an image of {side}")
    frequencies = side ** max(len(taps) - 1, 0) * (side // 2 + 1)
    shorter, longer = sorted((out, into))
    require(
        shorter**2 * longer * frequencies <= MOST_WORK, f"{frequencies:,} matrices of {out:,}×{into:,} take minutes"
    )
    require(
        out * into * frequencies <= MOST_TRANSFORMED, f"{frequencies:,} matrices of {out:,}×{into:,} take gigabytes"
    )
    kernel = subject.blocks.canonical(0, parameter.shape[0]).astype(np.float64).reshape(out, into, *taps)
    axes = tuple(range(2, kernel.ndim))
    responses = np.fft.rfftn(kernel, s=(side,) * len(taps), axes=axes) if taps else kernel
    if subject.layer.role is Role.DEPTHWISE:
        return float(np.abs(responses).max())
    matrices = np.moveaxis(responses.reshape(out, into, -1), -1, 0)
    return max(float(np.linalg.norm(each, 2)) for each in matrices)


def _measure(function: Callable[[Subject], Value]) -> Measure[Subject]:
    return Measure(
        name="kernel.operator_norm",
        formula="max over frequencies of σ₁ of the Fourier-transformed kernel, (out, in)",
        unit="w",
        range="≥ 0",
        source="Sedghi, Gupta & Long 2019",
        tells="By how much the convolution stretches an image at most: stride 1, periodic, of the size that was given.",
        trap="Zeros around the image instead of periods, and strides, make it smaller. Groups are not known to the file.",
        not_for=frozenset(Role) - CONVOLUTIONS,
        function=function,
    )


MEASURES: Final = measures(32)
