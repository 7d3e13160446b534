import argparse

import pytest
import torch

from regaudit.checkpoints.base import OPTIMIZER_STATE
from regaudit.checkpoints.sniff import look
from regaudit.checkpoints.torch_ranks import FORMAT
from regaudit.errors import CheckpointError, UnknownFormat, UnsafeCheckpoint

STATE = {"fc.weight": torch.ones(3, 2), "fc.bias": torch.zeros(3)}
GROUPS = [{"weight_decay": 0.1, "lr": 0.01, "params": []}, {"weight_decay": 0.0, "lr": 0.01, "params": []}]


def opened(folder):
    candidate = look(folder)
    assert FORMAT.claims(candidate)
    return FORMAT.open(candidate)


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def deepspeed(folder, name="mp_rank_00_model_states.pt", state=STATE, optimizer="AdamW", **settings):
    config = {"optimizer": {"type": optimizer, "params": {"weight_decay": 0.1, **settings}}}
    save(folder / "global_step5" / name, {"module": state, "ds_config": config, "ds_version": "0.16.0"})
    (folder / "latest").write_text("global_step5")
    return folder


def megatron(folder, *ranks):
    args = argparse.Namespace(weight_decay=0.1, hidden_dropout=0.2, attention_dropout=0.3)
    for rank in ranks:
        save(folder / f"iter_0000003/{rank}/model_optim_rng.pt", {"model": STATE, "args": args, "iteration": 3})
    (folder / "latest_checkpointed_iteration.txt").write_text("3\n")
    return folder


# --- DeepSpeed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["", "global_step5"])
def test_the_weights_of_one_rank_are_read(step, tmp_path):
    with opened(deepspeed(tmp_path) / step) as checkpoint:
        assert [each.name for each in checkpoint.tensors] == list(STATE)
        assert checkpoint.format == "DeepSpeed, PyTorch"
        assert checkpoint.path == str(tmp_path / step)


@pytest.mark.parametrize(
    ("optimizer", "settings", "kind", "unit"),
    [
        ("AdamW", {}, "decoupled_weight_decay", "torch.AdamW"),
        ("Adam", {}, "decoupled_weight_decay", "torch.AdamW"),
        ("Adam", {"adam_w_mode": False}, "weight_decay", "torch.Adam"),
        ("SGD", {}, "weight_decay", "torch.SGD"),
        ("Lamb", {}, "weight_decay", "torch"),
    ],
)
def test_the_configuration_tells_how_the_decay_acts(optimizer, settings, kind, unit, tmp_path):
    with opened(deepspeed(tmp_path, optimizer=optimizer, **settings)) as checkpoint:
        [declared] = checkpoint.declared
        assert (declared.kind, declared.unit, declared.value) == (kind, unit, 0.1)


def test_groups_of_the_optimizer_beside_the_weights_are_declared(tmp_path):
    deepspeed(tmp_path)
    state = {"zero_stage": 2, "base_optimizer_state": {"param_groups": GROUPS}}
    name = "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
    save(tmp_path / "global_step5" / name, {"optimizer_state_dict": state})
    with opened(tmp_path) as checkpoint:
        assert [(each.target, each.value) for each in checkpoint.declared[1:]] == [
            ("param group 0", 0.1),
            ("param group 1", 0.0),
        ]
        assert checkpoint.declared[1].unit == "torch.AdamW"
        assert [each.kind for each in checkpoint.remarks] == [OPTIMIZER_STATE]


@pytest.mark.parametrize(
    "names",
    [
        ["zero_pp_rank_0_mp_rank_00_model_states.pt", "zero_pp_rank_1_mp_rank_00_model_states.pt"],
        ["layer_01-model_00-model_states.pt"],
    ],
)
def test_split_weights_are_refused_with_the_way_to_join_them(names, tmp_path):
    for name in names:
        deepspeed(tmp_path, name)
    with pytest.raises(UnknownFormat, match="zero_to_fp32"):
        opened(tmp_path)


@pytest.mark.parametrize("state", [{"fc.weight": torch.ones(0)}, {}])
def test_weights_that_stage_3_left_empty_are_refused(state, tmp_path):
    deepspeed(tmp_path, state=state)
    deepspeed(tmp_path, "zero_pp_rank_0_mp_rank_00_model_states.pt")
    with pytest.raises(UnknownFormat, match="stage 3"):
        opened(tmp_path)


def test_tensor_parallel_ranks_are_refused(tmp_path):
    deepspeed(tmp_path)
    deepspeed(tmp_path, "mp_rank_01_model_states.pt")
    with pytest.raises(UnknownFormat, match="2 tensor-parallel ranks"):
        opened(tmp_path)


# --- Megatron ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["", "iter_0000003"])
def test_one_rank_of_megatron_is_read(step, tmp_path):
    with opened(megatron(tmp_path, "mp_rank_00") / step) as checkpoint:
        assert [each.name for each in checkpoint.tensors] == list(STATE)
        assert {(each.kind, each.target): each.value for each in checkpoint.declared} == {
            ("weight_decay", ""): 0.1,
            ("dropout", "hidden"): 0.2,
            ("dropout", "attention"): 0.3,
        }


@pytest.mark.parametrize(
    ("ranks", "message"), [(("mp_rank_00", "mp_rank_01"), "over 2 ranks"), ((), "no such file|no ranks")]
)
def test_several_ranks_or_none_are_refused(ranks, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        opened(megatron(tmp_path, *ranks))


@pytest.mark.filterwarnings("ignore")
def test_megatron_with_distributed_shards_is_read(tmp_path):
    import torch.distributed.checkpoint as dcp

    megatron(tmp_path)
    dcp.save({"model": STATE}, checkpoint_id=str(tmp_path / "iter_0000003"))
    with opened(tmp_path) as checkpoint:
        assert [each.name for each in checkpoint.tensors] == ["model.fc.weight", "model.fc.bias"]
        assert checkpoint.format.startswith("Megatron, PyTorch, distributed")


@pytest.mark.parametrize(
    ("text", "error"),
    [("../x", UnsafeCheckpoint), ("global_step7", CheckpointError), ("\0", CheckpointError), ("", CheckpointError)],
)
def test_a_pointer_elsewhere_is_an_error(text, error, tmp_path):
    deepspeed(tmp_path)
    (tmp_path / "latest").write_text(text)
    with pytest.raises(error):
        opened(tmp_path)


def test_a_file_cut_short_is_an_error(tmp_path):
    deepspeed(tmp_path)
    path = tmp_path / "global_step5/mp_rank_00_model_states.pt"
    raw = path.read_bytes()
    for end in range(0, len(raw), 101):
        path.write_bytes(raw[:end])
        with pytest.raises(CheckpointError):
            opened(tmp_path)
