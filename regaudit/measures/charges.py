"""Charges of symmetries: what the gradient of the loss cannot move, so that a penalty alone decides it.

Adding c to the weights of every class of a softmax changes no probability. So the gradient has no part along it: SGD
keeps the class mean as it was, decay shrinks it like everything that is not learnt, and where the loss with an L2
penalty is at its minimum it is 0. Adam's division by √v breaks the symmetry: under it the mean may even grow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import ALL_ZERO, NOT_HERE, ORIENTATION_UNKNOWN, Measure, Value, require
from regaudit.measures.exposure import LARGEST
from regaudit.records import Role

if TYPE_CHECKING:
    from regaudit.measures.subject import Subject
    from regaudit.records import Array

LEAST_CLASSES: Final = 3  # two outputs may be a regression on two targets
LEAST_INPUTS: Final = 8


def class_mean(subject: Subject) -> Value:
    """Return the rms over inputs of the mean over classes, over the rms of all weights, and what random weights have."""
    mean = np.mean(_output(subject), axis=0, dtype=np.float64)
    return float(np.sqrt(np.mean(mean * mean))) / subject.summary.rms, _expected(subject)


def class_median_zero(subject: Subject) -> Value:
    """Return the share of inputs whose class weights have median 0: #{w > 0} and #{w < 0} differ by #{w = 0} at most.

    A weight counts as zero below 10⁻² of the rms, for the gradient of an L1 penalty leaves no exact zeros.
    """
    values = _output(subject)
    near = 1e-2 * subject.summary.rms
    positive, negative = (values > near).sum(axis=0), (values < -near).sum(axis=0)
    alive = positive + negative > 0  # of an input without weights everything is 0
    require(int(alive.sum()) >= LEAST_INPUTS, f"fewer than {LEAST_INPUTS} inputs have weights")
    zero = values.shape[0] - positive - negative
    balanced = np.abs(positive - negative) <= zero
    return float(balanced[alive].mean()), f"{values.shape[0]} classes, {int(alive.sum())} inputs"


def residual_mean(subject: Subject) -> Value:
    """Return the rms over inputs of the mean over outputs of an attention's output projection, over what chance gives."""
    layer = subject.layer
    require(layer.role is Role.ATTENTION and not layer.part and not layer.followed_by, NOT_HERE)
    matrix, out = _whole(subject), subject.blocks.shape[0]
    mean = np.mean(matrix, axis=0, dtype=np.float64)
    return float(np.sqrt(np.mean(mean * mean) * out)) / (subject.summary.rms * subject.summary.unit)


def _output(subject: Subject) -> Array:
    """Return the output kernel, (classes, in·taps), in units of the summary; raises `NotMeasurable`."""
    out, into = subject.blocks.matrix_shape
    require(subject.blocks.oriented, ORIENTATION_UNKNOWN)
    require(subject.layer.is_output, NOT_HERE)
    require(out >= LEAST_CLASSES and into >= LEAST_INPUTS, f"{out} outputs of {into} inputs are too few for classes")
    whole = _whole(subject)
    return whole if subject.summary.unit == 1.0 else whole.astype(np.float64) / subject.summary.unit


def _whole(subject: Subject) -> Array:
    """Return the kernel, (out, in·taps), as it is stored; raises `NotMeasurable`."""
    require(subject.blocks.oriented, ORIENTATION_UNKNOWN)
    require(subject.parameter.size <= LARGEST, f"more than {LARGEST:,} weights")
    require(subject.summary.rms > 0, ALL_ZERO)
    return subject.blocks.canonical(0, subject.parameter.shape[0]).reshape(subject.blocks.matrix_shape)


def _expected(subject: Subject) -> str:
    classes = subject.blocks.shape[0]
    return f"{classes} classes; {1 / math.sqrt(classes):.3g} of random weights"


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.class_mean",
        formula="rms over inputs of (mean over classes of w) / rms w, output layer",
        range="[0, 1]",
        source="Kunin et al. 2021, arXiv:2012.04728 (the symmetry)",
        tells="Below 1e-3 the loss with an L2 penalty on this kernel is at its minimum, in a softmax classifier.",
        trap="Says nothing of sigmoid outputs, label smoothing by hand, tied heads; between the two ends only SGD keeps it.",
        function=class_mean,
    ),
    Measure(
        name="kernel.class_median_zero",
        formula="share of inputs with |#{w > 0} - #{w < 0}| ≤ #{w = 0} over classes, output layer; zero: |w| < 0.01·rms",
        range="[0, 1]",
        source="the same symmetry, subgradient of L1",
        tells="1 at the minimum of a softmax loss with an L1 penalty; about 0.3 of ten random classes.",
        trap="Needs convergence; small even numbers of classes reach it by chance.",
        function=class_median_zero,
    ),
    Measure(
        name="kernel.residual_mean",
        formula="√out · rms over inputs of (mean over outputs of w) / rms w, output projections of attention",
        range="[0, √out]",
        source="Kunin et al. 2021, arXiv:2012.04728 (the symmetry)",
        tells="Of what is added to a residual stream that layer normalizations alone read, the mean does nothing: 1 at random, 0 after decay.",
        trap="Says nothing where something else reads the stream, or its normalizations keep the mean (RMS).",
        function=residual_mean,
    ),
)
