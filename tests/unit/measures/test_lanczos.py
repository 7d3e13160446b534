"""Estimated spectra: the interval holds what an SVD finds, whatever the shape of the spectrum and of the matrix."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.measures.blocks import Blocks
from regaudit.measures.lanczos import estimated
from regaudit.measures.summary import summarize
from regaudit.records import Axis

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP


def spectra():
    rng = np.random.default_rng(6)
    noise = rng.standard_normal((200, 300))
    yield "noise", noise
    yield "spike", noise + 3 * np.outer(rng.standard_normal(200), rng.standard_normal(300))
    yield "rank 5", rng.standard_normal((200, 5)) @ rng.standard_normal((5, 300))
    yield "decaying", noise * np.geomspace(1, 1e-4, 300)
    yield "identity", np.eye(200, 300)
    yield "narrow", rng.standard_normal((2000, 20))


@pytest.mark.parametrize("scale", [1.0, 1e-30])
@pytest.mark.parametrize("axes", [(OUT, IN), (IN, OUT)], ids=["rows", "columns"])
@pytest.mark.parametrize("matrix", [pytest.param(each, id=name) for name, each in spectra()])
def test_the_intervals_hold_what_an_svd_finds(make_parameter, matrix, axes, scale):
    array = (matrix * scale).astype(np.float32)
    blocks = Blocks(make_parameter(array, axes=axes))
    found = estimated(blocks, summarize(blocks))
    s = np.linalg.svd(array.astype(np.float64), compute_uv=False)
    p = s[s > 0] / s.sum()
    rank = np.exp(-(p * np.log(p)).sum())
    assert found.largest.low <= s[0] <= found.largest.high
    assert found.largest.value == pytest.approx(s[0], rel=1e-5)
    assert found.effective_rank.low <= rank <= found.effective_rank.high
    assert found.effective_rank.high - found.effective_rank.low < 0.5 * rank


def test_a_matrix_that_is_read_again_in_each_step_gives_the_same(make_parameter, monkeypatch):
    array = np.random.default_rng(0).standard_normal((3, 3, 20, 40)).astype(np.float32)
    blocks = Blocks(make_parameter(array, axes=(TAP, TAP, IN, OUT)))
    summary = summarize(blocks)
    held = estimated(blocks, summary)
    monkeypatch.setattr("regaudit.measures.lanczos.HELD", 0)
    assert estimated(blocks, summary) == held
