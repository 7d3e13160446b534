import pytest

from regaudit.records import Module, Role


def bn(path, size):
    return {f"{path}.{leaf}": (size,) for leaf in ("weight", "bias", "running_mean", "running_var")}


def ln(path, size):
    return {f"{path}.weight": (size,), f"{path}.bias": (size,)}


def followed(found):
    return {layer.name: layer.followed_by for layer in found.layers if layer.followed_by}


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"0.weight": (4, 3), **bn("1", 4), "3.weight": (2, 4)}, {"0": "1"}),
        ({"net.0.weight": (4, 3), **ln("net.1", 4)}, {"net.0": "net.1"}),
        ({"0.weight": (4, 3), **bn("1", 3)}, {}),
        ({"layer1.0.conv1.weight": (4, 4, 3, 3), **bn("layer1.0.bn1", 4)}, {"layer1.0.conv1": "layer1.0.bn1"}),
        ({"layer2.0.downsample.0.weight": (8, 4, 1, 1), **bn("layer2.0.downsample.1", 8)},
         {"layer2.0.downsample.0": "layer2.0.downsample.1"}),
        ({"b.expand_conv.weight": (8, 4, 1, 1), **bn("b.expand_bn", 8)}, {"b.expand_conv": "b.expand_bn"}),
        ({"b.convolution.weight": (8, 4, 1, 1), **bn("b.normalization", 8)}, {"b.convolution": "b.normalization"}),
        ({"f.conv0.weight": (8, 3, 7, 7), **bn("f.norm0", 8)}, {"f.conv0": "f.norm0"}),
        ({"fc1.weight": (8, 4), **bn("bn1", 8)}, {"fc1": "bn1"}),
        ({"fc1.weight": (8, 8), **ln("ln1", 8)}, {}),
        ({"b.dwconv.weight": (8, 1, 7, 7), **ln("b.norm", 8), "b.pwconv1.weight": (32, 8)}, {"b.dwconv": "b.norm"}),
        ({"b.conv_pw.weight": (8, 4, 1, 1), **bn("b.bn1", 8), "b.conv_dw.weight": (8, 1, 3, 3), **bn("b.bn2", 8),
          "b.conv_pwl.weight": (4, 8, 1, 1), **bn("b.bn3", 4)},
         {"b.conv_pw": "b.bn1", "b.conv_dw": "b.bn2", "b.conv_pwl": "b.bn3"}),
        ({"output.dense.weight": (8, 8), **ln("output.LayerNorm", 8)}, {}),
        ({"self_attn.q_proj.weight": (8, 8), "self_attn.k_proj.weight": (4, 8), "self_attn.v_proj.weight": (4, 8),
          "self_attn.q_norm.weight": (2,), "self_attn.k_norm.weight": (2,)},
         {"self_attn.q_proj": "self_attn.q_norm", "self_attn.k_proj": "self_attn.k_norm"}),
        ({"attn.qkv.weight": (24, 8), "attn.q_norm.weight": (4,), "attn.k_norm.weight": (4,)},
         {"attn.qkv[query]": "attn.q_norm", "attn.qkv[key]": "attn.k_norm"}),
        ({"l.self_attn.o_proj.weight": (8, 8), "l.mlp.down_proj.weight": (8, 9), "l.post_attention_layernorm.weight": (8,),
          "l.post_feedforward_layernorm.weight": (8,)},
         {"l.self_attn.o_proj": "l.post_attention_layernorm", "l.mlp.down_proj": "l.post_feedforward_layernorm"}),
        ({"l.self_attn.o_proj.weight": (8, 8), "l.post_attention_layernorm.weight": (8,)}, {}),
    ],
)  # fmt: skip
def test_a_normalization_that_takes_the_output_is_found_by_names(model, shapes, expected):
    assert followed(model(shapes)) == expected


def test_blocks_that_normalize_first_are_not_read_backwards(model):
    shapes = {}
    for block, inputs in (("a.0", 8), ("a.1", 16)):
        shapes |= {f"{block}.conv1.weight": (4, inputs, 1, 1), **bn(f"{block}.norm1", inputs)}
        shapes |= {f"{block}.conv2.weight": (8, 4, 3, 3), **bn(f"{block}.norm2", 4)}
    assert followed(model(shapes)) == {"a.0.conv1": "a.0.norm2", "a.1.conv1": "a.1.norm2"}


def test_a_time_embedding_stands_between(model):
    shapes = {"r.conv1.weight": (8, 4, 3, 3), **ln("r.norm1", 4), **ln("r.norm2", 8), "r.time_emb_proj.weight": (8, 9)}
    assert followed(model(shapes)) == {}


