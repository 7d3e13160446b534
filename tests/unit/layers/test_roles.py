import pytest

from regaudit.records import Axis, Confidence, Module, Role, Use

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP

CASES = [
    # id, shapes, layer, role, axes of its kernel
    ("linear", {"fc.weight": (3, 5), "fc.bias": (3,)}, "fc", Role.DENSE, (OUT, IN)),
    ("linear-square", {"fc.weight": (4, 4), "fc.bias": (4,)}, "fc", Role.DENSE, (OUT, IN)),
    ("linear-stored-in-out", {"fc.weight": (5, 3), "fc.bias": (3,)}, "fc", Role.DENSE, (IN, OUT)),
    ("keras-dense", {"d1/kernel": (5, 3), "d1/bias": (3,)}, "d1", Role.DENSE, (IN, OUT)),
    ("flax-dense", {"params.Dense_0.kernel": (4, 4), "params.Dense_0.bias": (4,)}, "Dense_0", Role.DENSE, (IN, OUT)),
    ("lone-linear", {"weight": (3, 5), "bias": (3,)}, "weight", Role.DENSE, (OUT, IN)),
    ("bare", {"gauss_wide": (3, 5)}, "gauss_wide", Role.DENSE, (OUT, IN)),
    ("numpy-pair", {"W1": (5, 3), "b1": (3,)}, "W1", Role.DENSE, (IN, OUT)),
    ("sklearn-linear", {"coef_": (5,), "intercept_": ()}, "coef_", Role.DENSE, (IN,)),
    ("sklearn-logistic", {"coef_": (3, 5), "intercept_": (3,)}, "coef_", Role.DENSE, (OUT, IN)),
    ("sklearn-mlp", {"coefs_.0": (5, 3), "intercepts_.0": (3,)}, "coefs_.0", Role.DENSE, (IN, OUT)),
    ("conv1d", {"conv.weight": (6, 4, 3)}, "conv", Role.CONV, (OUT, IN, TAP)),
    ("conv2d", {"conv.weight": (6, 4, 3, 3), "conv.bias": (6,)}, "conv", Role.CONV, (OUT, IN, TAP, TAP)),
    ("conv3d", {"conv.weight": (6, 4, 3, 3, 3)}, "conv", Role.CONV, (OUT, IN, TAP, TAP, TAP)),
    ("conv-grey", {"c1.weight": (6, 1, 3, 3), "c2.weight": (9, 6, 3, 3)}, "c1", Role.CONV, (OUT, IN, TAP, TAP)),
    ("conv-sound", {"convs.0.weight": (8, 1, 9), "convs.1.weight": (8, 8, 3)}, "convs.0", Role.CONV, (OUT, IN, TAP)),
    ("text-cnn", {"convs.0.weight": (9, 1, 3, 8), "convs.1.weight": (9, 1, 4, 8), "fc.weight": (2, 18)}, "convs.1",
     Role.CONV, (OUT, IN, TAP, TAP)),
    ("conv-transpose-by-bias", {"c.weight": (6, 4, 2, 2), "c.bias": (4,)}, "c", Role.CONV_TRANSPOSE, (IN, OUT, TAP, TAP)),
    ("conv-transpose-by-name", {"up1.up.weight": (6, 6, 2, 2)}, "up1.up", Role.CONV_TRANSPOSE, (IN, OUT, TAP, TAP)),
    ("conv-in-an-up-block", {"up_blocks.0.conv1.weight": (6, 4, 3, 3)}, "up_blocks.0.conv1", Role.CONV,
     (OUT, IN, TAP, TAP)),
    ("keras-conv", {"c/kernel": (3, 3, 4, 6), "c/bias": (6,)}, "c", Role.CONV, (TAP, TAP, IN, OUT)),
    ("keras-conv-transpose", {"c/kernel": (2, 2, 4, 6), "c/bias": (4,)}, "c", Role.CONV_TRANSPOSE, (TAP, TAP, OUT, IN)),
    ("depthwise-by-name", {"dw.weight": (6, 1, 3, 3)}, "dw", Role.DEPTHWISE, (OUT, IN, TAP, TAP)),
    ("depthwise-by-channels", {"a.0.weight": (6, 3, 1, 1), "b.weight": (6, 1, 3, 3)}, "b", Role.DEPTHWISE,
     (OUT, IN, TAP, TAP)),
    ("depthwise-of-mamba", {"m.conv1d.weight": (6, 1, 4), "m.A_log": (6, 2)}, "m.conv1d", Role.DEPTHWISE,
     (OUT, IN, TAP)),
    ("keras-depthwise", {"d/depthwise_kernel": (3, 3, 4, 2), "d/bias": (8,)}, "d", Role.DEPTHWISE,
     (TAP, TAP, OUT, OUT)),
    ("separable", {"s/depthwise_kernel": (3, 3, 4, 1), "s/pointwise_kernel": (1, 1, 4, 6), "s/bias": (6,)},
     "s[pointwise]", Role.CONV, (TAP, TAP, IN, OUT)),
    ("embedding", {"model.embed_tokens.weight": (9, 4)}, "model.embed_tokens", Role.EMBEDDING, (IN, OUT)),
    ("keras-embedding", {"tok/embeddings": (9, 4)}, "tok", Role.EMBEDDING, (IN, OUT)),
    ("embedding-list", {"embeds.3.weight": (9, 4)}, "embeds.3", Role.EMBEDDING, (IN, OUT)),
    ("embedder-with-bias", {"x_embed.weight": (9, 4), "x_embed.bias": (9,)}, "x_embed", Role.DENSE, (OUT, IN)),
    ("output-named-embed-out", {"embed_out.weight": (9, 4)}, "embed_out", Role.DENSE, (OUT, IN)),
    ("positional", {"wpe.weight": (9, 4)}, "wpe", Role.POSITIONAL, (IN, OUT)),
    ("positional-3d", {"vit.pos_embed": (1, 9, 4)}, "vit.pos_embed", Role.POSITIONAL, (IN, IN, OUT)),
    ("class-token", {"cls_token": (1, 1, 4)}, "cls_token", Role.POSITIONAL, (IN, IN, OUT)),
    ("relative-bias", {"a.relative_attention_bias.weight": (32, 4)}, "a.relative_attention_bias", Role.POSITIONAL,
     (IN, OUT)),
    ("q-proj", {"self_attn.q_proj.weight": (4, 4)}, "self_attn.q_proj", Role.ATTENTION, (OUT, IN)),
    ("bert-output", {"attention.output.dense.weight": (4, 4), "attention.output.dense.bias": (4,)},
     "attention.output.dense", Role.ATTENTION, (OUT, IN)),
    ("mlp-output", {"layer.0.output.dense.weight": (4, 8)}, "layer.0.output.dense", Role.DENSE, (OUT, IN)),
    ("critic", {"value.weight": (1, 8), "value.bias": (1,)}, "value", Role.DENSE, (OUT, IN)),
    ("heads", {"mha/query/kernel": (8, 2, 3), "mha/query/bias": (2, 3)}, "mha/query", Role.ATTENTION, (IN, OUT, OUT)),
    ("heads-out", {"mha/query/kernel": (8, 2, 3), "mha/key/kernel": (8, 2, 3), "mha/value/kernel": (8, 2, 3),
                   "mha/attention_output/kernel": (2, 3, 8)}, "mha/attention_output", Role.ATTENTION, (IN, IN, OUT)),
]  # fmt: skip


