"""One defect in one layer: the right rule fires there, and nothing else anywhere."""

from dataclasses import replace

import numpy as np
import pytest

from regaudit.records import Axis, Effect, Input, Parameter, Role, Site, Use
from regaudit.rules import run


def altered(change):
    """Return a change of a layer's arrays that alters the kernel only."""
    return lambda arrays: arrays | {"kernel": change(arrays["kernel"])}


def put(*values):
    """Return a kernel with these values at spread-out places."""

    def change(kernel):
        kernel = kernel.copy()
        places = np.linspace(1, kernel.size - 2, len(values)).astype(int) if len(values) > 1 else [kernel.shape[1] + 1]
        kernel.reshape(-1)[places] = values
        return kernel

    return change


def some_rows(share, scale=0.0):
    def change(kernel):
        kernel = kernel.copy()
        kernel[: round(share * len(kernel))] *= scale
        return kernel

    return change


def sparse(share):
    return lambda kernel: kernel * (np.random.default_rng(3).random(kernel.shape) > share)


def half_repeated(kernel):
    half = len(kernel) // 2
    return np.concatenate([kernel[:half], kernel[:half]])


def of_rank(rank):
    def change(kernel):
        u, s, v = np.linalg.svd(kernel)
        return (u[:, :rank] * s[:rank]) @ v[:rank]

    return change


DEFECTS = {
    "nan": ("nonfinite-values", altered(put(np.nan))),
    "inf": ("nonfinite-values", altered(put(np.inf))),
    "all-zero": ("kernel-all-zero", altered(np.zeros_like)),
    "constant": ("kernel-constant", altered(lambda w: np.full_like(w, 0.05))),
    "half-of-the-rows-dead": ("kernel-dead-units", altered(some_rows(0.5))),
    "tenth-of-the-rows-dead": ("kernel-dead-units", altered(some_rows(0.1))),
    "half-of-the-rows-tiny": ("kernel-dead-units", altered(some_rows(0.5, 1e-7))),
    "quarter-of-the-columns-zero": ("kernel-ignored-inputs", altered(lambda w: some_rows(0.25)(w.T).T)),
    "90%-zeros": ("kernel-mostly-zero", altered(sparse(0.9))),
    "70%-zeros": ("kernel-mostly-zero", altered(sparse(0.7))),
    "rank-1": ("kernel-rank-collapse", altered(of_rank(1))),
    "outer-product": ("kernel-rank-collapse", altered(lambda w: w[:, :1] @ w[:1, :])),
    "100x": ("kernel-runaway-scale", altered(lambda w: w * 100)),
    "50x": ("kernel-runaway-scale", altered(lambda w: w * 50)),
    "one-weight-50": ("kernel-outlier-weights", altered(put(50))),
    "three-weights-50": ("kernel-outlier-weights", altered(put(50, -50, 50))),
    "one-weight-1e6": ("kernel-outlier-weights", altered(put(1e6))),
    "bias-20": ("bias-dominance", lambda arrays: arrays | {"bias": np.full_like(arrays["bias"], 20)}),
    "bias-x500": ("bias-dominance", lambda arrays: arrays | {"bias": arrays["bias"] * 500}),
    "half-of-the-rows-repeated": ("kernel-duplicate-units", altered(half_repeated)),
}


@pytest.mark.parametrize("width", [32, 256])
@pytest.mark.parametrize(("rule", "change"), DEFECTS.values(), ids=DEFECTS)
def test_one_defect_gives_one_finding(model, findings, rule, change, width):
    (found,) = findings(*model.like_four(change, width=width))
    assert found[:2] == (rule, "l1")
    assert found[2] in {"error", "warn"}


@pytest.mark.parametrize(("rule", "change"), DEFECTS.values(), ids=DEFECTS)
@pytest.mark.parametrize(("layers", "position"), [(2, 0), (2, 1), (4, 3)], ids=["first-of-2", "last-of-2", "last-of-4"])
def test_elsewhere_in_the_model_too(model, findings, rule, change, layers, position):
    found = findings(*model.like_four(change, width=128, layers=layers, position=position))
    assert [f[:2] for f in found] == [(rule, f"l{position}")]


@pytest.mark.parametrize("rank", [2, 4])
def test_exact_low_rank_of_a_wide_layer(model, findings, rank):
    assert findings(*model.like_four(altered(of_rank(rank)))) == [("kernel-rank-collapse", "l1", "warn")]


