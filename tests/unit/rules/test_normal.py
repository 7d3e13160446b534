"""What looks like a defect and is none."""

import numpy as np
import pytest

from regaudit.records import Declared, Role, Use

WORSE_THAN_A_NOTE = {"error", "warn"}


def test_clean_model_is_silent(model, findings):
    assert findings(*model.like_four()) == []


@pytest.mark.parametrize("width", [8, 16, 64, 512])
def test_clean_models_of_other_widths_are_silent(model, findings, width):
    assert findings(*model.like_four(width=width)) == []


INITIALISATIONS = {
    "torch-default": lambda r, n, m: r.uniform(-1, 1, (n, m)) / np.sqrt(m),
    "kaiming-normal": lambda r, n, m: r.normal(size=(n, m)) * np.sqrt(2 / m),
    "glorot-uniform": lambda r, n, m: r.uniform(-1, 1, (n, m)) * np.sqrt(6 / (m + n)),
    "bert": lambda r, n, m: r.normal(size=(n, m)) * 0.02,
    "orthogonal": lambda r, n, m: np.linalg.qr(r.normal(size=(max(n, m), min(n, m))))[0].reshape(n, m),
    "identity": lambda _r, n, m: np.eye(n, m),
    "scaled-identity": lambda _r, n, m: 0.01 * np.eye(n, m),
    "sparse-0.1": lambda r, n, m: r.normal(size=(n, m)) * (r.random((n, m)) > 0.1) * 0.01,
}


