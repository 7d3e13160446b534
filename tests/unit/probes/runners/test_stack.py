"""A plain stack of dense layers runs from its weights alone, and nothing else does."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from regaudit.checkpoints import open_checkpoint
from regaudit.config import Probing
from regaudit.errors import ConfigError
from regaudit.layers import group
from regaudit.probes.observing import observe
from regaudit.probes.runners import open_runner


def opened(tmp_path, tensors, activation="relu"):
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        return open_runner(checkpoint, group(checkpoint).layers, Probing(activation=activation), "cpu")


@pytest.mark.parametrize(
    ("activation", "module"), [("relu", nn.ReLU), ("gelu", nn.GELU), ("tanh", nn.Tanh), ("linear", nn.Identity)]
)
def test_it_equals_the_sequential_it_was_saved_from(tmp_path, activation, module):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), module(), nn.Linear(8, 6, bias=False), module(), nn.Linear(6, 3))
    runner, x = opened(tmp_path, net.state_dict(), activation), torch.randn(4, 5)
    output, seen = observe(runner, {"x": x})
    torch.testing.assert_close(output, net(x))
    torch.testing.assert_close(seen["2"].activity, net[:4](x))
    assert runner.notes[0].startswith(f"Assumed: a plain stack 0 → 2 → 4, {activation}")
    assert runner.inputs[0].shape == (None, 5)
    assert not runner.ran_code


def test_kernels_stored_in_out_are_turned(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    tensors = {f"dense{k}/kernel": net[2 * k].weight.detach().T for k in (0, 1)}
    tensors |= {f"dense{k}/bias": net[2 * k].bias.detach() for k in (0, 1)}
    runner, x = opened(tmp_path, tensors), torch.randn(4, 5)
    torch.testing.assert_close(runner({"x": x}), net(x))


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(7, 3)), "0 gives 8 values, 2 takes 7"),
        (nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 3)), "1 is norm"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)), "0 is conv"),
    ],
)
def test_anything_else_is_refused(tmp_path, net, said):
    with pytest.raises(ConfigError, match=f"no plain stack of dense layers: {said}"):
        opened(tmp_path, net.state_dict())


def test_an_unknown_activation_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected one of relu, gelu"):
        opened(tmp_path, nn.Linear(3, 2).state_dict(), "rleu")