CONV_DEFECTS = {k: v for k, v in DEFECTS.items() if k not in {"outer-product", "rank-1", "quarter-of-the-columns-zero"}}


@pytest.mark.parametrize(("rule", "change"), CONV_DEFECTS.values(), ids=CONV_DEFECTS)
def test_convolutions_too(model, findings, rule, change):
    layers = []
    for index in range(3):
        arrays = {"kernel": model.noise(32, 32 * 9), "bias": model.random.normal(size=32) * 0.01}
        arrays = change(arrays) if index == 1 else arrays
        kernel = arrays["kernel"].reshape(32, 32, 3, 3)
        layers.append(model.layer(f"c{index}", kernel, bias=arrays["bias"], role=Role.CONV))
    assert [f[:2] for f in findings(*layers)] == [(rule, "c1")]


def test_a_zero_input_channel_of_a_convolution(model, findings):
    layers = [model.layer(f"c{i}", model.noise(16, 8, 3, 3), role=Role.CONV) for i in range(2)]
    kernel = model.noise(16, 8, 3, 3)
    kernel[:, 2] = 0
    assert findings(*layers, model.layer("c2", kernel, role=Role.CONV)) == [("kernel-ignored-inputs", "c2", "warn")]


class TestPrecision:
    def test_float16_near_its_end(self, model, findings):
        layers = model.like_four(altered(lambda w: np.clip(w * 2.4e5, -65504, 65504)), dtype="F16")
        assert findings(*layers) == [("precision-half-range", "l1", "error")]

    def test_large_float16_bias(self, model, findings):
        layers = model.like_four(lambda arrays: arrays | {"bias": arrays["bias"] * 0 + 65504}, dtype="F16")
        assert findings(*layers) == [("precision-half-range", "l1", "error")]

    def test_clipped_8_bit_weights(self, model, findings):
        layers = model.like_four(altered(put(448)), dtype="F8_E4M3")
        assert ("precision-half-range", "l1", "warn") in findings(*layers)

    def test_scaled_8_bit_weights_end_at_the_end(self, model, findings):
        quantised = model.like_four(altered(lambda w: w / np.abs(w).max() * 448), dtype="F8_E4M3", tensors=2)
        assert "precision-half-range" not in {name for name, *_ in findings(*quantised)}

    def test_ordinary_float16(self, model, findings):
        assert findings(*model.like_four(dtype="F16")) == []


class TestDouble:
    def test_double_precision(self, model, findings):
        assert findings(*model.like_four(dtype="F64", width=128)) == [("precision-double", "", "info")]

    @pytest.mark.parametrize(
        ("width", "dtype", "kind"),
        [(32, "F64", "safetensors"), (64, "F32", "safetensors"), (128, "F64", "scikit-learn Pipeline")],
        ids=["few weights", "single", "scikit-learn"],
    )
    def test_silent(self, model, findings, width, dtype, kind):
        source = Input(path="m", format=kind, bytes=0, tensors=4, parameters=0)
        assert findings(*model.like_four(dtype=dtype, width=width), inputs=(source,)) == []


class TestDuplicateKernels:
    def test_one_copied_kernel(self, model, findings):
        layers = model.like_four()
        copied = model.layer("l4", layers[1].layer.get(Use.KERNEL).load(0, 256))
        assert findings(*layers, copied) == [("kernel-duplicate", "l4", "warn")]

    def test_a_stack_that_was_built_by_copying_is_one_note(self, model, findings):
        first, second = model.noise(32, 32), model.noise(64, 32)
        stack = [model.layer(f"{i}.{part}", k) for i in range(3) for part, k in (("a", first), ("b", second))]
        assert findings(*stack) == [("kernel-duplicate", "", "info")]

    def test_a_table_that_is_stored_twice_is_a_note(self, model, findings):
        table = model.noise(100, 16)
        embedding = model.layer("embed", table, role=Role.EMBEDDING)
        assert findings(embedding, model.layer("head", table)) == [("kernel-duplicate", "head", "info")]

    def test_equal_identities_are_normal(self, model, findings):
        pair = [model.layer(f"rnn{i}", np.eye(16), role=Role.RECURRENT) for i in range(2)]
        assert findings(*pair, model.layer("out", model.noise(16, 16))) == []


