"""Inputs that the probe batch never sets, and the decay that their weights tell."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

import regaudit  # noqa: E402
from regaudit.config import Options, Probing  # noqa: E402
from regaudit.probes.idle_inputs import run  # noqa: E402

nn = torch.nn


def batch(*idle, rows=40, inputs=12):
    x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(0))
    x[:, list(idle)] = 0
    return x


def test_constant_zeros_are_named_of_the_layer_that_takes_them(session_of):
    network = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    assert run(session_of(network, batch(2, 7))).unused_inputs == {"0": (2, 7)}


def test_images_are_flattened(session_of):
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    assert run(session_of(network, batch(0, 11).reshape(40, 1, 3, 4))).unused_inputs == {"1": (0, 11)}


def test_ids_that_never_come_are_named(session_of):
    network = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2))
    ids = torch.tensor([[0, 1, 2, 3, 5], [5, 3, 8, 1, 0]])
    assert run(session_of(network, ids)).unused_inputs == {"0": (4, 6, 7)}


def test_a_batch_that_sets_everything_names_nothing(session_of):
    assert run(session_of(nn.Linear(12, 5), batch())).unused_inputs == {}


@pytest.mark.parametrize("decay", [0.0, 0.1, 1.0])
def test_sixteen_units_tell_their_decay(tmp_path, decay):
    """Three inputs of 16 weights: too few to be found among others, enough where the batch names them."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    x = batch(0, 9, 31, rows=200, inputs=32)
    y = (x @ torch.randn(32, 4)).argmax(1)
    model = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=decay)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    np.savez(tmp_path / "x.npz", x=x.numpy())
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))\n"
    )
    probing = Probing(model=f"{tmp_path / 'net.py'}:build", probe=str(tmp_path / "x.npz"))
    result = regaudit.audit(tmp_path / "model.safetensors", Options(spectrum="off", probing=probing))
    found = next(m for m in result.layer("0").measurements if m.measure == "kernel.decay_exposure")
    assert found.low <= 3 * decay <= found.high
    assert found.value == pytest.approx(3 * decay, abs=0.06)
    assert "inputs 0, 9, 31 that the probe batch does not use" in found.detail
