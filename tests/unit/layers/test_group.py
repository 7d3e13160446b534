import numpy as np
import pytest

from regaudit.layers import group
from regaudit.layers.architecture import Architecture, architecture
from regaudit.records import Module, Tensor, Use

HOSTILE = [
    "",
    ".",
    "." * 10_000,
    "a\nb.weight",
    "\x1b[31mred\x1b[0m.weight",
    "<b>.weight",
    "[bold]x.weight",
    "x[query].weight",
    "é/kernel",
]


def test_hostile_names_are_layers_with_unique_names(model):
    found = model(dict.fromkeys(HOSTILE, (4, 3)))
    assert len(found.layers) == len(HOSTILE)
    assert list(found.roles) == HOSTILE


def test_a_module_named_as_a_part_does_not_hide_it(model):
    found = model({"attn.qkv.weight": (12, 4), "attn.qkv[query].weight": (4, 4)})
    assert len({layer.name for layer in found.layers}) == 4


def test_names_that_differ_by_a_wrapper_only_stay_apart(by_name, model):
    found = by_name(model({"fc.weight": (4, 3), "module.fc.weight": (5, 3)}))
    assert {name: layer.get(Use.KERNEL).shape for name, layer in found.items()} == {"fc": (4, 3), "module.fc": (5, 3)}


def test_an_empty_checkpoint_has_no_layers(checked, checkpoint):
    found = checked(checkpoint({}))
    assert (found.layers, found.skipped, found.roles) == ((), (), {})


def test_nothing_is_read_but_the_scale_of_an_adapter(checkpoint):
    reads = []
    opened = checkpoint(
        {
            "fc.weight": np.zeros((4, 3), np.float32),
            "m.weight_g": np.zeros((4, 1), np.float32),
            "m.weight_v": np.zeros((4, 3), np.float32),
        }
    )
    object.__setattr__(opened, "read", lambda *asked: reads.append(asked))
    group(opened)
    assert reads == []


def test_rows_of_a_part_read_only_their_bytes(checkpoint, numbers):
    whole, reads = numbers(3000, 4), []
    opened = checkpoint({"attn.in_proj_weight": whole})

    def read(tensor, start, stop):
        reads.append(stop - start)
        return whole.reshape(-1)[start:stop].copy()

    object.__setattr__(opened, "read", read)
    key = group(opened).layers
    assert len(key) == 1  # (3000, 4) is not (3 · 4, 4): not cut
    key[0].get(Use.KERNEL).load(10, 12)
    assert reads == [8]


def test_ten_thousand_tensors_are_all_grouped(checkpoint):
    opened = checkpoint({})
    names = sorted(
        f"model.layers.{i}.{n}.weight"
        for i in range(1112)
        for n in ("q_proj", "k_proj", "v_proj", "o_proj", "up", "gate", "down", "norm", "ln2")
    )
    tensors = tuple(
        Tensor(name=name, shape=(8,) if "n" in name[-11:-7] else (8, 8), dtype="F32", nbytes=256) for name in names
    )
    object.__setattr__(opened, "tensors", tensors)
    found = group(opened)
    assert len(found.layers) == len(names) > 10_000


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": "many", "hidden_size": -3, "model_type": 7, "initializer_range": float("nan")},
        {"num_attention_heads": True, "quantization_config": [], "text_config": "x"},
        {"quantization_config": {"weight_block_size": [0, "a"], "bits": {}, "quant_method": None}},
        {"initializer_range": float("inf"), "num_attention_heads": 10**30, "hidden_size": 1},
    ],
)
def test_a_hostile_configuration_counts_as_none(model, config):
    facts = architecture(config)
    assert facts.initializer_range is None
    assert (facts.model_type, facts.block) == ("", None)
    assert len(model({"attn.qkv.weight": (12, 4)}, config=config).layers) == 3


def test_facts_of_a_language_model_inside_are_found():
    config = {"model_type": "llava", "text_config": {"model_type": "llama", "num_attention_heads": 4, "hidden_size": 8}}
    assert architecture(config) == Architecture(model_type="llava", hidden_size=8, heads=4, head_dim=2)


def test_transformers_declares_the_initial_std_of_linear_weights_and_embeddings(by_name, model):
    shapes = {"wte.weight": (9, 4), "h.0.mlp.fc.weight": (4, 4), "ln.weight": (4,), "patch.conv.weight": (4, 3, 2, 2)}
    found = by_name(model(shapes, config={"initializer_range": 0.02}))
    assert {name: layer.initial_std for name, layer in found.items()} == {
        "wte": 0.02,
        "h.0.mlp.fc": 0.02,
        "ln": None,
        "patch.conv": None,
    }