def norm(model, name, scale, *, mean=None, variance=None):
    more = [(Use.SCALE, scale), (Use.OFFSET, np.zeros(len(scale)))]
    more += [(use, array) for use, array in ((Use.MEAN, mean), (Use.VARIANCE, variance)) if array is not None]
    return model.layer(name, role=Role.NORM, more=more)


class TestNormalization:
    def test_negative_variance(self, model, findings):
        broken = norm(model, "bn", np.ones(8), mean=np.zeros(8), variance=np.array([1.0] * 7 + [-0.1]))
        assert findings(broken) == [("norm-invalid-variance", "bn", "error")]

    def test_nan_in_running_statistics(self, model, findings):
        broken = norm(model, "bn", np.ones(8), mean=np.full(8, np.nan), variance=np.ones(8))
        assert findings(broken) == [("nonfinite-values", "bn", "error")]

    def test_zero_scale_in_a_trained_model(self, model, findings):
        layers = [norm(model, "bn0", model.random.random(8) + 0.5), norm(model, "bn1", np.zeros(8))]
        assert findings(*layers) == [("norm-zero-scale", "bn1", "warn")]

    def test_zero_scale_in_a_fresh_model(self, model, findings):
        assert findings(norm(model, "bn0", np.ones(8)), norm(model, "bn1", np.zeros(8))) == []

    def test_fresh_running_statistics(self, model, findings):
        assert findings(norm(model, "bn", np.ones(8), mean=np.zeros(8), variance=np.ones(8))) == []


class TestPruned:
    @pytest.mark.parametrize("left", [0.0, 1e-6], ids=["zero", "next to it"])
    def test_channels_that_are_switched_off(self, model, findings, left):
        scale = np.linspace(0.5, 1.5, 64)
        scale[:48] = left
        assert findings(norm(model, "bn", scale)) == [("norm-pruned-channels", "bn", "info")]

    @pytest.mark.parametrize(
        "scale",
        [np.linspace(0.01, 1, 64), np.r_[np.zeros(6), np.linspace(0.5, 1.5, 58)], np.r_[np.zeros(3), np.ones(4)]],
        ids=["small", "few", "narrow"],
    )
    def test_silent(self, model, findings, scale):
        assert findings(norm(model, "bn", scale)) == []

    def test_all_zero_is_another_rule(self, model, findings):
        layers = [norm(model, "bn0", model.random.random(16) + 0.5), norm(model, "bn1", np.zeros(16))]
        assert findings(*layers) == [("norm-zero-scale", "bn1", "warn")]


class TestConstantChannel:
    def batch_norm(self, model, variance):
        return norm(model, "bn", np.linspace(0.9, 1.1, len(variance)), mean=np.ones(len(variance)), variance=variance)

    @pytest.mark.parametrize("smallest", [0.0, 1e-11])
    def test_fires(self, model, findings, smallest):
        found = findings(self.batch_norm(model, np.array([0.5, smallest, 2.0, 1.0])))
        assert found == [("norm-constant-channel", "bn", "info")]

    @pytest.mark.parametrize("variance", [[0.5, 1e-8, 2.0], [1.0, 1.0], [0.0, 0.0]], ids=["small", "fresh", "all zero"])
    def test_silent(self, model, findings, variance):
        assert findings(self.batch_norm(model, np.array(variance))) == []


class TestUnusedRows:
    def table(self, model, rows, unused, role=Role.EMBEDDING):
        kernel = model.noise(16, rows)
        kernel[:, :unused] *= 1e-6
        return model.layer("embed", kernel, role=role)

    def test_fires(self, model, findings):
        assert findings(self.table(model, 200, 30)) == [("embedding-unused-rows", "embed", "info")]

    @pytest.mark.parametrize(
        ("rows", "unused", "role"),
        [(200, 19, Role.EMBEDDING), (99, 50, Role.EMBEDDING), (200, 30, Role.POSITIONAL), (200, 0, Role.EMBEDDING)],
        ids=["few", "small table", "positions", "none"],
    )
    def test_silent(self, model, findings, rows, unused, role):
        assert findings(self.table(model, rows, unused, role)) == []


