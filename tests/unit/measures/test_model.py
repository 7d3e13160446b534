"""Numbers of the whole model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from regaudit.measures import measure, measure_model
from regaudit.measures.model import rank_correlation
from regaudit.records import Role


@pytest.fixture
def kernels():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((20, 30)) * scale for scale in (1.0, 2.0, 4.0, 8.0, 3.0)]


def values_of(layers, spectrum="auto"):
    audits = tuple(measure(layer, spectrum=spectrum) for layer in layers)
    return {m.measure: m for m in measure_model(audits)}


def test_totals_are_those_of_all_layers(make_layer, kernels):
    kernels[0][0] = 0
    found = values_of([make_layer(k, np.full(20, 0.5)) for k in kernels])
    flat = np.concatenate([k.ravel() for k in kernels])
    expected = {
        "parameters": 5 * 620,
        "kernel_parameters": 3000,
        "kernel_l1_norm": np.abs(flat).sum(),
        "kernel_squared_fro_norm": (flat**2).sum(),
        "bias_l1_norm": 50.0,
        "bias_squared_fro_norm": 25.0,
        "kernel_rms": math.sqrt((flat**2).mean()),
        "zero_fraction": 30 / 3000,
        "log_spectral_product": sum(math.log(np.linalg.norm(k, 2)) for k in kernels),
        "growth_median": np.median([math.sqrt((k**2).mean() * 90) for k in kernels]),
        "growth_depth_correlation": 0.7,
    }
    assert {name: m.value for name, m in found.items()} == pytest.approx({f"model.{k}": v for k, v in expected.items()})
    assert all(m.layer == "" and m.detail == "" for m in found.values())


def test_a_kernel_that_could_not_be_measured_is_said_to_be_missing(make_layer, kernels):
    kernels[1][0, 0] = np.nan
    found = values_of([make_layer(k) for k in kernels])
    assert found["model.kernel_l1_norm"].detail == "4 of 5 layers with a kernel"
    assert "model.log_spectral_product" not in found


def test_what_no_layer_has_is_left_out(make_layer, kernels):
    assert "model.bias_l1_norm" not in values_of([make_layer(k) for k in kernels])
    assert {m.measure for m in measure_model(())} == {"model.parameters", "model.kernel_parameters"}
    assert "model.log_spectral_product" not in values_of([make_layer(k) for k in kernels], spectrum="off")
    assert "model.growth_depth_correlation" not in values_of([make_layer(k) for k in kernels[:3]])


@pytest.mark.parametrize(
    ("x", "ranks"),
    [
        ([1, 2, 3, 4], [0, 1, 2, 3]),
        ([9, 5, 2, 1], [3, 2, 1, 0]),
        ([1, 1, 2, 2], [0.5, 0.5, 2.5, 2.5]),
        ([3, 1, 4, 1, 5], [2, 0.5, 3, 0.5, 4]),
    ],
)
def test_rank_correlation_is_the_correlation_of_ranks_that_ties_share(x, ranks):
    y = [float(i) for i in range(len(x))]
    assert rank_correlation([float(v) for v in x], y) == pytest.approx(np.corrcoef(ranks, y)[0, 1])


def test_query_key_and_value_output_are_compared_by_their_units(make_layer):
    """q_j against k_j by rows, v_j against o_:j by a row and a column; a dense output in the module above is found."""
    rng = np.random.default_rng(0)
    q, v = rng.standard_normal((8, 16)), rng.standard_normal((8, 16))
    scales = np.arange(1.0, 9.0)
    kernels = {
        "attn.self.query": (q, "query"),
        "attn.self.key": (np.sqrt(2.0) * q, "key"),
        "attn.self.value": (v * scales[:, None], "value"),
        "attn.output.dense": ((rng.standard_normal((16, 8)) / 5), ""),
    }
    audits = tuple(
        measure(make_layer(kernel, name=name, part=part, role=Role.ATTENTION), spectrum="off")
        for name, (kernel, part) in kernels.items()
    )
    values = {m.measure: m.value for m in measure_model(audits)}
    o = kernels["attn.output.dense"][0]
    units = np.log((v * scales[:, None] * v * scales[:, None]).sum(1) / (o * o).sum(0))
    assert values["model.factor_balance"] == pytest.approx(np.log(2))
    assert values["model.value_output_balance"] == pytest.approx(np.median(np.abs(units)))