KERAS = (
    Module(name="in", type="InputLayer"),
    Module(name="d1", type="Dense", activation="linear", inputs=("in",)),
    Module(name="bn1", type="BatchNormalization", inputs=("d1",)),
    Module(name="d2", type="Dense", activation="relu", inputs=("bn1",)),
    Module(name="bn2", type="BatchNormalization", inputs=("d2",)),
    Module(name="d3", type="Dense", activation="linear", inputs=("bn2",)),
    Module(name="add", type="Add", inputs=("d3", "bn1")),
    Module(name="bn3", type="BatchNormalization", inputs=("add",)),
    Module(name="lstm", type="LSTM", inputs=("bn3",)),
    Module(name="a", type="Dense", inputs=("lstm",)),
    Module(name="b", type="Dense", inputs=("lstm",)),
)
KERAS_SHAPES = {
    **{f"{d}/kernel": (4, 4) for d in ("d1", "d2", "d3", "a", "b")},
    **{f"{n}/{leaf}": (4,) for n in ("bn1", "bn2", "bn3") for leaf in ("gamma", "beta")},
    "lstm/lstm_cell/kernel": (4, 16),
    "lstm/lstm_cell/recurrent_kernel": (4, 16),
}


def test_the_graph_tells_what_follows(model):
    # d2 has an activation in between, d3 a sum.
    assert followed(model(KERAS_SHAPES, modules=KERAS)) == {"d1": "bn1"}


def test_the_graph_tells_the_outputs(model):
    found = model(KERAS_SHAPES, modules=KERAS)
    assert {layer.name for layer in found.layers if layer.is_output} == {"a", "b"}


def test_layers_are_in_the_order_of_the_graph(model):
    found = model(dict(reversed(KERAS_SHAPES.items())), modules=KERAS)
    names = [layer.name for layer in found.layers if "/" not in layer.name]
    assert names == [module.name for module in KERAS if module.name in names]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.layers.0.mlp.down_proj", "lm_head"], "lm_head"),
        (["bert.pooler.dense", "classifier"], "classifier"),
        (["classifier.dense", "classifier.out_proj"], "classifier.out_proj"),
        (["cls.predictions.decoder", "cls.predictions.transform.dense"], "cls.predictions.decoder"),
        (["features.0", "classifier.0", "classifier.3", "classifier.10"], "classifier.10"),
        (["0", "2", "10"], "10"),
        (["l0", "l1", "l2", "l3"], "l3"),
        (["dense", "dense_1", "dense_2"], "dense_2"),
        (["rpn.head.cls_logits", "backbone.conv"], None),
        (["encoder.layer.0.output.dense", "encoder.layer.1.output.dense"], None),
    ],
)
def test_the_last_kernel_is_found_by_names(model, names, expected):
    found = model({f"{name}.weight": (4, 3) for name in names})
    assert [layer.name for layer in found.layers if layer.is_output] == ([expected] if expected else [])


def test_sorted_names_are_put_in_natural_order(model):
    names = ["lm_head", "model.embed_tokens", *(f"model.layers.{i}.mlp.fc" for i in range(12))]
    found = model({f"{name}.weight": (4, 3) for name in sorted(names)})
    order = [layer.name for layer in found.layers]
    assert order[0] == "model.embed_tokens"
    assert order[1:-1] == [f"model.layers.{i}.mlp.fc" for i in range(12)]
    assert order[-1] == "lm_head"


def test_the_files_own_order_is_kept(model):
    names = ["stem", "z", "block", "a", "head"]
    found = model({f"{name}.{leaf}": shape for name in names for leaf, shape in (("weight", (4, 3)), ("bias", (4,)))})
    assert [layer.name for layer in found.layers] == names


def test_parts_keep_their_order(model):
    found = model({"attn.qkv.bias": (12,), "attn.qkv.weight": (12, 4), "mlp.fc.weight": (4, 4)})
    assert [layer.part for layer in found.layers if layer.role is Role.ATTENTION] == ["query", "key", "value"]


def test_only_kernels_are_followed_by_a_normalization(model, by_name):
    modules = tuple(
        Module(name=name, type=kind, inputs=inputs)
        for name, kind, inputs in (
            ("conv", "Conv2D", ()), ("act", "PReLU", ("conv",)), ("gn", "GroupNormalization", ("act",)),
            ("ln", "LayerNormalization", ("gn",)),
        )
    )  # fmt: skip
    shapes = {"conv/kernel": (3, 3, 2, 8), "act/alpha": (8,), "gn/gamma": (8,), "gn/beta": (8,), "ln/gamma": (8,)}
    found = by_name(model(shapes, modules=modules))
    assert {layer.followed_by for layer in found.values()} == {""}