@pytest.mark.parametrize(
    ("settings", "std"),
    [
        ({"kernel_initializer": "GlorotUniform"}, np.sqrt(2 / (6 * 9 + 4 * 9))),
        ({"kernel_initializer": "HeNormal"}, np.sqrt(2 / (6 * 9))),
        ({"kernel_initializer": "LecunNormal"}, np.sqrt(1 / (6 * 9))),
        ({"kernel_initializer": "RandomNormal", "kernel_initializer.stddev": 0.05}, 0.05),
        ({"kernel_initializer": "TruncatedNormal", "kernel_initializer.stddev": 0.05}, 0.05 * 0.87962566),
        (
            {
                "kernel_initializer": "RandomUniform",
                "kernel_initializer.minval": -0.05,
                "kernel_initializer.maxval": 0.05,
            },
            0.1 / np.sqrt(12),
        ),
        (
            {
                "kernel_initializer": "VarianceScaling",
                "kernel_initializer.scale": 3.0,
                "kernel_initializer.mode": "fan_out",
            },
            np.sqrt(3 / 36),
        ),
        ({"kernel_initializer": "Zeros"}, None),
        ({"kernel_initializer": "MyOwn"}, None),
        ({"kernel_initializer": 7}, None),
        ({}, None),
    ],
)
def test_keras_declares_its_initializer(model, settings, std):
    modules = (Module(name="c", type="Conv2D", settings=settings),)
    (layer,) = model({"c/kernel": (3, 3, 6, 4)}, modules=modules).layers
    assert layer.initial_std == (None if std is None else pytest.approx(std, rel=1e-6))


RNN = {"kernel_initializer": "GlorotUniform", "recurrent_initializer": "Orthogonal", "recurrent_initializer.gain": 2.0}
SEPARABLE = {"depthwise_initializer": "HeNormal", "pointwise_initializer": "LecunNormal"}


@pytest.mark.parametrize(
    ("shapes", "module", "layer", "std"),
    [
        ({"l/lstm_cell/kernel": (10, 20), "l/lstm_cell/recurrent_kernel": (5, 20)}, ("l", "LSTM", RNN),
         "l/lstm_cell/kernel[gate f]", np.sqrt(2 / 30)),
        ({"l/lstm_cell/kernel": (10, 20), "l/lstm_cell/recurrent_kernel": (5, 20)}, ("l", "LSTM", RNN),
         "l/lstm_cell/recurrent_kernel[gate o]", 2 / np.sqrt(20)),
        ({"l/cell/kernel": (3, 3, 2, 24), "l/cell/recurrent_kernel": (3, 3, 6, 24)}, ("l", "ConvLSTM2D", RNN),
         "l/cell/recurrent_kernel[gate i]", 2 / np.sqrt(54)),
        ({"m/query/kernel": (32, 4, 8), "m/query/bias": (4, 8)}, ("m", "MultiHeadAttention", RNN), "m/query",
         np.sqrt(2 / 64)),
        ({"d/kernel": (3, 3, 16, 1)}, ("d", "DepthwiseConv2D", {"depthwise_initializer": "VarianceScaling",
          "depthwise_initializer.scale": 2.0, "depthwise_initializer.mode": "fan_out"}), "d", np.sqrt(2 / 9)),
        ({"s/depthwise_kernel": (3, 3, 4, 1), "s/pointwise_kernel": (1, 1, 4, 6)}, ("s", "SeparableConv2D", SEPARABLE),
         "s[pointwise]", np.sqrt(1 / 4)),
        ({"t/kernel": (3, 3, 8, 4)}, ("t", "Conv2DTranspose", {"kernel_initializer": "HeNormal"}), "t", np.sqrt(2 / 72)),
    ],
    ids=["lstm", "lstm-recurrent", "convlstm-recurrent", "attention", "depthwise", "pointwise", "transpose"],
)  # fmt: skip
def test_keras_declares_the_initializers_of_other_kernels(model, by_name, shapes, module, layer, std):
    """As drawn by Keras 3.15; the initializers of a cell or a projection are among the settings of its owner."""
    name, kind, settings = module
    found = by_name(model(shapes, modules=(Module(name=name, type=kind, settings=settings),)))
    assert found[layer].initial_std == pytest.approx(std)
