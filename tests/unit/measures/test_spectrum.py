"""Spectra: exact by whichever way they are computed, and silent on noise."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.measures import measure, singular_values
from regaudit.measures.blocks import Blocks
from regaudit.measures.marchenko_pastur import noise_spectrum
from regaudit.measures.summary import summarize
from regaudit.records import Axis, Role

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP


def spectrum_of(parameter, choice="auto"):
    blocks = Blocks(parameter)
    return singular_values.singular_values(blocks, summarize(blocks), choice)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((900, 90), (OUT, IN)),
        ((90, 900), (OUT, IN)),
        ((900, 90), (IN, OUT)),
        ((90, 900), (IN, OUT)),
        ((300, 300), (OUT, IN)),
        ((300, 300), (IN, OUT)),
        ((3, 3, 80, 150), (TAP, TAP, IN, OUT)),
        ((150, 80, 3, 3), (OUT, IN, TAP, TAP)),
        ((80, 150, 3, 3), (IN, OUT, TAP, TAP)),
    ],
)
def test_gram_matrices_in_pieces_give_the_singular_values(make_parameter, shape, axes):
    array = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    order = [k for kind in (OUT, IN, TAP) for k, a in enumerate(axes) if a is kind]
    out = shape[axes.index(OUT)]
    expected = np.linalg.svd(array.transpose(order).reshape(out, -1).astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(spectrum_of(make_parameter(array, axes=axes)).values, expected, rtol=1e-9)


def conditioned(m, n, smallest, seed=0):
    """Return an m×n matrix with singular values from 1 down to `smallest`."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((size, m)))[0] for size in (m, n))
    return (left * np.geomspace(1, smallest, m)) @ right.T


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6, 1e9, 1e12])
def test_condition_numbers_beyond_the_gram_matrix_come_from_an_svd(make_layer, condition):
    audit = measure(make_layer(conditioned(20, 30, 1 / condition), dtype="F64"))
    assert audit.value("kernel.condition_number") == pytest.approx(condition, rel=1e-3 if condition > 1e9 else 1e-6)


def test_what_neither_can_tell_is_skipped(make_layer, monkeypatch):
    monkeypatch.setattr(singular_values, "AUTO_SVD", 10)
    layer = make_layer(conditioned(20, 30, 1e-9), dtype="F64")
    reasons = {s.measure: s.reason for s in measure(layer).skips}
    assert reasons["kernel.condition_number"].startswith("above 1e6")
    assert measure(layer, spectrum="full").value("kernel.condition_number") == pytest.approx(1e9, rel=1e-6)


def test_a_singular_matrix_has_no_condition_number_but_a_rank(make_layer):
    kernel = np.random.default_rng(0).standard_normal((30, 40))
    kernel[20:] = kernel[:10]
    reasons = {s.measure: s.reason for s in measure(make_layer(kernel)).skips}
    assert reasons["kernel.condition_number"] == "singular to double precision: rank 20 of 30"


@pytest.mark.parametrize(("choice", "how"), [("auto", "estimated"), ("off", "not"), ("full", "computed")])
def test_large_matrices_are_estimated_unless_all_is_asked_for(make_layer, monkeypatch, choice, how):
    monkeypatch.setattr(singular_values, "AUTO_SIDE", 8)
    audit = measure(make_layer(np.eye(20)), spectrum=choice)
    assert (audit.value("kernel.spectral_norm") is not None) is (how != "not")
    assert (audit.value("kernel.condition_number") is not None) is (how == "computed")
    found = [each for each in audit.measurements if each.measure == "kernel.spectral_norm"]
    assert [each.low is not None for each in found] == [how == "estimated"] * len(found)


def test_memory_is_the_last_limit(make_layer, monkeypatch):
    monkeypatch.setattr(singular_values, "FULL_SIDE", 8)
    assert measure(make_layer(np.eye(20)), spectrum="full").value("kernel.spectral_norm") is None


def test_rank_one_shows(make_layer):
    rng = np.random.default_rng(0)
    kernel = np.outer(rng.standard_normal(100), rng.standard_normal(80)).astype(np.float32)
    audit = measure(make_layer(kernel))
    assert audit.value("kernel.stable_rank") == pytest.approx(1.0)
    assert audit.value("kernel.effective_rank") == pytest.approx(1.0, abs=1e-4)
    assert audit.value("kernel.top_energy") == pytest.approx(1.0)
    assert audit.value("kernel.outlier_count") is None  # what is left is rounding, no bulk


