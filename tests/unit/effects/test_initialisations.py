"""Noise is no finding: fresh initialisations of every kind show no effect but "untouched"."""

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.effects import see
from regaudit.measures import measure
from regaudit.records import Audit, Axis, Coverage, Layer, Parameter, Role, Use

SHAPES = {Role.DENSE: (96, 128), Role.CONV: (48, 32, 3, 3), Role.DEPTHWISE: (128, 1, 3, 3), Role.ATTENTION: (128, 128)}
KINDS = {
    "torch-default": lambda w: nn.init.kaiming_uniform_(w, a=5**0.5),
    "he-normal": nn.init.kaiming_normal_,
    "he-uniform": nn.init.kaiming_uniform_,
    "glorot-normal": nn.init.xavier_normal_,
    "glorot-uniform": nn.init.xavier_uniform_,
    "truncated": lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
    "normal-0.02": lambda w: nn.init.normal_(w, std=0.02),
    "residual-0.004": lambda w: nn.init.normal_(w, std=0.02 / 24**0.5),
    "orthogonal": nn.init.orthogonal_,
    "dirac": lambda w: nn.init.dirac_(w) if w.ndim > 2 else nn.init.eye_(w),
    "ones": nn.init.ones_,
}


def parameter(use, tensor, axes):
    array = tensor.detach().numpy()
    return Parameter(
        use=use,
        tensors=("w",),
        dtype="F32",
        shape=array.shape,
        axes=axes,
        load=lambda start, stop: np.ascontiguousarray(array[start:stop]),
    )


def effects_of(weight, bias=None, *, role=Role.DENSE, op="Linear"):
    axes = (Axis.OUT, Axis.IN, *[Axis.TAP] * (weight.ndim - 2))
    parameters = [parameter(Use.KERNEL, weight, axes)]
    if bias is not None:
        parameters.append(parameter(Use.BIAS, bias, (Axis.OUT,)))
    layer = Layer(name="fc1", role=role, op=op, parameters=tuple(parameters))
    return see(Audit(inputs=(), coverage=Coverage(tensors=0, measured=0), layers=(measure(layer),)))


@pytest.mark.parametrize("role", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_initialisation_is_at_most_untouched(kind, role):
    torch.manual_seed(0)
    weight = KINDS[kind](torch.empty(SHAPES[role]))
    bias = torch.zeros(weight.shape[0])
    assert {e.effect for e in effects_of(weight, bias, role=role)} <= {"untouched"}


@pytest.mark.parametrize("kind", ["torch-default", "he-normal", "glorot-uniform", "truncated", "orthogonal"])
def test_a_fresh_dense_kernel_is_seen_as_untouched(kind):
    torch.manual_seed(0)
    effects = effects_of(KINDS[kind](torch.empty(SHAPES[Role.DENSE])))
    assert [e.effect for e in effects] == ["untouched"]


@pytest.mark.parametrize("shape", [(1, 40), (2, 5), (10, 64), (64, 3), (1, 1), (5, 1)], ids=str)
@pytest.mark.parametrize("seed", range(20))
def test_small_fresh_layers_show_nothing(shape, seed):
    torch.manual_seed(seed)
    layer = nn.Linear(*shape[::-1])
    assert effects_of(layer.weight, layer.bias) == ()


def test_training_ends_untouched():
    """A signal of rank one on top of the initialisation is enough."""
    torch.manual_seed(0)
    weight = KINDS["torch-default"](torch.empty(128, 128))
    weight += 2 * torch.outer(torch.randn(128), torch.randn(128)) / 128
    assert "untouched" not in {e.effect for e in effects_of(weight)}


def test_soft_thresholding_is_seen_as_sparse():
    torch.manual_seed(0)
    weight = nn.functional.softshrink(torch.randn(64, 64), 0.5) * 0.1
    effects = {e.effect: e for e in effects_of(weight)}
    assert effects["sparse"].confidence > 0.9
    assert "39.2%" in effects["sparse"].text


def test_a_product_of_thin_factors_is_seen_as_low_rank():
    torch.manual_seed(0)
    weight = torch.randn(128, 8) @ torch.randn(8, 128) / 30
    assert "low-rank" in {e.effect for e in effects_of(weight)}
