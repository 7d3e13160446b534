"""Tensors of a file found in a network with other names, by their values."""

import torch
from safetensors.torch import save_file
from torch import nn

from regaudit.checkpoints import open_checkpoint
from regaudit.probes.runners.by_value import completed


def test_renamed_modules_are_found_with_the_biases_beside_them(tmp_path):
    torch.manual_seed(0)
    network = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(4, 4) for _ in range(3))})
    for each in network["layers"]:
        nn.init.zeros_(each.bias)  # all alike: only the kernel tells whose they are
    stored = {name.replace("layers.", "encoder.old_"): each for name, each in network.state_dict().items()}
    save_file({name: each.clone() for name, each in reversed(stored.items())}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        found = completed({}, checkpoint, network.state_dict(keep_vars=True))
    assert found == {name: name.replace("encoder.old_", "layers.") for name in stored}


def test_arrays_that_are_alike_stay_unmatched(tmp_path):
    network = nn.ModuleDict({"a": nn.LayerNorm(4), "b": nn.LayerNorm(4)})
    save_file({"other.weight": torch.ones(4)}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        assert completed({}, checkpoint, network.state_dict(keep_vars=True)) == {}
