import pytest

from regaudit.checkpoints.declarations import in_config, in_training_metadata


def facts(declared):
    return [(each.target, each.site, each.kind, each.value) for each in declared]


@pytest.mark.parametrize(
    ("key", "target", "kind"),
    [
        ("hidden_dropout_prob", "hidden", "dropout"),
        ("attention_probs_dropout_prob", "attention_probs", "dropout"),
        ("attention_dropout", "attention", "dropout"),
        ("hidden_dropout", "hidden", "dropout"),
        ("dropout", "", "dropout"),
        ("dropout_rate", "", "dropout"),
        ("drop_rate", "", "dropout"),
        ("attn_drop_rate", "attn", "dropout"),
        ("resid_pdrop", "resid", "dropout"),
        ("embd_pdrop", "embd", "dropout"),
        ("attn_pdrop", "attn", "dropout"),
        ("classifier_dropout", "classifier", "dropout"),
        ("classifier_dropout_prob", "classifier", "dropout"),
        ("lora_dropout", "lora", "dropout"),
        ("layerdrop", "", "layerdrop"),
        ("encoder_layerdrop", "encoder", "layerdrop"),
        ("drop_path_rate", "", "drop_path"),
        ("stochastic_depth_prob", "", "drop_path"),
        ("drop_connect_rate", "", "drop_path"),
        ("label_smoothing", "", "label_smoothing"),
        ("label_smoothing_factor", "", "label_smoothing"),
        ("weight_decay", "", "weight_decay"),
        ("orth_reg_weight", "", "orthogonal"),
    ],
)
def test_every_usual_key_is_a_declaration(key, target, kind):
    (declared,) = in_config({key: 0.1}, "config.json")
    assert (declared.target, declared.kind, declared.value) == (target, kind, 0.1)
    assert declared.where == f"config.json: {key}"
    assert declared.unit == ("torch" if kind == "weight_decay" else "")


@pytest.mark.parametrize(
    "config",
    [
        {"classifier_dropout": None},
        {"token_dropout": True},
        {"dropout": "0.1"},
        {"dropout": [0.1]},
        {"dropout": float("nan")},
        {"dropout": 10**400},
        {"backdrop": 0.1, "hidden_size": 8, "dropout_layers": 3},
        {"label2id": {"dropout": 3}, "id2label": {"0": "dropout"}},
        {},
    ],
)
def test_what_is_no_rate_declares_nothing(config):
    assert in_config(config, "config.json") == ()


def test_a_rate_of_zero_is_declared():
    assert facts(in_config({"attention_dropout": 0}, "c")) == [("attention", "activity", "dropout", 0.0)]


def test_nested_configurations_are_searched():
    (declared,) = in_config({"text_config": {"attention_dropout": 0.2}}, "config.json")
    assert (declared.target, declared.where) == ("text_config.attention", "config.json: text_config.attention_dropout")


def test_a_configuration_may_be_nested_without_end():
    config = {}
    for _ in range(2000):
        config = {"a": config, "dropout": 0.5}
    assert 1 <= len(in_config(config, "config.json")) < 20


def test_kohya_metadata_declare_what_was_set():
    metadata = {
        "format": "pt",
        "ss_network_dropout": "0.1",
        "ss_caption_dropout_rate": "None",
        "ss_scale_weight_norms": "1.0",
        "ss_network_args": '{"rank_dropout": "0.2", "conv_dim": "4"}',
        "ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0.05,betas=(0.9, 0.99))",
    }
    assert facts(in_training_metadata(metadata, "lora.safetensors")) == [
        ("network", "activity", "dropout", 0.1),
        ("", "kernel", "max_norm", 1.0),
        ("ss_network_args.rank", "activity", "dropout", 0.2),
        ("", "parameters", "decoupled_weight_decay", 0.05),
    ]


@pytest.mark.parametrize(
    ("optimizer", "kind", "unit"),
    [
        ("bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1)", "decoupled_weight_decay", "torch.AdamW"),
        ("torch.optim.sgd.SGD(momentum=0.9,weight_decay=0.1)", "weight_decay", "torch.SGD"),
        ("prodigyopt.prodigy.Prodigy(weight_decay=0.1)", "weight_decay", "torch"),
    ],
)
def test_the_optimizer_decides_the_unit_of_weight_decay(optimizer, kind, unit):
    (declared,) = in_training_metadata({"ss_optimizer": optimizer}, "x")
    assert (declared.kind, declared.unit, declared.value) == (kind, unit, 0.1)


@pytest.mark.parametrize(
    "text", ["", "AdamW", "AdamW(weight_decay=)", "AdamW(weight_decay=nan)", "AdamW(weight_decay=a.b)"]
)
def test_an_optimizer_without_a_number_declares_nothing(text):
    assert in_training_metadata({"ss_optimizer": text, "ss_network_args": "{broken"}, "x") == ()
