"""Near zeros are counted exactly, in one pass where the first box tells the scale, else in two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from regaudit.measures import near_zero
from regaudit.measures.blocks import Blocks
from regaudit.measures.summary import summarize


@pytest.mark.parametrize("limit", [near_zero.MOST_KEPT, 3])
@pytest.mark.parametrize(
    ("growth", "passes"), [(1.0, 1), (1e4, 2), (1e-4, 1)], ids=["even", "growing along the rows", "shrinking"]
)
def test_the_count_is_that_of_the_definition(make_parameter, monkeypatch, growth, passes, limit):
    monkeypatch.setattr(near_zero, "MOST_KEPT", limit)
    monkeypatch.setattr("regaudit.measures.blocks.HELD", 0)
    rng = np.random.default_rng(8)
    array = rng.standard_normal((400, 256)) * np.geomspace(1, growth, 400)[:, None]
    array[rng.random(array.shape) < 0.1] = 0.0
    array = array.astype(np.float32)
    parameter, loads = make_parameter(array), []
    counted = replace(parameter, load=lambda a, b: loads.append(b - a) or array[a:b])
    summary = summarize(Blocks(counted, 1 << 12))
    w = np.abs(array.astype(np.float64))
    assert summary.near_zeros == np.count_nonzero(w < 1e-3 * np.sqrt((w**2).mean()))
    assert summary.zeros == np.count_nonzero(w == 0)
    assert sum(loads) == 400 * (passes if limit > 3 else 2)
