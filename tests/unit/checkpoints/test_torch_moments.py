import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import nn

from regaudit.checkpoints import open_checkpoint

STEPS = 3


def network():
    """Return a network in which two kernels, and several vectors, have the same shape."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3)
    )


def train(model, optimizer):
    """Take steps on data that gives every parameter another gradient."""
    for _ in range(STEPS):
        optimizer.zero_grad()
        (model(torch.randn(32, 8)) * torch.randn(3)).square().mean().backward()
        optimizer.step()


def by_dimension(model):
    return [
        {"params": [each for each in model.parameters() if each.ndim > 1], "weight_decay": 0.1},
        {"params": [each for each in model.parameters() if each.ndim == 1], "weight_decay": 0.0},
    ]


def assert_moments(checkpoint, model, optimizer, names=None, prefix=""):
    """Assert that these parameters have moments, and those that the optimizer itself has for them."""
    parameters = dict(model.named_parameters())
    names = list(parameters) if names is None else names
    assert [each.tensor for each in checkpoint.moments] == [prefix + name for name in names]
    for name, found in zip(names, checkpoint.moments, strict=True):
        state = optimizer.state[parameters[name]]
        for tensor, key in ((found.first, "exp_avg"), (found.second, "exp_avg_sq")):
            values = checkpoint.read(tensor, 0, tensor.size).reshape(tensor.shape)
            np.testing.assert_array_equal(values, state[key].float().numpy())
        assert (found.step, found.family) == (STEPS, "Adam")


@pytest.fixture
def saved(tmp_path):
    opened = []

    def save(content):
        torch.save(content, tmp_path / "model.pt")
        opened.append(open_checkpoint(tmp_path / "model.pt"))
        return opened[-1]

    yield save
    for each in opened:
        each.close()


@pytest.mark.parametrize(
    "optimizer_of",
    [
        lambda model: torch.optim.Adam(model.parameters(), weight_decay=0.01),
        lambda model: torch.optim.AdamW(model.parameters(), amsgrad=True),
        lambda model: torch.optim.NAdam(model.parameters()),
        lambda model: torch.optim.AdamW(by_dimension(model)),
        lambda model: torch.optim.AdamW(by_dimension(model)[::-1]),
        lambda model: torch.optim.AdamW(list(model.named_parameters())[::-1]),
    ],
    ids=["Adam", "AMSGrad", "NAdam", "two groups", "two groups, biases first", "names, backwards"],
)
@pytest.mark.parametrize(
    "pack",
    [
        lambda model, state: {"model": model, "optimizer": state},
        lambda model, state: {"state_dict": model, "optimizer_states": [state]},
    ],
    ids=["a training script's", "Lightning's"],
)
def test_moments_are_those_that_the_optimizer_has(optimizer_of, pack, saved):
    model = network()
    optimizer = optimizer_of(model)
    train(model, optimizer)
    assert_moments(saved(pack(model.state_dict(), optimizer.state_dict())), model, optimizer)


ONCE = ["0.weight", "5.weight", "5.bias"]  # the parameters that are the only ones of their shape


@pytest.mark.parametrize(
    "groups_of",
    [
        lambda model: list(model.parameters())[::-1],
        lambda model: [{"params": list(layer.parameters())} for layer in model if list(layer.parameters())],
    ],
    ids=["backwards", "a group for each layer"],
)
def test_where_the_order_tells_nothing_only_shapes_that_occur_once_do(groups_of, saved):
    model = network()
    optimizer = torch.optim.AdamW(groups_of(model))
    train(model, optimizer)
    assert_moments(saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}), model, optimizer, ONCE)


def test_frozen_weights_leave_what_is_certain(saved):
    model = network()
    model[3].requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad])
    train(model, optimizer)
    assert_moments(saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}), model, optimizer, ONCE)


def test_a_parameter_that_never_had_a_gradient_keeps_its_place(saved):
    model = network()
    model[3].requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(model.parameters())
    train(model, optimizer)
    trained = [name for name, each in model.named_parameters() if each.requires_grad]
    checkpoint = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    assert_moments(checkpoint, model, optimizer, trained)


def test_the_optimizer_of_another_model_says_nothing(saved):
    model, other = network(), nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 5))
    optimizer = torch.optim.AdamW(other.parameters())
    other(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    assert saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}).moments == ()


@pytest.mark.parametrize(
    "optimizer_of",
    [
        lambda each: torch.optim.SGD(each, 0.1, momentum=0.9),
        torch.optim.RMSprop,
        torch.optim.Adamax,
        torch.optim.Adagrad,
    ],
    ids=["SGD", "RMSprop", "Adamax", "Adagrad"],
)
def test_what_other_optimizers_keep_is_no_pair_of_means(optimizer_of, saved):
    model = network()
    optimizer = optimizer_of(model.parameters())
    train(model, optimizer)
    assert saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}).moments == ()


def test_two_optimizers_of_one_tensor_contradict_each_other(saved):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    train(model, optimizer)
    content = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()] * 2}
    assert saved(content).moments == ()


@pytest.mark.parametrize(
    ("step", "expected"),
    [(STEPS, STEPS), (torch.tensor(float("nan")), None), (torch.ones(2), None), ("3", None), (-1, None)],
    ids=["a number, as before torch 1.12", "NaN", "two numbers", "a text", "negative"],
)
def test_a_step_is_a_count_or_unknown(step, expected, saved):
    model = nn.Linear(8, 3)
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer)
    state = optimizer.state_dict()
    for each in state["state"].values():
        each["step"] = step
    checkpoint = saved({"model": model.state_dict(), "optimizer": state})
    assert [each.step for each in checkpoint.moments] == [expected] * 2


# --- Other containers -------------------------------------------------------------------------------------------------


def test_an_optimizer_beside_a_torch_file_has_the_models_order(tmp_path):
    model = network()
    optimizer = torch.optim.AdamW(by_dimension(model))
    train(model, optimizer)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    with open_checkpoint(tmp_path) as checkpoint:
        assert_moments(checkpoint, model, optimizer)
        assert {each.first.source.partition(":")[0] for each in checkpoint.moments} == {"optimizer.pt"}
        first = checkpoint.tensors[0]
        np.testing.assert_array_equal(checkpoint.read(first, 0, 4), model[0].weight.detach().flatten()[:4].numpy())


def test_safetensors_sorts_by_name_so_only_shapes_that_occur_once_tell(tmp_path):
    model = network()
    optimizer = torch.optim.AdamW(by_dimension(model))
    train(model, optimizer)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    with open_checkpoint(tmp_path) as checkpoint:
        assert_moments(checkpoint, model, optimizer, sorted(ONCE))


def test_names_tell_whatever_the_order(tmp_path):
    model = network()
    optimizer = torch.optim.AdamW(model.named_parameters())
    train(model, optimizer)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    with open_checkpoint(tmp_path) as checkpoint:
        assert_moments(checkpoint, model, optimizer, [t.name for t in checkpoint.tensors if t.name in dict(model.named_parameters())])  # fmt: skip


@pytest.mark.parametrize("content", [b"PK\3\4 not a zip", b"", b"\x80\x02}."], ids=["zip", "empty", "pickle"])
def test_an_optimizer_file_that_cannot_be_read_takes_nothing_from_the_model(content, tmp_path):
    save_file(network().state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "optimizer.pt").write_bytes(content)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.moments == checkpoint.apart == ()
        assert len(checkpoint.read(checkpoint.tensors[0], 0, 3)) == 3


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_distributed_checkpoint_with_names_for_numbers_is_understood(tmp_path):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    train(model, optimizer)
    names, state = [name for name, _ in model.named_parameters()], optimizer.state_dict()
    state["state"] = {name: state["state"][i] for i, name in enumerate(names)}
    state["param_groups"][0]["params"] = names
    dcp.save({"model": model.state_dict(), "optim": state}, checkpoint_id=str(tmp_path))
    with open_checkpoint(tmp_path) as checkpoint:
        assert_moments(checkpoint, model, optimizer, prefix="model.")
