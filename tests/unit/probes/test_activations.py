"""Activations of networks whose answer is known, against slow definitions and laws."""

import math
from collections import OrderedDict

import numpy as np
import pytest

from regaudit.networks.places import Place
from regaudit.probes import accumulate, activity_scale, covariance
from regaudit.probes.activations import ACTIVATIONS, FAMILIES, MEASURES
from regaudit.probes.base import Data, Runner, Session
from regaudit.records import Layer, Role

torch = pytest.importorskip("torch")
nn = torch.nn


def dense(kernel, bias=None):
    """Return a Linear with these weights, (out, in)."""
    kernel = torch.as_tensor(np.asarray(kernel, np.float32))
    layer = nn.Linear(kernel.shape[1], kernel.shape[0], bias=bias is not None)
    layer.weight.data = kernel
    if bias is not None:
        layer.bias.data = torch.as_tensor(np.asarray(bias, np.float32))
    return layer


def session_of(network, x, *, batch_size=256, seed=0, outputs=(), roles=None, columns=None):
    """Return the session of a network on x, with a place for each Linear and convolution."""
    kinds = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)]
    places = tuple(
        Place(
            layer=name,
            module=name,
            kernel=f"{name}.weight",
            bias=f"{name}.bias" if getattr(m, "bias", None) is not None else "",
            channel_axis=1 if isinstance(m, nn.Conv2d) else -1,
            columns=(columns or {}).get(name),
        )
        for name, m in kinds
    )
    runner = Runner(
        kind="factory",
        network=network.eval(),
        inputs=(),
        places=places,
        call=lambda network, batch: network(batch["x"]),
    )
    layers = tuple(
        Layer(name=name, role=(roles or {}).get(name, Role.DENSE), is_output=name in outputs) for name, _ in kinds
    )
    data = Data(inputs={"x": torch.as_tensor(x)})
    return Session(runner=runner, layers=layers, train=data, batch_size=batch_size, seed=seed)


def values(network, x, layer="fc", **fields):
    found = ACTIVATIONS.run(session_of(network, x, **fields))
    return {m.measure: m.value for m in found.measurements if m.layer == layer}


def details(network, x, layer="fc", **fields):
    found = ACTIVATIONS.run(session_of(network, x, **fields))
    return {m.measure: m.detail for m in found.measurements if m.layer == layer}


def reasons(network, x, layer="fc", **fields):
    return {s.measure: s.reason for s in ACTIVATIONS.run(session_of(network, x, **fields)).skips if s.layer == layer}


def stack(**modules):
    return nn.Sequential(OrderedDict(modules))


@pytest.fixture
def noise():
    """Return seeded normal numbers, float32."""
    random = np.random.default_rng(3)
    return lambda *shape: random.normal(size=shape).astype(np.float32)


# --- Closed forms ---------------------------------------------------------------------------------


def test_identity_gives_the_inputs_back(noise):
    x = noise(400, 6)
    found = values(stack(fc=dense(np.eye(6))), x)
    y = x.astype(np.float64)
    assert found["activity.mean"] == pytest.approx(y.mean(), abs=1e-9)
    assert found["activity.rms"] == pytest.approx(np.sqrt((y**2).mean()))
    assert found["activity.linear_rms"] == pytest.approx(found["activity.rms"])
    assert found["activity.scale_ratio"] == pytest.approx(1.0)
    assert found["activity.max_abs"] == pytest.approx(np.abs(y).max())
    assert found["activity.max_to_rms"] == pytest.approx(np.abs(y).max() / np.sqrt((y**2).mean()))
    assert found["activity.max_to_median"] == pytest.approx(np.abs(y).max() / np.median(np.abs(y)), rel=0.02)
    assert found["activity.excess_kurtosis"] == pytest.approx(((y - y.mean()) ** 4).mean() / y.var() ** 2 - 3)
    assert found["activity.rows"] == 400


def test_penalties_are_those_of_keras(noise):
    x = noise(70, 5)
    network = stack(fc=dense(noise(4, 5), noise(4)), act=nn.ReLU())
    y = network(torch.as_tensor(x)).detach().double().numpy()
    found = values(network, x, batch_size=16)
    assert found["activity.l1_energy"] == pytest.approx(np.abs(y).sum() / 70)
    assert found["activity.l2_energy"] == pytest.approx((y**2).sum() / 70)


