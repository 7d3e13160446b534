"""Weights without a gradient are found without being told, and only they."""

import math

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.measures.dosimeters import log_error, peak, uniform_members
from regaudit.records import Axis, Role

OUT, IN = Axis.OUT, Axis.IN


def learnt(rng, out, into):
    """Return a kernel that started as torch's Linear and learnt: low rank plus noise, as large as the start."""
    bound = 1 / math.sqrt(into)
    low_rank = rng.standard_normal((out, 4)) @ rng.standard_normal((4, into))
    return rng.uniform(-bound, bound, (out, into)) + bound * (0.4 * low_rank + 0.3 * rng.standard_normal((out, into)))


def with_dead_inputs(rng, factor, out=64, into=64, dead=(0, 32, 39)):
    kernel = learnt(rng, out, into)
    bound = 1 / math.sqrt(into)
    kernel[:, dead] = factor * rng.uniform(-bound, bound, (out, len(dead)))
    return kernel.astype(np.float32)


def exposure(audit):
    return next((m for m in audit.measurements if m.measure == "kernel.decay_exposure"), None)


@pytest.mark.parametrize(("kurtosis", "draw"), [
    (-1.2, lambda rng, n: rng.uniform(-1, 1, n)),
    (0.0, lambda rng, n: rng.standard_normal(n)),
])  # fmt: skip
def test_the_error_of_a_scale_is_that_of_its_distribution(kurtosis, draw):
    rng = np.random.default_rng(0)
    logs = [0.5 * math.log(np.mean(draw(rng, 200) ** 2)) for _ in range(2000)]
    assert log_error(200, kurtosis) == pytest.approx(np.std(logs), rel=0.06)


@pytest.mark.parametrize("decay", [0.0, 0.36, 3.6, 9.2])
def test_dead_inputs_tell_the_exposure(make_layer, decay):
    """In 55 of 60 cases; the interval covers in 19 of 20; most errors are below 2%."""
    covered, errors = 0, []
    for seed in range(60):
        kernel = with_dead_inputs(np.random.default_rng(seed), math.exp(-decay))
        found = exposure(measure(make_layer(kernel), spectrum="off"))
        if found is None:
            continue
        covered += found.low <= decay <= found.high
        errors.append(abs(found.value - decay) / max(decay, 0.4))
        named = found.detail.partition(" of 64; assumes PyTorch")[0].removeprefix("inputs ").split(", ")
        assert {"0", "32", "39"} >= set(named)  # one may look too odd to count
    assert len(errors) >= 55
    assert covered >= 0.95 * len(errors)
    assert np.quantile(errors, 0.9) < 0.05
    assert np.median(errors) < 0.02


def learnt_in_one_way(rng, way, out, into):
    """Return a kernel without dead slices, of one of five kinds."""
    bound = 1 / math.sqrt(into)
    start = rng.uniform(-bound, bound, (out, into))
    kinds = (
        rng.standard_normal((out, into)) * bound * rng.uniform(0.2, 1.5),
        learnt(rng, out, into),
        start * rng.uniform(0.1, 1.2, (1, into)),
        start * rng.lognormal(0, 0.3, (out, 1)) + 0.1 * bound * rng.standard_normal((out, into)),
        start + rng.standard_t(3, (out, into)) * bound * 0.2,
    )
    return kinds[way].astype(np.float32)


def test_learnt_kernels_do_not_show_decay(make_layer):
    read = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        kernel = learnt_in_one_way(rng, seed % 5, rng.integers(12, 150), rng.integers(8, 150))
        found = exposure(measure(make_layer(kernel), spectrum="off"))
        read += found is not None and found.low > 0.05
    assert read == 0


def test_an_untrained_kernel_has_no_dosimeter(make_layer):
    kernel = np.random.default_rng(0).uniform(-0.1, 0.1, (80, 100)).astype(np.float32)
    assert exposure(measure(make_layer(kernel), spectrum="off")) is None


def test_units_that_were_dead_from_the_start_are_found(make_layer):
    kernel = with_dead_inputs(np.random.default_rng(1), 0.5).T.copy()
    found = exposure(measure(make_layer(kernel), spectrum="off"))
    assert found.detail.startswith("units 0, 32, 39 of 64")
    assert found.value == pytest.approx(math.log(2), rel=0.05)


