"""Which parameters are kernels and biases, in the modules that people write."""

import pytest

from regaudit.penalties.penalty import Penalty
from regaudit.penalties.selection import computed, layers, role_of, selected
from regaudit.records import Role

torch = pytest.importorskip("torch")
nn = torch.nn


class Conv1D(nn.Module):
    """As in transformers: a dense layer whose kernel is (in, out)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))
        self.bias = nn.Parameter(torch.ones(2))


class Patches(nn.Module):
    """Free parameters of several axes that are no kernels."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.ones(1, 4, 2))
        self.out = nn.Linear(2, 2)


def names(model, site="kernel", **fields):
    return [name for name, _ in selected(model, Penalty(site=site, l2=1.0, **fields))]


@pytest.mark.parametrize(
    ("module", "role"),
    [
        (nn.Linear(2, 2), Role.DENSE),
        (nn.Bilinear(2, 2, 2), Role.DENSE),
        (Conv1D(), Role.DENSE),
        (nn.Conv2d(4, 4, 1), Role.CONV),
        (nn.Conv2d(4, 4, 1, groups=2), Role.CONV),
        (nn.Conv2d(4, 4, 1, groups=4), Role.DEPTHWISE),
        (nn.ConvTranspose1d(2, 2, 1), Role.CONV_TRANSPOSE),
        (nn.Embedding(2, 2), Role.EMBEDDING),
        (nn.LayerNorm((2, 2)), Role.NORM),
        (nn.BatchNorm1d(2), Role.NORM),
        (nn.GRUCell(2, 2), Role.RECURRENT),
        (nn.MultiheadAttention(2, 1), Role.ATTENTION),
        (nn.PReLU(2), Role.UNKNOWN),
        (Patches(), Role.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else value,
)
def test_roles(module, role):
    assert role_of(module) is role


def test_tables_norms_and_free_parameters_are_no_kernels():
    model = nn.Sequential(nn.Embedding(3, 2), nn.LayerNorm(2), nn.PReLU(2), Patches())
    assert names(model) == ["3.out.weight"]
    assert names(model, "bias") == ["3.out.bias"]


def test_both_kernels_and_both_biases_of_a_recurrent_layer():
    model = nn.LSTM(2, 3)
    assert names(model) == ["weight_ih_l0", "weight_hh_l0"]
    assert names(model, "bias") == ["bias_ih_l0", "bias_hh_l0"]
    assert names(model, except_layers="weight_hh*") == ["weight_ih_l0"]


def test_all_projections_of_an_attention():
    assert names(nn.MultiheadAttention(4, 2)) == ["in_proj_weight", "out_proj.weight"]
    assert names(nn.MultiheadAttention(4, 2, kdim=3))[:3] == ["q_proj_weight", "k_proj_weight", "v_proj_weight"]


def test_a_tied_kernel_counts_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert names(model) == ["0.weight"]


def test_a_kernel_tied_to_a_table_stays_out_as_the_table_does():
    model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 5, bias=False))
    model[1].weight = model[0].weight
    assert names(model) == []
    assert names(model, roles=["dense", "embedding"]) == ["0.weight"]


def test_frozen_parameters_are_not_penalised():
    """As in Keras, whose losses run over the trainable weights."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert names(model) == ["1.weight"]


def test_wrappers_for_training_are_no_part_of_names():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 2)  # a name of its own, as wrappers use it

    def compiled(module):
        return torch.compile(module, backend="eager")

    model = nn.Sequential(compiled(nn.Linear(2, 2)), Part())
    assert [name for name, _, _ in layers(nn.DataParallel(compiled(model)))] == ["0", "1.module"]


def test_a_kernel_that_is_computed_is_penalised_as_it_is_used():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    assert names(model) == []
    ((name, kernel),) = computed(model, Penalty(site="kernel", l2=1.0))
    assert name == "weight"
    assert torch.equal(kernel, model.weight)
    assert computed(model, Penalty(site="bias", l2=1.0)) == []