def test_dead_and_always_on_units_are_named(noise):
    x = np.abs(noise(300, 4))
    kernel = np.vstack([np.eye(4), -np.eye(4)[:2], np.eye(4)[:1]])
    network = stack(fc=dense(kernel, [-0.5, -0.5, -0.5, -0.5, 0, -1, 3]), act=nn.ReLU())
    found, named = values(network, x), details(network, x)
    assert found["activity.dead_fraction"] == pytest.approx(2 / 7)
    assert named["activity.dead_fraction"] == "units 4-5; of 300 rows"
    assert found["activity.always_on_fraction"] == pytest.approx(1 / 7)
    assert named["activity.always_on_fraction"] == "unit 6; of 300 rows"


def test_constant_units_are_dead_without_a_relu(noise):
    found = values(stack(fc=dense([[1, 0], [0, 0], [0, 0]], [0, 2, 0])), noise(200, 2))
    assert found["activity.dead_fraction"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("activation", "x", "expected"),
    [
        (nn.Tanh(), [-3, -1, 0, 1, 3], 0.4),
        (nn.Sigmoid(), [-6, -2, 0, 2, 6], 0.4),
        (nn.Hardtanh(), [-3, -0.5, 0, 0.5, 3], 0.4),
    ],
    ids=["tanh", "sigmoid", "hardtanh"],
)
def test_saturation_is_the_share_at_the_flat_ends(activation, x, expected):
    rows = np.tile(np.asarray(x, np.float32)[:, None], (40, 1))
    found = values(stack(fc=dense([[1.0], [100.0]], [0, 500]), act=activation), rows)
    assert found["activity.saturated_fraction"] == pytest.approx((expected + 1.0) / 2)
    assert found["activity.saturated_unit_fraction"] == 0.5


def test_planted_copies_are_the_correlated_units(noise):
    base = noise(5, 20)
    kernel = np.vstack([base, 2 * base[1:2], -base[3:4], noise(1, 20)])
    network = stack(fc=dense(kernel, noise(8)))
    assert values(network, noise(500, 20))["activity.correlated_fraction"] == pytest.approx(2 / 8)
    assert details(network, noise(500, 20))["activity.correlated_fraction"] == "units 5-6; of 8 units"


def test_units_on_in_the_same_few_rows_are_not_compared(noise):
    x = np.zeros((400, 4), np.float32)
    x[:5, :2], x[:, 2:] = 1.0, noise(400, 2)
    assert values(stack(fc=dense(np.eye(4))), x)["activity.correlated_fraction"] == 0.0


def test_effective_rank_counts_directions(noise):
    even = values(stack(fc=dense(np.eye(12))), noise(40_000, 12))["activity.effective_rank"]
    three = values(stack(fc=dense(noise(12, 3))), noise(4_000, 3))["activity.effective_rank"]
    assert even == pytest.approx(12, abs=0.01)
    assert 1 < three <= 3


def test_a_layer_of_bias_alone():
    network = stack(fc=dense(np.zeros((3, 2)), [1, -2, 0]))
    x = np.ones((200, 2), np.float32)
    assert values(network, x)["bias.share"] == 1.0
    assert reasons(network, x)["bias.intercept_fraction"] == "all pre-activations are constant"


def test_bias_against_what_the_input_gives(noise):
    x = noise(20_000, 1)
    network = stack(fc=dense([[1], [1], [1], [2]], [0, 1, 4, 4]))
    found = values(network, x)
    power = float((x.astype(np.float64) ** 2).mean())
    shares = [0, 1 / (1 + power), 16 / (16 + power), 16 / (16 + 4 * power)]
    assert found["bias.share"] == pytest.approx(np.mean(shares))
    assert found["bias.intercept_fraction"] == 0.25
    assert found["bias.decided_fraction"] == 0.25


def test_inputs_off_centre_are_no_work_of_the_bias(noise):
    network = stack(fc=dense(np.eye(4), [0.01] * 4))
    found = values(network, noise(500, 4) + 10)
    assert found["bias.intercept_fraction"] == 1.0
    assert found["bias.decided_fraction"] == 0.0


def test_hoyer_of_rows():
    x = np.tile(np.asarray([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], np.float32), (50, 1))
    assert values(stack(fc=dense(np.eye(4))), x)["activity.hoyer_sparsity"] == pytest.approx(0.5)


def test_zeros_and_near_zeros():
    x = np.ones((100, 4), np.float32)
    x[:, 0], x[:, 1] = 0.0, 1e-5
    found = values(stack(fc=dense(np.eye(4))), x)
    assert found["activity.zero_fraction"] == 0.25
    assert found["activity.near_zero_fraction"] == 0.5


