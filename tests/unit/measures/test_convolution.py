"""The norm of a convolution, against the matrix of the convolution written out."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.records import Axis, Role

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP


def written_out(kernel, side):
    """Return the matrix of the periodic convolution of (out, in, h, w) with stride 1."""
    out, into, height, width = kernel.shape
    matrix = np.zeros((out, side, side, into, side, side))
    for y in range(side):
        for x in range(side):
            for i in range(height):
                for j in range(width):
                    matrix[:, y, x, :, (y + i) % side, (x + j) % side] += kernel[:, :, i, j]
    return matrix.reshape(out * side * side, -1)


@pytest.mark.parametrize("side", [4, 5])
@pytest.mark.parametrize("axes", [(OUT, IN, TAP, TAP), (TAP, TAP, IN, OUT)], ids=["torch", "keras"])
def test_it_is_the_norm_of_the_matrix(make_layer, axes, side):
    kernel = np.random.default_rng(1).standard_normal((5, 3, 3, 2))
    stored = kernel if axes[0] is OUT else kernel.transpose(2, 3, 1, 0)
    audit = measure(make_layer(stored, axes=axes, role=Role.CONV), operator_side=side)
    expected = np.linalg.norm(written_out(kernel, side), 2)
    assert audit.value("kernel.operator_norm") == pytest.approx(expected, rel=1e-10)


def test_channels_of_a_depthwise_convolution_do_not_mix(make_layer):
    kernel = np.random.default_rng(1).standard_normal((4, 1, 3, 3))
    audit = measure(make_layer(kernel, role=Role.DEPTHWISE), operator_side=6)
    expected = max(np.linalg.norm(written_out(each[None], 6), 2) for each in kernel)
    assert audit.value("kernel.operator_norm") == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("side", "reason"), [(2, "does not fit"), (1 << 20, "take minutes")])
def test_what_cannot_be_measured_has_a_reason(make_layer, side, reason):
    audit = measure(make_layer(np.ones((5, 3, 3, 3)), role=Role.CONV), operator_side=side)
    assert reason in next(each.reason for each in audit.skips if each.measure == "kernel.operator_norm")