@pytest.mark.parametrize(("m", "n"), [(8, 64), (16, 16), (64, 200), (200, 300)])
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_noise_sticks_out_of_nothing(make_layer, m, n, kind):
    rng = np.random.default_rng(9)
    draw = rng.standard_normal if kind == "normal" else lambda shape: rng.uniform(-1, 1, shape)
    audits = [measure(make_layer(draw((m, n)))) for _ in range(100 if m < 64 else 20)]
    assert sum(a.value("kernel.outlier_count") > 0 for a in audits) <= len(audits) // 100
    assert np.mean([a.value("kernel.stable_rank_ratio") for a in audits]) == pytest.approx(1.0, abs=1.5 * m ** (-2 / 3))
    assert np.mean([a.value("kernel.effective_rank_ratio") for a in audits]) == pytest.approx(1.0, abs=0.03)
    edge = np.mean([a.value("kernel.noise_edge") for a in audits])
    assert edge == pytest.approx(np.std(draw((1000,))) * (np.sqrt(m) + np.sqrt(n)), rel=0.08)


@pytest.mark.parametrize("stored", ["dead rows", "ignored inputs", "repeated rows", "bfloat16"])
def test_defects_do_not_make_outliers_of_noise(make_layer, stored):
    kernel = np.random.default_rng(1).standard_normal((256, 256)).astype(np.float32)
    if stored == "dead rows":
        kernel[100:] = 0
    if stored == "ignored inputs":
        kernel[:, ::5] *= 1e-4
    if stored == "repeated rows":
        kernel[128:] = kernel[:128]
    if stored == "bfloat16":
        kernel = (kernel.view(np.uint32) & 0xFFFF0000).view(np.float32)
    dtype = "BF16" if stored == "bfloat16" else "F32"
    assert measure(make_layer(kernel, dtype=dtype)).value("kernel.outlier_count") == 0


def test_planted_directions_are_counted_with_their_energy(make_layer):
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.standard_normal((300, 5)))[0] for _ in range(2))
    kernel = rng.standard_normal((300, 300)) + (left * 100.0) @ right.T
    audit = measure(make_layer(kernel))
    assert audit.value("kernel.outlier_count") == 5
    assert audit.value("kernel.outlier_energy") == pytest.approx(5 * 100**2 / np.sum(kernel**2), rel=0.15)


def test_small_spectra_have_no_bulk(make_layer):
    reasons = {s.measure: s.reason for s in measure(make_layer(np.eye(4))).skips}
    assert reasons["kernel.noise_edge"] == "4 singular values above rounding; it takes 8 to see a bulk"


@pytest.mark.parametrize("shape", [(1, 40), (40, 1)])
def test_a_vector_has_a_norm_but_no_rank_to_compare(make_layer, shape):
    kernel = np.random.default_rng(0).standard_normal(shape)
    audit = measure(make_layer(kernel))
    assert audit.value("kernel.spectral_norm") == pytest.approx(np.linalg.norm(kernel))
    assert audit.value("kernel.stable_rank") == 1.0
    assert audit.value("kernel.stable_rank_ratio") is None


def test_a_product_of_factors_is_not_compared_with_the_law(make_layer):
    audit = measure(make_layer(np.random.default_rng(0).standard_normal((30, 30)), role=Role.ADAPTER))
    assert audit.value("kernel.outlier_count") is None
    assert audit.value("kernel.stable_rank") is not None


@pytest.mark.parametrize(("m", "n"), [(100, 100), (50, 400), (120, 180)])
def test_the_law_agrees_with_simulation(m, n):
    rng = np.random.default_rng(0)
    values = np.stack([np.linalg.svd(rng.standard_normal((m, n)), compute_uv=False) for _ in range(30)])
    law = noise_spectrum(m, n)
    assert np.median(values**2) / n == pytest.approx(law.median, rel=0.02)
    assert values[:, 0].mean() == pytest.approx(law.edge, rel=0.02)
    shares = values / values.sum(axis=1, keepdims=True)
    assert np.exp(-(shares * np.log(shares)).sum(axis=1)).mean() == pytest.approx(law.effective_rank, rel=0.005)


def test_the_law_of_a_square_has_known_values():
    law = noise_spectrum(1000, 1000)
    assert law.median == pytest.approx(0.6528, abs=2e-4)  # Gavish & Donoho 2014: 4/√3 / √median = 2.858
    assert law.stable_rank == 250.0