def test_outlier_channels(noise):
    kernel = np.eye(20)
    kernel[7] *= 50
    found = values(stack(fc=dense(kernel)), noise(300, 20))
    assert found["activity.outlier_channels"] == 1
    assert details(stack(fc=dense(kernel)), noise(300, 20))["activity.outlier_channels"] == "unit 7; of 300 rows"


# --- Convolutions, parts, tables ------------------------------------------------------------------


def test_positions_of_a_convolution_are_rows(noise):
    network = stack(conv=nn.Conv2d(2, 5, 3), act=nn.ReLU())
    network.conv.bias.data[3] = -100
    x = noise(30, 2, 6, 6)
    y = network(torch.as_tensor(x)).detach().double().movedim(1, -1).reshape(-1, 5).numpy()
    found = values(network, x, "conv", batch_size=7)
    assert found["activity.rows"] == 30 * 16
    assert found["activity.dead_fraction"] == pytest.approx(0.2)
    assert found["activity.l2_energy"] == pytest.approx((y**2).sum() / 30)
    live = np.linalg.eigvalsh(np.cov(y.T, bias=True))
    p = live[live > 1e-12] / live.sum()
    assert found["activity.effective_rank"] == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-6)


def test_a_part_of_a_fused_layer_takes_its_own_units(noise):
    kernel, bias, x = noise(6, 4), noise(6) * 3, noise(200, 4)
    part = values(stack(fc=dense(kernel, bias)), x, columns={"fc": (2, 5)})
    alone = values(stack(fc=dense(kernel[2:5], bias[2:5])), x)
    assert part == pytest.approx(alone, rel=1e-5)


def test_token_ids_have_no_scale():
    ids = np.random.default_rng(0).integers(0, 9, (50, 4))
    assert reasons(stack(fc=nn.Embedding(9, 5)), ids)["activity.scale_ratio"] == "the input is no tensor of floats"


# --- Laws -----------------------------------------------------------------------------------------


@pytest.fixture
def deep(noise):
    network = stack(
        a=dense(noise(16, 8), noise(16)), r=nn.ReLU(), b=dense(noise(12, 16) / 4, noise(12)), t=nn.Tanh(),
        c=dense(noise(3, 12)),
    )  # fmt: skip
    return network, noise(350, 8) + 5


@pytest.mark.parametrize("size", [1, 37, 350])
def test_the_batch_size_does_not_matter(deep, size):
    network, x = deep
    for layer in ("a", "b", "c"):
        found = values(network, x, layer, batch_size=size)
        assert found == pytest.approx(values(network, x, layer, batch_size=100), rel=1e-5, abs=1e-9)


def test_blocks_do_not_matter(deep, monkeypatch):
    network, x = deep
    whole = values(network, x, "b")
    monkeypatch.setattr(accumulate, "BLOCK", 100)
    assert values(network, x, "b") == pytest.approx(whole, rel=1e-9, abs=1e-9)


def test_the_order_of_units_does_not_matter(noise):
    kernel, bias, x = noise(10, 6), noise(10), noise(300, 6)
    order = np.random.default_rng(1).permutation(10)
    plain = values(stack(fc=dense(kernel, bias), act=nn.ReLU()), x)
    mixed = values(stack(fc=dense(kernel[order], bias[order]), act=nn.ReLU()), x)
    assert mixed == pytest.approx(plain, rel=1e-5, abs=1e-9)


def test_scale_free_measures_do_not_see_the_scale(noise):
    kernel, bias, x = noise(10, 6), noise(10), noise(300, 6)
    plain = values(stack(fc=dense(kernel, bias), act=nn.ReLU()), x)
    large = values(stack(fc=dense(8 * kernel, 8 * bias), act=nn.ReLU()), x)
    for each in ("max_to_rms", "hoyer_sparsity", "effective_rank", "excess_kurtosis", "zero_fraction", "dead_fraction"):
        assert large[f"activity.{each}"] == pytest.approx(plain[f"activity.{each}"])
    assert large["activity.l1_energy"] == pytest.approx(8 * plain["activity.l1_energy"])
    assert large["bias.share"] == pytest.approx(plain["bias.share"])


def test_a_large_mean_costs_no_digits(noise):
    x = noise(2_000, 3)
    kernel = np.eye(3)
    near = values(stack(fc=dense(kernel, [0] * 3)), np.round(x * 64) / 64)
    far = values(stack(fc=dense(kernel, [4096] * 3)), np.round(x * 64) / 64)
    assert far["activity.effective_rank"] == pytest.approx(near["activity.effective_rank"])
    assert far["activity.excess_kurtosis"] == pytest.approx(near["activity.excess_kurtosis"], abs=1e-6)