def untouched(*layers, confidence=0.9, target=Site.KERNEL):
    return tuple(
        Effect(layer=name, target=target, effect="untouched", confidence=confidence, text="Random.") for name in layers
    )


class TestUntouched:
    def test_fires(self, model, audited):
        (found,) = run(audited(*model.like_four(width=32), effects=untouched("l2")))
        assert (found.name, found.layer, found.severity) == ("kernel-untouched", "l2", "info")
        assert "3 of 3 others have learnt" in found.message

    @pytest.mark.parametrize(
        "effects",
        [
            untouched("l0", "l1", "l2", "l3"),
            untouched("l0", "l1", "l2"),
            untouched("l2", confidence=0.7),
            untouched("l2", target=Site.BIAS),
        ],
        ids=["a fresh model", "most of it", "unsure", "a bias"],
    )
    def test_silent(self, model, findings, effects):
        assert findings(*model.like_four(width=32), effects=effects) == []

    def test_silent_without_a_spectrum(self, model, findings):
        layers = model.like_four(width=32)
        plain = [
            replace(e, measurements=tuple(m for m in e.measurements if "outlier" not in m.measure)) for e in layers
        ]
        assert findings(*plain, effects=untouched("l2")) == []


class TestUnusedRank:
    def adapters(self, model, used, rank=16, count=3):
        """Return adapters of a rank that use some of it."""
        for index in range(count):
            b, a = model.noise(64, rank), model.noise(rank, 64)
            b[:, used:] *= 1e-4
            factors = tuple(
                Parameter(
                    use=Use.KERNEL, tensors=("f",), dtype="F32", shape=f.shape, axes=(), load=lambda i, j, f=f: f[i:j]
                )
                for f in (b, a)
            )
            yield model.layer(f"q{index}", b @ a, role=Role.ADAPTER, tensors=2, factors=factors)

    def test_fires(self, model, audited):
        (found,) = run(audited(*self.adapters(model, 2)))
        assert (found.name, found.layer, found.severity) == ("adapter-unused-rank", "", "info")
        assert "3 of 3 adapters" in found.message
        assert "of 16." in found.message

    @pytest.mark.parametrize(("used", "rank"), [(16, 16), (8, 16), (1, 4)], ids=["all", "half", "low rank"])
    def test_silent(self, model, findings, used, rank):
        assert findings(*self.adapters(model, used, rank)) == []

    def test_silent_on_a_single_layer_that_needs_little(self, model, findings):
        one, *_ = self.adapters(model, 2)
        full = [
            replace(each, layer=replace(each.layer, name=f"k{i}")) for i, each in enumerate(self.adapters(model, 16))
        ]
        assert findings(one, *full) == []


class TestBiasBeforeNorm:
    def conv(self, model, **changes):
        return model.layer("conv", model.noise(16, 8, 3, 3), role=Role.CONV, followed_by="bn", **changes)

    def batch_norm(self, model):
        return norm(model, "bn", np.linspace(0.9, 1.1, 16), mean=np.zeros(16) + 0.1, variance=np.ones(16) * 0.7)

    def test_fires(self, model, findings):
        found = findings(self.conv(model, bias=np.full(16, 0.01)), self.batch_norm(model))
        assert found == [("bias-before-norm", "conv", "info")]

    def test_silent_without_a_bias(self, model, findings):
        assert findings(self.conv(model), self.batch_norm(model)) == []

    def test_silent_before_a_normalization_over_channels(self, model, findings):
        layer_norm = norm(model, "bn", np.linspace(0.9, 1.1, 16))
        assert findings(self.conv(model, bias=np.full(16, 0.01)), layer_norm) == []


def test_a_finding_names_units_and_comparison(model, audited):
    (found,) = run(audited(*model.like_four(altered(some_rows(0.5)))))
    assert "128 of 256 units (50%)" in found.message
    assert "0-127" in found.message
    assert (found.metric, found.value, found.op, found.threshold) == ("kernel.dead_out_fraction", 0.5, ">=", 0.05)


def test_axes_are_needed(model, findings):
    """A kernel of unknown orientation has no rows that could be dead."""
    each = model.layer("x", np.concatenate([model.noise(8, 16), np.zeros((8, 16))]))
    assert each.layer.get(Use.KERNEL).axes == (Axis.OUT, Axis.IN)
    assert findings(each) == [("kernel-dead-units", "x", "warn")]