@pytest.mark.parametrize(("shapes", "name", "role", "axes"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_a_kernel_has_a_role_and_an_orientation(model, by_name, shapes, name, role, axes):
    layer = by_name(model(shapes))[name]
    assert (layer.role, layer.get(Use.KERNEL).axes) == (role, axes)


@pytest.mark.parametrize(
    ("shapes", "uses"),
    [
        ({"bn.weight": (4,), "bn.bias": (4,), "bn.running_mean": (4,), "bn.running_var": (4,)}, "scale offset mean variance"),
        ({"bn/gamma": (4,), "bn/beta": (4,), "bn/moving_mean": (4,), "bn/moving_variance": (4,)}, "scale offset mean variance"),
        ({"bn/moving_mean": (4,), "bn/moving_variance": (4,)}, "mean variance"),
        ({"params.bn.scale": (4,), "params.bn.bias": (4,), "batch_stats.bn.mean": (4,), "batch_stats.bn.var": (4,)},
         "scale offset mean variance"),
        ({"out.LayerNorm.gamma": (4,), "out.LayerNorm.beta": (4,)}, "scale offset"),
        ({"h.0.ln_1.weight": (4,), "h.0.ln_1.bias": (4,)}, "scale offset"),
        ({"model.norm.weight": (4,)}, "scale"),
        ({"self_attn.q_norm.weight": (4,)}, "scale"),
        ({"1.weight": (4,), "1.bias": (4,)}, "scale offset"),
        ({"norm.weight": (3, 4), "norm.bias": (3, 4)}, "scale offset"),
    ],
)  # fmt: skip
def test_a_normalization_is_no_kernel(model, shapes, uses):
    (layer,) = model(shapes).layers
    assert layer.role is Role.NORM
    assert [p.use.value for p in layer.parameters] == uses.split()


@pytest.mark.parametrize(
    ("shapes", "role", "use"),
    [
        ({"prelu.weight": (4,)}, Role.ACTIVATION, Use.SCALE),
        ({"3.weight": (1,)}, Role.ACTIVATION, Use.SCALE),
        ({"p_re_lu/alpha": (1, 4)}, Role.ACTIVATION, Use.SCALE),
        ({"logit_scale": ()}, Role.UNKNOWN, Use.SCALE),
        ({"blocks.0.gamma": (4,)}, Role.UNKNOWN, Use.SCALE),
        ({"mixer.A_log": (4, 2)}, Role.UNKNOWN, Use.SCALE),
        ({"attn.q_bias": (4,)}, Role.UNKNOWN, Use.BIAS),
        ({"cls.predictions.bias": (9,)}, Role.UNKNOWN, Use.BIAS),
        ({"stem.gain": (4, 1, 1, 1)}, Role.UNKNOWN, Use.SCALE),
    ],
)
def test_vectors_that_are_neither_kernel_nor_normalization(model, shapes, role, use):
    (layer,) = model(shapes).layers
    assert layer.role is role
    assert [p.use for p in layer.parameters] == [use]


def test_the_class_in_the_file_decides_over_the_name(model, by_name):
    modules = (Module(name="norm", type="torch.nn.modules.linear.Linear"), Module(name="x", type="DepthwiseConv2D"))
    found = by_name(model({"norm.weight": (4, 3), "x/kernel": (3, 3, 4, 2)}, modules=modules))
    assert (found["norm"].role, found["norm"].op) == (Role.DENSE, "Linear")
    assert found["x"].role is Role.DEPTHWISE
    assert "Linear" in found["norm"].evidence[0]


def test_a_convolution_on_one_channel_is_what_its_class_says(model, by_name):
    modules = (Module(name="c", type="Conv2D"), Module(name="d", type="Conv2d", settings={"groups": 4}))
    found = by_name(model({"c/kernel": (3, 3, 1, 8), "d.weight": (4, 1, 3, 3)}, modules=modules))
    assert found["c"].role is Role.CONV
    assert found["d"].role is Role.DEPTHWISE


def test_a_layer_takes_its_activation_and_cells_their_owner(model):
    modules = (Module(name="d", type="Dense", activation="relu"), Module(name="lstm", type="LSTM"))
    found = model(
        {"d/kernel": (4, 3), "lstm/lstm_cell/kernel": (4, 8), "lstm/lstm_cell/recurrent_kernel": (2, 8)},
        modules=modules,
    )
    assert found.layers[0].activation == "relu"
    assert {layer.op for layer in found.layers[1:]} == {"LSTM"}


@pytest.mark.parametrize(("with_config", "with_pattern"), [(True, False), (False, True)])
def test_gpt2_stores_in_out_and_square_kernels_follow(model, by_name, with_config, with_pattern):
    width = 12 if with_pattern else 8
    shapes = {"h.0.attn.c_attn.weight": (4, width), "h.0.attn.c_proj.weight": (4, 4), "h.0.mlp.c_proj.weight": (16, 4)}
    found = by_name(model(shapes, config={"model_type": "gpt2"} if with_config else {}))
    assert found["h.0.attn.c_proj"].get(Use.KERNEL).axes == (IN, OUT)
    assert found["h.0.mlp.c_proj"].get(Use.KERNEL).axes == (IN, OUT)


def test_gpt2_names_over_plain_linears_are_out_in(model, by_name):
    shapes = {"h.0.attn.c_attn.weight": (12, 4), "h.0.attn.c_proj.weight": (4, 4)}
    assert by_name(model(shapes))["h.0.attn.c_proj"].get(Use.KERNEL).axes == (OUT, IN)


def test_bare_matrices_are_oriented_by_what_fits(model, by_name):
    found = by_name(model({"W1": (7, 5), "W2": (5, 4), "W3": (4, 2)}))
    assert {layer.get(Use.KERNEL).axes for layer in found.values()} == {(IN, OUT)}
    assert {layer.confidence for layer in found.values()} == {Confidence.MEDIUM}


def test_a_bare_matrix_alone_is_a_guess_that_says_so(model, by_name):
    layer = by_name(model({"gauss_wide": (3, 5)}))["gauss_wide"]
    assert layer.confidence is Confidence.LOW
    assert "assumed" in " ".join(layer.evidence)


def test_a_bias_needs_as_many_elements_as_outputs(model, by_name):
    found = by_name(model({"fc.weight": (3, 5), "fc.bias": (7,)}))
    assert found["fc"].get(Use.BIAS) is None
    assert found["fc.bias"].role is Role.UNKNOWN


def test_more_axes_than_any_layout_has_are_measured_without_orientation(model, by_name):
    layer = by_name(model({"x.weight": (2, 2, 2, 2, 2, 2)}))["x"]
    assert layer.get(Use.KERNEL).axes == ()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("encoder.layer.0.attention.self.key", "key"),
        ("layers.0.self_attn.k_proj", "key"),
        ("layers.0.self_attn.q_proj", "query"),
        ("blocks.0.attention.wv", "value"),
        ("attn.to_k", "key"),
        ("attention.linear_k", "key"),
        ("layers.0.self_attn.o_proj", ""),
    ],
)
def test_projections_know_their_part(model, name, part):
    (layer,) = model({f"{name}.weight": (8, 8), f"{name}.bias": (8,)}).layers
    assert (layer.role, layer.part) == (Role.ATTENTION, part)


def test_the_time_steps_of_a_state_space_layer_are_a_part(model, by_name):
    found = by_name(model({"mixer.A_log": (8, 4), "mixer.dt_proj.weight": (8, 2), "mixer.dt_proj.bias": (8,)}))
    assert found["mixer.dt_proj"].part == "time step"


def test_wo_beside_wi_is_the_second_layer_of_an_mlp(model, by_name):
    found = by_name(model({"ff.wi.weight": (16, 8), "ff.wo.weight": (8, 16), "attn.wo.weight": (8, 8)}))
    assert {name: layer.role for name, layer in found.items()} == {
        "ff.wi": Role.DENSE,
        "ff.wo": Role.DENSE,
        "attn.wo": Role.ATTENTION,
    }