def test_order_of_units_and_inputs_does_not_matter(make_layer):
    rng = np.random.default_rng(2)
    kernel = with_dead_inputs(rng, 0.7)
    shuffled = kernel[rng.permutation(64)][:, rng.permutation(64)]
    first, second = (exposure(measure(make_layer(k), spectrum="off")) for k in (kernel, shuffled))
    assert (first.value, first.low, first.high) == (second.value, second.low, second.high)


@pytest.mark.parametrize("factor", [1.0, 0.7, 0.2])
def test_unused_tokens_are_found_by_their_scale_and_by_name(make_layer, factor):
    rng = np.random.default_rng(7)
    table = rng.standard_normal((1500, 128)) * 0.05 + 0.01 * rng.standard_normal(128)
    unused = np.sort(rng.choice(1500, 60, replace=False))
    table[unused] = 0.02 * factor * rng.standard_normal((60, 128))
    fields = {"axes": (IN, OUT), "role": Role.EMBEDDING, "name": "embeddings.word_embeddings"}
    for named in ((), tuple(int(i) for i in unused)):
        layer = make_layer(table.astype(np.float32), unused_inputs=named, **fields)
        found = exposure(measure(layer, spectrum="off"))
        assert found.value == pytest.approx(-math.log(factor), abs=0.03)
        assert found.low <= -math.log(factor) + 1e-9 <= found.high + 1e-9


def test_learnt_tables_have_no_dosimeter(make_layer):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows, width = int(rng.integers(50, 600)), int(rng.choice([64, 128]))
        spread = np.exp(rng.normal(0, rng.choice([0.02, 0.05, 0.1, 0.3]), (rows, 1)))
        table = (rng.standard_normal((rows, width)) * 0.02 * spread * rng.choice([0.3, 0.9])).astype(np.float32)
        layer = make_layer(table, axes=(IN, OUT), role=Role.EMBEDDING, name="embeddings.word_embeddings")
        assert exposure(measure(layer, spectrum="off")) is None


def test_rows_that_share_a_direction_are_no_dosimeter(make_layer):
    """Tied output rows of unused tokens are pushed away together by the softmax."""
    rng = np.random.default_rng(4)
    table = rng.standard_normal((800, 64)) * 0.06
    table[:50] = 0.01 * rng.standard_normal((50, 64)) + 0.01 * rng.standard_normal(64)
    layer = make_layer(table.astype(np.float32), axes=(IN, OUT), role=Role.EMBEDDING, name="embeddings.word_embeddings")
    assert exposure(measure(layer, spectrum="off")) is None


def test_another_usual_initialisation_is_not_read_as_decay(make_layer):
    """With more outputs than five times the inputs Glorot's interval is the smaller one: either reading fits."""
    rng = np.random.default_rng(5)
    kernel = rng.standard_normal((400, 20)) * 0.5
    kernel[:, :4] = rng.uniform(-1, 1, (400, 4)) * math.sqrt(6 / 420)
    audit = measure(make_layer(kernel.astype(np.float32)), spectrum="off")
    assert exposure(audit) is None
    assert any("--init tells which" in s.reason for s in audit.skips)
    known = measure(make_layer(kernel.astype(np.float32), initial_scheme="torch"), spectrum="off")
    assert exposure(known).value == pytest.approx(math.log(math.sqrt(420 / 6 / 20)), abs=0.02)


def test_too_few_slices_tell_nothing():
    assert uniform_members(np.ones(3), np.ones(3), 50) is None
    assert peak(np.ones(5), 100, 0.0) is None


def test_against_the_weights_before_training(make_layer, make_parameter):
    rng = np.random.default_rng(6)
    start = (rng.standard_normal((30, 40)) * 0.3).astype(np.float32)
    kernel = start + 0.2 * rng.standard_normal((30, 40)).astype(np.float32)
    kernel[:, [3, 7]] = 0.8 * start[:, [3, 7]]
    layer = make_layer(kernel, initial=make_parameter(start))
    found = exposure(measure(layer, spectrum="off"))
    assert found.detail.startswith("inputs 3, 7 of 40; against the initial weights")
    assert found.value == pytest.approx(-math.log(0.8), abs=1e-4)
    assert found.low < found.value < found.high


def test_the_weights_before_training_of_another_shape_are_refused(make_layer, make_parameter):
    layer = make_layer(np.ones((30, 40), np.float32), initial=make_parameter(np.ones((40, 30), np.float32)))
    audit = measure(layer, spectrum="off")
    assert exposure(audit) is None
    assert any("another shape" in s.reason for s in audit.skips)
