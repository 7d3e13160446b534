"""Integers in the data of a model that says nothing of its inputs: ids where it looks them up, numbers elsewhere."""

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.config import Probing
from regaudit.errors import ConfigError
from regaudit.probes import trying
from regaudit.probes.base import ModelInput, Runner
from regaudit.probes.data import load
from regaudit.probes.runners.outputs import call


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(20, 6), nn.Linear(5, 6)

    def forward(self, cat, num):
        return self.table(cat).mean(1) + self.fc(num)


@pytest.fixture
def loaded(tmp_path):
    """Data of a model that the user's code builds, from arrays."""

    def make(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        inputs = tuple(ModelInput(name=name) for name in arrays)
        runner = Runner(kind="factory", network=Mixed(), inputs=inputs, places=(), ran_code=True, call=call)
        return runner, load(str(path), runner, (), Probing(probe=str(path)))[0]

    return make


def test_ids_and_counts_are_told_apart_by_what_runs(loaded):
    runner, data = loaded(cat=np.arange(12).reshape(4, 3), num=np.ones((4, 5), int))
    assert [each.dtype for each in data.inputs.values()] == [torch.int64, torch.float32]
    assert runner(data.inputs).shape == (4, 6)


def test_an_id_beyond_the_table_is_told_with_both_ranges(loaded):
    runner, data = loaded(cat=np.full((4, 3), 98), num=np.ones((4, 5), np.float32))
    with pytest.raises(ConfigError, match=r"from 98 to 98.*table takes ids 0 to 19"):
        trying.shape_of_output(runner, data, "model.safetensors")
