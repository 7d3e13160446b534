import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from regaudit.checkpoints import open_checkpoint
from regaudit.checkpoints.base import CONTAINS_CODE, DANGLING_INDEX, OPTIMIZER_STATE, UNLISTED_TENSOR
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
FIRST = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.ones(2, np.float32)}
SECOND = {"b.weight": np.full((3, 2), 0.5, np.float32)}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def write_json(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def write_sharded(folder, weight_map=None):
    save_file(FIRST, folder / SHARDS[0])
    save_file(SECOND, folder / SHARDS[1])
    usual = dict.fromkeys(FIRST, SHARDS[0]) | dict.fromkeys(SECOND, SHARDS[1])
    write_json(folder / INDEX, {"metadata": {"total_size": 56}, "weight_map": weight_map or usual})


def names(checkpoint):
    return [tensor.name for tensor in checkpoint.tensors]


class TestShards:
    @pytest.mark.parametrize("target", ["", INDEX], ids=["directory", "index"])
    def test_the_shards_are_one_model(self, tmp_path, target):
        write_sharded(tmp_path)
        with open_checkpoint(tmp_path / target) as checkpoint:
            assert checkpoint.format == "Hugging Face, safetensors, 2 shards"
            assert checkpoint.path == str(tmp_path / target)
            assert checkpoint.nbytes == sum((tmp_path / shard).stat().st_size for shard in SHARDS)
            assert checkpoint.remarks == ()
            values = {t.name: checkpoint.read(t, 0, t.size).reshape(t.shape) for t in checkpoint.tensors}
            assert {t.source for t in checkpoint.tensors} == set(SHARDS)
        assert values.keys() == (FIRST | SECOND).keys()
        for name, expected in (FIRST | SECOND).items():
            np.testing.assert_array_equal(values[name], expected)

    def test_an_index_of_another_name_is_known_by_its_content(self, tmp_path):
        write_sharded(tmp_path)
        (tmp_path / INDEX).rename(tmp_path / "index.txt")
        with open_checkpoint(tmp_path / "index.txt") as checkpoint:
            assert len(checkpoint.tensors) == 3

    def test_torch_shards_are_one_model(self, tmp_path):
        torch.save({"a.weight": torch.ones(2, 3)}, tmp_path / "pytorch_model-00001-of-00001.bin")
        index = {"weight_map": {"a.weight": "pytorch_model-00001-of-00001.bin"}}
        write_json(tmp_path / "pytorch_model.bin.index.json", index)
        with open_checkpoint(tmp_path) as checkpoint:
            (tensor,) = checkpoint.tensors
            assert checkpoint.read(tensor, 0, 6).tolist() == [1.0] * 6

    def test_a_missing_shard_is_named(self, tmp_path):
        write_sharded(tmp_path)
        (tmp_path / SHARDS[1]).unlink()
        with pytest.raises(CheckpointError, match=f"2 files that it names, 1 cannot be found: '{SHARDS[1]}'"):
            open_checkpoint(tmp_path)

    def test_a_shard_whose_name_no_system_takes_is_missing(self, tmp_path):
        write_sharded(tmp_path, {"a": "x" * 5000})
        with pytest.raises(CheckpointError, match="1 cannot be found"):
            open_checkpoint(tmp_path)

    @pytest.mark.parametrize("pattern", ["model_0000{}-of-00002", "model-0000{}-of-000002", "model-0000{}-of-00002"])
    def test_shards_are_no_models_however_they_are_numbered(self, tmp_path, pattern):
        shards = [f"{pattern.format(i)}.safetensors" for i in (1, 2)]
        save_file(FIRST, tmp_path / shards[0])
        save_file(SECOND, tmp_path / shards[1])
        write_json(tmp_path / INDEX, {"weight_map": dict.fromkeys(FIRST, shards[0]) | dict.fromkeys(SECOND, shards[1])})
        with open_checkpoint(tmp_path) as checkpoint:
            assert sorted(names(checkpoint)) == sorted([*FIRST, *SECOND])

    def test_a_shard_that_is_a_git_lfs_pointer_is_named(self, tmp_path):
        write_sharded(tmp_path)
        (tmp_path / SHARDS[1]).write_bytes(POINTER)
        with pytest.raises(CheckpointError, match=f"{SHARDS[1]}: is a Git LFS pointer"):
            open_checkpoint(tmp_path)

    @pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", ""])
    def test_no_shard_leads_out_of_the_folder(self, tmp_path, name):
        write_sharded(tmp_path, {"a.weight": name})
        with pytest.raises(UnsafeCheckpoint):
            open_checkpoint(tmp_path)

    def test_no_link_leads_out_of_the_folder(self, tmp_path):
        folder = tmp_path / "model"
        folder.mkdir()
        write_sharded(folder)
        (folder / SHARDS[0]).rename(tmp_path / "elsewhere")
        (folder / SHARDS[0]).symlink_to("../elsewhere")
        with pytest.raises(UnsafeCheckpoint, match="symbolic link"):
            open_checkpoint(folder)

    def test_what_index_and_shards_disagree_on_is_remarked(self, tmp_path):
        write_sharded(tmp_path, {"a.weight": SHARDS[0], "lm_head.weight": SHARDS[1], "b.weight": SHARDS[1]})
        with open_checkpoint(tmp_path) as checkpoint:
            assert [(r.kind, r.where) for r in checkpoint.remarks] == [
                (UNLISTED_TENSOR, SHARDS[0]),
                (DANGLING_INDEX, SHARDS[1]),
            ]
            assert "'a.bias'" in checkpoint.remarks[0].text
            assert "'lm_head.weight'" in checkpoint.remarks[1].text
            assert len(checkpoint.tensors) == 3

    def test_a_tensor_in_two_shards_is_refused(self, tmp_path):
        write_sharded(tmp_path)
        save_file(SECOND | {"a.bias": FIRST["a.bias"]}, tmp_path / SHARDS[1])
        with pytest.raises(CorruptCheckpoint, match=r"more than one shard: 'a\.bias'"):
            open_checkpoint(tmp_path)

    @pytest.mark.parametrize(
        "index",
        [
            {},
            {"weight_map": {}},
            {"weight_map": []},
            {"weight_map": {"a": 1}},
            "{",
            '{"weight_map": {"a": "x", "a": "y"}}',
        ],
        ids=["no map", "empty map", "list", "number", "no JSON", "twice"],
    )
    def test_a_malformed_index_is_refused(self, tmp_path, index):
        write_sharded(tmp_path)
        write_json(tmp_path / INDEX, index)
        for target in (tmp_path, tmp_path / INDEX):
            with pytest.raises(CorruptCheckpoint):
                open_checkpoint(target)

    def test_shards_without_an_index_are_refused(self, tmp_path):
        write_sharded(tmp_path)
        (tmp_path / INDEX).unlink()
        with pytest.raises(CheckpointError, match="not their index"):
            open_checkpoint(tmp_path)


class TestDirectory:
    @pytest.mark.parametrize(
        "others",
        [
            ["pytorch_model.bin"],
            ["tf_model.h5", "consolidated.safetensors"],
            ["consolidated.00.pth"],
            ["model.fp16.safetensors"],
            ["training_args.bin.old", "optimizer.bin", "scheduler.pt", "rng_state.pth", "rng_state_0.pth"],
            ["model-00001-of-00002.safetensors"],
            ["openvino_model.bin", "README.md", "model.onnx", "tokenizer.json"],
        ],
        ids=lambda names: names[0],
    )
    def test_copies_and_side_files_are_no_second_model(self, tmp_path, others):
        save_file(FIRST, tmp_path / "model.safetensors")
        for other in others:
            (tmp_path / other).write_bytes(b"not looked at")
        with open_checkpoint(tmp_path) as checkpoint:
            assert names(checkpoint) == ["a.weight", "a.bias"] or names(checkpoint) == ["a.bias", "a.weight"]

    @pytest.mark.parametrize("other", ["vae.safetensors", "vae.npz", "vae.pt", "adapter_model.safetensors"])
    def test_two_models_are_listed(self, tmp_path, other):
        save_file(FIRST, tmp_path / "model.safetensors")
        (tmp_path / other).write_bytes(b"x")
        with pytest.raises(CheckpointError, match=f"holds 2 models: .*'{other}'.*Give the path of one"):
            open_checkpoint(tmp_path)

    def test_a_single_model_of_any_name_or_format_is_opened(self, tmp_path):
        np.savez(tmp_path / "weights.npz", kernel=np.ones((2, 2)))
        with open_checkpoint(tmp_path) as checkpoint:
            assert names(checkpoint) == ["kernel"]
            assert checkpoint.format == "numpy archive"

    def test_a_git_lfs_pointer_is_named(self, tmp_path):
        (tmp_path / "model.safetensors").write_bytes(POINTER)
        write_json(tmp_path / "config.json", {})
        with pytest.raises(CheckpointError, match="git lfs pull"):
            open_checkpoint(tmp_path)

    def test_the_cache_of_the_hub_is_read_through_its_links(self, tmp_path):
        snapshot = tmp_path / "models--x" / "snapshots" / "abc"
        blobs = tmp_path / "models--x" / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        save_file(FIRST, blobs / "1")
        write_json(blobs / "2", {"hidden_dropout_prob": 0.1})
        (snapshot / "model.safetensors").symlink_to("../../blobs/1")
        (snapshot / "config.json").symlink_to("../../blobs/2")
        with open_checkpoint(snapshot) as checkpoint:
            assert len(checkpoint.tensors) == 2
            assert [d.value for d in checkpoint.declared] == [0.1]


class TestFlax:
    # {"fc": {"kernel": an array (1, 2) of float32}}, as flax.serialization.to_bytes writes it
    RAW = b"\x81\xa2fc\x81\xa6kernel\xc7\x16\x01\x93\x92\x01\x02\xa7float32\xc4\x08" + np.float32([1, 2]).tobytes()

    def test_the_weights_of_flax_are_the_model_where_there_are_no_others(self, tmp_path):
        (tmp_path / "flax_model.msgpack").write_bytes(self.RAW)
        (tmp_path / "tf_model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
        write_json(tmp_path / "config.json", {"hidden_dropout_prob": 0.1})
        with open_checkpoint(tmp_path) as checkpoint:
            assert checkpoint.format == "Hugging Face, Flax MessagePack"
            assert [(tensor.name, tensor.shape) for tensor in checkpoint.tensors] == [("fc/kernel", (1, 2))]
            assert [each.value for each in checkpoint.declared] == [0.1]

    def test_they_are_a_copy_where_there_are_others(self, tmp_path):
        (tmp_path / "flax_model.msgpack").write_bytes(self.RAW)
        save_file(FIRST, tmp_path / "model.safetensors")
        write_json(tmp_path / "config.json", {})
        with open_checkpoint(tmp_path) as checkpoint:
            assert {tensor.name for tensor in checkpoint.tensors} == set(FIRST)


class TestSideFiles:
    @pytest.mark.parametrize("target", ["", "model.safetensors"], ids=["directory", "file"])
    def test_the_configuration_beside_the_weights_is_read(self, tmp_path, target):
        config = {"model_type": "bert", "hidden_dropout_prob": 0.1, "classifier_dropout": None}
        save_file(FIRST, tmp_path / "model.safetensors")
        write_json(tmp_path / "config.json", config)
        with open_checkpoint(tmp_path / target) as checkpoint:
            assert checkpoint.config == config
            assert [(d.target, d.kind, d.value, d.where) for d in checkpoint.declared] == [
                ("hidden", "dropout", 0.1, "config.json: hidden_dropout_prob")
            ]

    def test_the_configuration_beside_torch_weights_is_read(self, tmp_path):
        torch.save({"a.weight": torch.ones(2, 3)}, tmp_path / "pytorch_model.bin")
        write_json(tmp_path / "config.json", {"attention_dropout": 0.2})
        with open_checkpoint(tmp_path / "pytorch_model.bin") as checkpoint:
            assert [d.target for d in checkpoint.declared] == ["attention"]

    def test_weights_of_another_name_are_read_alone(self, tmp_path):
        save_file(FIRST, tmp_path / "weights.safetensors")
        write_json(tmp_path / "config.json", {"hidden_dropout_prob": 0.1})
        with open_checkpoint(tmp_path / "weights.safetensors") as checkpoint:
            assert (checkpoint.format, checkpoint.config, checkpoint.declared) == ("safetensors", {}, ())

    @pytest.mark.parametrize("target", ["", "adapter_model.safetensors"], ids=["directory", "file"])
    def test_an_adapter_comes_with_its_configuration(self, tmp_path, target):
        adapter = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.05}
        save_file({"x.lora_A.weight": np.ones((2, 4), np.float32)}, tmp_path / "adapter_model.safetensors")
        write_json(tmp_path / "adapter_config.json", adapter)
        with open_checkpoint(tmp_path / target) as checkpoint:
            assert checkpoint.adapter == adapter
            assert [(d.target, d.kind, d.value) for d in checkpoint.declared] == [("lora", "dropout", 0.05)]

    def test_code_of_the_model_is_remarked_and_not_run(self, tmp_path):
        save_file(FIRST, tmp_path / "model.safetensors")
        write_json(tmp_path / "config.json", {"auto_map": {"AutoModel": "modeling_x.X"}})
        with open_checkpoint(tmp_path) as checkpoint:
            (remark,) = checkpoint.remarks
            assert remark.kind == CONTAINS_CODE
            assert "modeling_x.X" in remark.text

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"quant_method": "gptq", "bits": 4}, ", quantized (gptq, 4 bits)"),
            ({"quant_method": "\x1b[31m", "bits": True}, ", quantized"),
            ([], ""),
        ],
    )
    def test_quantization_is_part_of_the_format(self, tmp_path, settings, words):
        save_file(FIRST, tmp_path / "model.safetensors")
        write_json(tmp_path / "config.json", {"quantization_config": settings})
        with open_checkpoint(tmp_path) as checkpoint:
            assert checkpoint.format == f"Hugging Face, safetensors{words}"

    def test_the_optimizer_beside_a_checkpoint_is_remarked_and_read_for_what_it_declares(self, tmp_path):
        model = torch.nn.Linear(2, 2)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.03)
        save_file(FIRST, tmp_path / "model.safetensors")
        torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
        with open_checkpoint(tmp_path) as checkpoint:
            assert [(r.kind, r.where) for r in checkpoint.remarks] == [(OPTIMIZER_STATE, "optimizer.pt")]
            assert [(d.kind, d.value, d.unit) for d in checkpoint.declared] == [
                ("decoupled_weight_decay", 0.03, "torch.AdamW")
            ]

    @pytest.mark.parametrize("text", ["{", "[]", '{"a":' * 100_000], ids=["open", "list", "deep"])
    def test_a_malformed_configuration_is_refused(self, tmp_path, text):
        save_file(FIRST, tmp_path / "model.safetensors")
        write_json(tmp_path / "config.json", text)
        with pytest.raises(CorruptCheckpoint, match=r"config\.json"):
            open_checkpoint(tmp_path)

    def test_a_configuration_above_the_limit_is_refused(self, tmp_path, limit):
        limit("config-bytes", 10)
        save_file(FIRST, tmp_path / "model.safetensors")
        write_json(tmp_path / "config.json", {"a": "b" * 100})
        with pytest.raises(UnsafeCheckpoint, match="the limit config-bytes is 10"):
            open_checkpoint(tmp_path)

    def test_a_configuration_elsewhere_is_not_read(self, tmp_path):
        folder = tmp_path / "model"
        folder.mkdir()
        save_file(FIRST, folder / "model.safetensors")
        write_json(tmp_path / "secret.json", {"a": 1})
        (folder / "config.json").symlink_to("../secret.json")
        with pytest.raises(UnsafeCheckpoint, match="symbolic link"):
            open_checkpoint(folder)
