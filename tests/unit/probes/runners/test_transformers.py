"""A local Hugging Face directory runs as transformers runs it, without network or code of the model's."""

import json

import pytest

from regaudit.checkpoints import open_checkpoint
from regaudit.config import Probing
from regaudit.errors import CheckpointError, ConfigError
from regaudit.layers import group
from regaudit.probes.observing import observe, unobserved
from regaudit.probes.runners import open_runner
from regaudit.probes.runners.outputs import described

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def saved(folder, kind="BertModel"):
    torch.manual_seed(0)
    if kind.startswith("GPT2"):
        config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    else:
        config = transformers.BertConfig(**SIZES)
    net = getattr(transformers, kind)(config).eval()
    net.save_pretrained(folder)
    return net


def opened(folder):
    with open_checkpoint(folder) as checkpoint:
        return open_runner(checkpoint, group(checkpoint).layers, Probing(), "cpu")


def ids():
    return torch.randint(0, 50, (3, 7), generator=torch.Generator().manual_seed(0))


def test_an_encoder_runs(tmp_path):
    net, runner = saved(tmp_path), opened(tmp_path)
    output, seen = observe(runner, {"input_ids": ids(), "attention_mask": torch.ones(3, 7, dtype=torch.long)})
    torch.testing.assert_close(output, net(ids()).last_hidden_state)
    assert seen["encoder.layer.1.intermediate.dense"].activation == "gelu"
    assert seen["encoder.layer.0.attention.self.query"].linear.shape == (3, 7, 16)
    assert unobserved(runner, seen) == ()
    assert [each.name for each in runner.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert "output is last_hidden_state" in described(runner, {"input_ids": ids()})
    assert not runner.ran_code


def test_fused_and_transposed_kernels_are_seen(tmp_path):
    net, runner = saved(tmp_path, "GPT2LMHeadModel"), opened(tmp_path)
    output, seen = observe(runner, {"input_ids": ids()})
    torch.testing.assert_close(output, net(ids()).logits)
    key = next(each for name, each in seen.items() if name.endswith("h.0.attn.c_attn[key]"))
    kernel, bias = net.transformer.h[0].attn.c_attn.weight, net.transformer.h[0].attn.c_attn.bias
    torch.testing.assert_close(key.linear, (key.inputs @ kernel + bias)[..., 16:32])
    up = next(each for name, each in seen.items() if name.endswith("h.1.mlp.c_fc"))
    assert up.activation == "gelu_tanh"


def test_second_derivatives_exist(tmp_path):
    saved(tmp_path)
    runner = opened(tmp_path)
    kernel = dict(runner.network.named_parameters())["encoder.layer.0.output.dense.weight"]
    (first,) = torch.autograd.grad((runner({"input_ids": ids()}) ** 2).sum(), kernel, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), kernel)
    assert second.abs().sum() > 0


def test_missing_weights_are_an_error(tmp_path):
    from safetensors.torch import load_file, save_file

    saved(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop("encoder.layer.0.output.dense.weight")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing keys: encoder\.layer\.0\.output\.dense\.weight"):
        opened(tmp_path)


def test_code_of_the_models_own_does_not_run(tmp_path):
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Net"},
        "architectures": ["Net"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('ran')\n")
    with pytest.raises(ConfigError, match=r"transformers .* raised ValueError"):
        opened(tmp_path)
