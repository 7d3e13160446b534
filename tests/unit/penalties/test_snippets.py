import copy

import pytest
import torch
from torch import nn

from regaudit.penalties.snippets import (
    adamw_sentence,
    keras_adamw_lines,
    keras_lines,
    torch_adamw_lines,
    torch_lines,
)
from regaudit.records import Norm, Site

EVERY = [(site, norm) for site in (Site.KERNEL, Site.BIAS, Site.ACTIVITY) for norm in Norm]


class Tied(nn.Module):
    """An embedding table that also serves as the output kernel, and a normalization."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.table.weight

    def forward(self, x):
        return self.out(self.norm(self.hidden(self.table(x))))


def run(lines, model, x, y):
    names = {"torch": torch, "model": model, "x": x, "y": y, "learning_rate": 0.1}
    names |= {"loss_fn": nn.functional.cross_entropy, "optimizer": torch.optim.Adam(model.parameters(), lr=0.1)}
    exec(lines, names)
    return names


@pytest.mark.parametrize(("site", "norm"), [*EVERY, (Site.NONE, None)])
def test_lines_compile(site, norm):
    compile(keras_lines(site, norm, 0.01), "keras", "exec")
    compile(torch_lines(site, norm, 0.01), "torch", "exec")


@pytest.mark.parametrize(("site", "norm"), [*EVERY, (Site.NONE, None)])
def test_torch_lines_run(site, norm):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    lines = torch_lines(site, norm, 0.01)
    names = run(lines, model, x, y) if site is not Site.KERNEL or norm is Norm.L2 else run_step(lines, model, x, y)
    loss, expected = names.get("loss"), nn.functional.cross_entropy(model(x), y)
    added = {
        Site.BIAS: lambda: sum(measure(norm, b) for b in (model[0].bias, model[2].bias)),
        Site.ACTIVITY: lambda: (measure(norm, model[0](x).relu()) + measure(norm, model(x))) / 5,
    }
    if site in added:
        assert loss.item() == pytest.approx((expected + 0.01 * added[site]()).item())


def measure(norm, a):
    return a.abs().sum() if norm is Norm.L1 else a.square().sum()


def run_step(lines, model, x, y):
    """Run the lines of a proximal step after a step of Adam, from weights that are all but zero."""
    nn.init.constant_(model[0].weight, 1e-4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    names = {
        "torch": torch,
        "model": model,
        "x": x,
        "y": y,
        "loss_fn": nn.functional.cross_entropy,
        "optimizer": optimizer,
    }
    exec(lines, names)
    assert (model[0].weight == 0).any()
    return names


def test_torch_lines_leave_out_norms_biases_and_tied_tables():
    model = Tied()
    names = run(torch_lines(Site.KERNEL, Norm.L2, 0.01), model, torch.tensor([1, 2]), torch.tensor([1, 2]))
    penalised, others = names["optimizer"].param_groups
    assert [p is model.hidden.weight for p in penalised["params"]] == [True]
    assert penalised["weight_decay"] == 0.02
    assert others["weight_decay"] == 0.0
    assert len(others["params"]) == 4


def test_torch_lines_give_the_gradient_of_the_keras_penalty():
    torch.manual_seed(0)
    model, x, y = nn.Linear(3, 2), torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    other = copy.deepcopy(model)
    optimizer = run(torch_lines(Site.KERNEL, Norm.L2, 0.05), model, x, y)["optimizer"]
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    plain = torch.optim.Adam(other.parameters(), lr=0.1)
    (nn.functional.cross_entropy(other(x), y) + 0.05 * other.weight.square().sum()).backward()
    plain.step()
    torch.testing.assert_close(model.weight, other.weight)
    torch.testing.assert_close(model.bias, other.bias)


def test_lines_for_both_norms_decay_and_take_a_proximal_step():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    lines = torch_lines(Site.KERNEL, None, 0.01, 0.03)
    decay, step = lines.split("from regaudit")
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    assert run(decay, model, x, y)["optimizer"].param_groups[0]["weight_decay"] == 0.06
    run_step(f"from regaudit{step}", model, x, y)
    assert "L1L2(l1=0.01, l2=0.03)" in keras_lines(Site.KERNEL, None, 0.01, 0.03)


def test_torch_activity_term_is_divided_by_the_batch_size():
    """The example of keras.io: Dense(5, ones) on 2·ones(5, 5) has an activity L2(0.01) loss of 5."""
    model = nn.Linear(5, 5, bias=False)
    nn.init.ones_(model.weight)
    names = {"torch": torch, "model": model, "x": 2 * torch.ones(5, 5), "y": None, "loss_fn": lambda p, y: 0.0}
    exec(torch_lines(Site.ACTIVITY, Norm.L2, 0.01), names)
    assert names["loss"].item() == pytest.approx(5.0)


def test_adamw_lines_decay_the_kernels_alone():
    compile(keras_adamw_lines(0.1), "keras", "exec")
    model = nn.Linear(3, 2)
    names = run(torch_adamw_lines(0.1), model, None, None)
    decays = {id(p): group["weight_decay"] for group in names["optimizer"].param_groups for p in group["params"]}
    assert decays == {id(model.weight): 0.1, id(model.bias): 0.0}


def test_adamw_is_told_as_a_timescale():
    assert "10,000 to 100,000 steps" in adamw_sentence(0.01, 0.1)