def test_wide_layers_draw_units_from_the_seed(noise, monkeypatch):
    monkeypatch.setattr(accumulate, "WIDEST", 8)
    monkeypatch.setattr(covariance, "WIDEST", 8)
    network, x = stack(fc=dense(noise(20, 20))), noise(200, 20)
    first, again = values(network, x), values(network, x)
    assert first == again
    assert first["activity.effective_rank"] != values(network, x, seed=1)["activity.effective_rank"]
    assert details(network, x)["activity.effective_rank"] == "of 8 units drawn from 20"


# --- Depth ----------------------------------------------------------------------------------------


def chain(factor, depth, noise):
    modules = {f"l{i}": dense(np.linalg.qr(noise(8, 8))[0] * factor) for i in range(depth)}
    return stack(**modules, out=dense(noise(2, 8) * 1e6))


def test_growth_over_depth_is_the_power_of_the_factor(noise):
    network = chain(10.0, 6, noise)
    found = values(network, noise(100, 8), "", outputs=("out",))
    assert found["model.activity_growth"] == pytest.approx(1e5, rel=1e-3)
    assert found["model.activity_depth_correlation"] == pytest.approx(1.0)


def test_three_hidden_layers_have_no_profile(noise):
    assert "it takes 4" in reasons(chain(1.0, 3, noise), noise(9, 8), "", outputs=("out",))["model.activity_growth"]


# --- What cannot be measured ----------------------------------------------------------------------


def test_few_rows_cannot_tell_dead_units(noise):
    found = reasons(stack(fc=dense(noise(5, 3), noise(5)), act=nn.ReLU()), noise(99, 3))
    for measure in ("activity.dead_fraction", "activity.correlated_fraction", "bias.intercept_fraction"):
        assert found[measure] == "99 rows cannot tell; it takes 100"


def test_outputs_that_are_not_finite_skip_the_layer(noise):
    network = stack(fc=dense(noise(3, 2)), last=dense(noise(2, 3)))
    network.fc.weight.data[0] = 3e38
    x = np.abs(noise(120, 2)) + 2
    assert values(network, x) == {"activity.nonfinite_count": 120.0}
    assert set(reasons(network, x)) == {m.name for m in MEASURES} - {"activity.nonfinite_count"}


def test_a_layer_that_never_ran_is_skipped_once(noise):
    network = stack(fc=dense(noise(3, 2)))
    network.fc.unused = dense(noise(2, 2))
    found = ACTIVATIONS.run(session_of(network, noise(120, 2)))
    assert [s.measure for s in found.skips if s.layer == "fc.unused"] == ["activity"]


def test_all_zero_outputs():
    network = stack(fc=dense(np.zeros((4, 2)), np.zeros(4)), act=nn.ReLU())
    found = values(network, np.ones((150, 2), np.float32))
    assert found["activity.dead_fraction"] == 1.0
    assert found["activity.rms"] == 0.0
    assert "activity.near_zero_fraction" not in found
    assert "activity.excess_kurtosis" not in found


def test_every_measure_of_a_layer_is_taken_or_skipped(deep):
    network, x = deep
    found = ACTIVATIONS.run(session_of(network, x))
    names = {m.name for m in MEASURES}
    for layer in ("a", "b", "c"):
        taken = [m.measure for m in found.measurements if m.layer == layer]
        skipped = [s.measure for s in found.skips if s.layer == layer]
        assert sorted(taken + skipped) == sorted(names)


def test_the_model_is_left_as_it_was(deep):
    network, x = deep
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ACTIVATIONS.run(session_of(network, x))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_bins_keep_the_order_of_magnitudes():
    sizes = [0.0, 1e-40, 1e-10, 0.5, 1.0, 1.01, 3.0, 1e30, 3.4e38]
    bins = [accumulate.bin_of(each) for each in sizes]
    assert bins == sorted(bins)
    for size, index in zip(sizes, bins, strict=True):
        assert accumulate.value_of(index) <= size <= accumulate.value_of(index + 1)


def test_names_are_unique_and_explained():
    every = [each for _, family in FAMILIES for each in family]
    assert len({each.name for each in every}) == len(every)
    assert all(each.formula and each.range and each.tells.endswith(".") for each in every)
    assert activity_scale.NONFINITE in MEASURES
