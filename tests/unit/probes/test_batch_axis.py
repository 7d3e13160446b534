"""Inputs whose examples lie on another axis, or that are one number for all."""

import pytest
import torch

from regaudit.errors import ConfigError
from regaudit.probes.base import ModelInput
from regaudit.probes.graph.batch_axis import layouts

SOUND, STATE, RATE = (
    ModelInput(name="input", shape=(None, 576)),
    ModelInput(name="state", shape=(2, None, 128)),
    ModelInput(name="sr", shape=(), dtype="I64"),
)


def test_data_have_a_row_for_each_example_whatever_the_graph_takes():
    sound, state, rate = layouts((SOUND, STATE, RATE))
    assert [each.taken.shape for each in (sound, state, rate)] == [(None, 576), (None, 2, 128), (None,)]
    rows = torch.arange(5 * 2 * 128).reshape(5, 2, 128)
    assert torch.equal(state(rows), rows.transpose(0, 1))
    assert int(rate(torch.full((5,), 16000))) == 16000
    with pytest.raises(ConfigError, match=r"single 'sr'.*8000 to 16000"):
        rate(torch.tensor([8000, 16000]))


def test_graphs_of_one_batch_size_stay_as_they_are():
    fixed = (ModelInput(name="x", shape=(4, 3)), ModelInput(name="state", shape=(2, 4, 8)))
    assert tuple(each.taken for each in layouts(fixed)) == fixed