@pytest.mark.parametrize("shape", [(64, 64), (96, 32), (32, 96), (1, 32), (32, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("initialisation", INITIALISATIONS.values(), ids=INITIALISATIONS)
def test_fresh_layers_are_silent(model, findings, initialisation, shape):
    layers = [model.layer(f"l{i}", initialisation(model.random, *shape), bias=np.zeros(shape[0])) for i in range(2)]
    assert findings(*layers) == []


def test_torch_biases_of_narrow_layers(model, findings):
    layers = [
        model.layer(f"l{i}", model.random.uniform(-1, 1, (64, 1)), bias=model.random.uniform(-1, 1, 64))
        for i in range(3)
    ]
    assert findings(*layers) == []


@pytest.mark.parametrize("shape", [(16, 16, 3, 3), (32, 16, 3, 3), (16, 32, 3, 3)], ids=str)
def test_dirac_convolutions_are_silent(model, findings, shape):
    kernel = np.zeros(shape)
    for i in range(min(shape[:2])):
        kernel[i, i, 1, 1] = 1
    other = model.layer("c1", model.noise(*shape), role=Role.CONV)
    assert findings(model.layer("c0", kernel, role=Role.CONV), other) == []


def test_depthwise_copies_and_averages_are_silent(model, findings):
    identity = np.zeros((8, 1, 3, 3))
    identity[:, :, 1, 1] = 1
    layers = [
        model.layer("identity", identity, role=Role.DEPTHWISE),
        model.layer("blur", np.full((8, 1, 3, 3), 1 / 9), role=Role.DEPTHWISE),
        model.layer("point", model.noise(16, 8, 1, 1), role=Role.CONV),
    ]
    assert findings(*layers) == []


def test_embedding_with_padding_and_unused_rows(model, findings):
    table = model.random.normal(size=(16, 100))
    table[:, [0, 7, 8, 9, 50]] = 0
    table[:, 60:90] = table[:, 60:61]
    layers = [model.layer("embed", table, role=Role.EMBEDDING), model.layer("fc", model.noise(16, 16))]
    assert findings(*layers) == []


def test_unused_table_of_token_types(model, findings):
    table = model.layer("token_type_embeddings", np.zeros((64, 1)), role=Role.EMBEDDING)
    assert findings(table, model.layer("fc", model.noise(64, 64))) == []


def test_zero_positions_are_silent(model, findings):
    assert findings(model.layer("pos_embed", np.zeros((64, 50)), role=Role.POSITIONAL)) == []


def test_sinusoids_are_silent(model, findings):
    angle = np.arange(512)[None] / 10000 ** (np.arange(32)[:, None] / 32)
    table = np.concatenate([np.sin(angle), np.cos(angle)]).astype(np.float16)
    assert findings(model.layer("pe", table, role=Role.POSITIONAL, dtype="F16")) == []


def test_unstarted_adapters_are_one_note(model, findings):
    zero = [model.layer(f"q{i}", np.zeros((16, 16)), role=Role.ADAPTER, tensors=2) for i in range(3)]
    assert findings(*zero) == [("adapter-no-effect", "", "info")]


def test_trained_adapters_of_low_rank_are_silent(model, findings):
    update = model.noise(64, 4) @ model.noise(4, 64)
    assert findings(*[model.layer(f"q{i}", update * (i + 1), role=Role.ADAPTER, tensors=2) for i in range(2)]) == []


def test_uniform_pruning_is_silent(model, findings):
    def pruned():
        kernel = model.noise(64, 64)
        return kernel * (np.abs(kernel) > np.quantile(np.abs(kernel), 0.8))

    assert findings(*[model.layer(f"l{i}", pruned()) for i in range(4)]) == []


def test_two_of_four_pruning_of_most_kernels_is_silent(model, findings):
    def pruned():
        groups = model.noise(64, 64).reshape(-1, 4)
        groups[np.arange(len(groups))[:, None], np.argsort(np.abs(groups), axis=1)[:, :2]] = 0
        return groups.reshape(64, 64)

    layers = [model.layer(f"l{i}", pruned()) for i in range(4)]
    assert findings(*layers, model.layer("out", model.noise(64, 64))) == []


def test_declared_l1_explains_a_sparse_kernel(model, findings):
    layers = model.like_four(lambda a: a | {"kernel": a["kernel"] * (model.random.random((256, 256)) > 0.9)})
    l1 = Declared(target="l1", site="kernel", kind="l1", value=0.01, where="config", unit="keras")
    assert findings(*layers, declared=(l1,)) == [("kernel-mostly-zero", "l1", "info")]


@pytest.mark.parametrize("scale", [1e-3, 0.1], ids=["collapsed", "shrunk"])
def test_what_an_l2_penalty_leaves_is_at_most_a_note(model, findings, scale):
    """Decayed units and inputs, biases above shrunk kernels, a low but not exact rank."""
    kernel = model.noise(32, 12) * scale
    kernel[:14] *= 1e-6
    kernel[:, 5] *= 1e-5
    layers = [
        model.layer("0", kernel, bias=model.random.normal(size=32)),
        model.layer("2", model.noise(32, 32) * scale, bias=np.ones(32)),
        model.layer("4", model.noise(1, 32), bias=np.ones(1), is_output=True),
    ]
    found = findings(*layers)
    assert WORSE_THAN_A_NOTE.isdisjoint(severity for *_, severity in found)


def test_decayed_filters_before_a_normalization_are_a_note(model, findings):
    kernel = model.noise(64, 32, 3, 3)
    kernel[:20] *= 1e-6
    layers = [
        model.layer("conv1", kernel, role=Role.CONV, followed_by="bn1"),
        model.layer("conv2", model.noise(64, 64, 3, 3), role=Role.CONV),
    ]
    assert findings(*layers) == [("kernel-dead-units", "conv1", "info")]


def test_heavy_tails_are_no_outliers(model, findings):
    kernel = model.random.standard_t(1.2, size=(128, 192)) * 0.01
    layers = [model.layer("conv4", kernel), *[model.layer(f"l{i}", model.noise(64, 64)) for i in range(3)]]
    assert "kernel-outlier-weights" not in {name for name, *_ in findings(*layers)}


def test_one_large_unit_of_a_transformer_is_no_outlier(model, findings):
    kernel = model.noise(384, 1536)
    kernel[3, 7] = 4.4  # 175 times the rms, 5% of the energy: what MiniLM's first block has
    layers = [model.layer("output", kernel), *[model.layer(f"l{i}", model.noise(64, 64)) for i in range(3)]]
    assert findings(*layers) == []


BIG = np.full(64, 20.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"followed_by": "bn"},
        {"role": Role.ATTENTION, "part": "key"},
        {"part": "time step"},
    ],
    ids=["before-norm", "key", "mamba"],
)
def test_biases_that_do_nothing(model, findings, changes):
    name = changes.pop("name", "l1")
    odd = model.layer(name, model.noise(64, 64), bias=BIG, **changes)
    assert findings(model.layer("l0", model.noise(64, 64)), odd) == []


def test_bias_of_a_small_output_is_the_mean_of_its_targets(model, findings):
    out = model.layer("out", model.noise(3, 64), bias=BIG[:3], is_output=True)
    assert findings(model.layer("l0", model.noise(64, 64)), out) == []


def test_bias_of_a_large_output_carries_class_frequencies(model, findings):
    frequencies = 1 / np.arange(1, 1001)
    bias = np.log(frequencies / frequencies.sum())
    out = model.layer("out", model.noise(1000, 64) / np.sqrt(3), bias=bias - bias.mean(), is_output=True)
    assert findings(model.layer("l0", model.noise(64, 64)), out) == []


def test_keras_forget_bias(model, findings):
    gate = model.layer(
        "lstm[gate f]", model.random.uniform(-1, 1, (32, 1)) * np.sqrt(6 / 33), bias=np.ones(32), role=Role.RECURRENT
    )
    assert findings(gate, model.layer("out", model.noise(32, 32))) == []


def test_large_kernel_beside_collapsed_ones(model, findings):
    layers = [model.layer(f"l{i}", model.noise(32, 32) * 1e-3, bias=np.zeros(32)) for i in range(2)]
    assert findings(*layers, model.layer("out", model.noise(8, 32) * 4)) == []


def test_large_embedding(model, findings):
    table = model.layer("embed", model.random.normal(size=(64, 5000)), role=Role.EMBEDDING)
    assert findings(table, model.layer("fc", model.noise(64, 64))) == []


def test_one_kernel_alone_has_no_siblings(model, findings):
    sparse = model.noise(32, 32) * (model.random.random((32, 32)) > 0.9) * 1000
    assert findings(model.layer("lasso", sparse)) == []


def test_scalar_parameters_are_silent(model, findings):
    assert findings(model.layer("logit_scale", role=Role.UNKNOWN, more=[(Use.SCALE, np.array([0.0]))])) == []


def test_what_a_strong_l1_penalty_leaves_is_at_most_a_note(model, findings):
    def shrunk(dead, ignored):
        kernel = model.noise(48, 64)
        kernel = np.sign(kernel) * np.maximum(np.abs(kernel) - 0.1, 0)
        kernel[:dead] = 0
        kernel[:, :ignored] = 0
        return kernel

    layers = [model.layer("l0", shrunk(24, 10)), model.layer("l1", shrunk(0, 20)), model.layer("l2", shrunk(5, 5))]
    assert not {severity for _, _, severity in findings(*layers)} & WORSE_THAN_A_NOTE


def test_depthwise_kernels_of_an_undeclared_start_grow_at_will(model, findings, with_values):
    """He's fan_out mode (EfficientNet) draws them √channels above what Keras' Glorot, the default, would."""
    others = [model.layer(f"l{i}", model.noise(64, 64)) for i in range(3)]
    kernel = model.noise(512, 1, 3, 3)
    assumed = with_values(model.layer("dw", kernel, role=Role.DEPTHWISE), kernel__growth=60.0)
    known = with_values(model.layer("dw", kernel, role=Role.DEPTHWISE, initial_std=0.01), kernel__growth=60.0)
    assert findings(assumed, *others) == []
    assert findings(known, *others) == [("kernel-runaway-scale", "dw", "warn")]


def test_a_head_that_starts_at_zero_is_a_note_in_a_fresh_model(model, findings):
    norm = model.layer("n", role=Role.NORM, more=[(Use.SCALE, np.ones(64))])
    trained = model.layer("n", role=Role.NORM, more=[(Use.SCALE, np.linspace(0.9, 1.1, 64))])
    head = model.layer("head", np.zeros((16, 64)), bias=np.zeros(16), is_output=True)
    body = model.layer("l0", model.noise(64, 64))
    assert findings(body, norm, head) == [("kernel-all-zero", "head", "info")]
    assert findings(body, trained, head) == [("kernel-all-zero", "head", "error")]
