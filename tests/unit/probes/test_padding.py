"""Padding: found in ids where no mask is given, left out of every sum."""

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.probes import activations, sensitivity
from regaudit.probes.padding import mask_of


@pytest.mark.parametrize(
    ("rows", "pad", "expected"),
    [
        ([[5, 0, 6, 0, 0]], 0, [[1, 1, 1, 0, 0]]),
        ([[0, 0, 6, 0, 7]], 0, [[0, 0, 1, 1, 1]]),
        ([[0, 0, 0]], 0, [[1, 1, 1]]),
        ([[5, 0, 0]], None, [[1, 1, 1]]),
        ([[5, 6, 1], [5, 6, 7]], 1, [[1, 1, 0], [1, 1, 1]]),
    ],
    ids=["behind", "before", "nothing else", "no such id", "another id"],
)
def test_padding_is_the_run_at_an_end_of_a_row(rows, pad, expected):
    assert mask_of(np.array(rows), pad).tolist() == expected


class Tokens(nn.Module):
    """One vector a position; positions do not see each other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(9, 4)
        self.fc = nn.Linear(4, 2)  # 16 outputs at most: the Jacobian is exact

    def forward(self, batch):
        return self.fc(self.table(batch["input_ids"]))


@pytest.fixture
def padded():
    """The same tokens twice: as they are, and behind them three positions of padding."""
    ids = torch.randint(1, 9, (40, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.cat([torch.ones(40, 5), torch.zeros(40, 3)], 1).long()
    return {"input_ids": ids}, {"input_ids": nn.functional.pad(ids, (0, 3)), "attention_mask": mask}


@pytest.mark.parametrize("measure", ["activity.rms", "activity.rows", "activity.l2_energy", "activity.effective_rank"])
def test_padding_changes_no_activation(session_of, value_of, padded, measure):
    plain, longer = (
        activations.run(session_of(Tokens(), x, call=lambda network, batch: network(batch))) for x in padded
    )
    assert value_of(longer, measure, "fc").value == pytest.approx(value_of(plain, measure, "fc").value)
    assert plain.notes == ()
    assert "38% of all positions" in longer.notes[0]


def test_padding_changes_no_sensitivity(session_of, value_of, padded):
    call = {"call": lambda network, batch: network(batch)}
    plain, longer = (sensitivity.run(session_of(Tokens(), x, **call)) for x in padded)
    first, second = (value_of(each, "model.jacobian_fro_norm") for each in (plain, longer))
    assert second.value == pytest.approx(first.value, rel=1e-5)
