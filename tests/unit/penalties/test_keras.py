"""The same losses and gradients as Keras', on its torch backend; and Keras models that take the penalty."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from regaudit.errors import ConfigError  # noqa: E402
from regaudit.penalties import Penalties, Penalty  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras runs on another backend")
nn = torch.nn
STRENGTHS = [(0.01, 0.0), (0.0, 0.02), (0.01, 0.02)]
SITES = ["kernel", "bias", "activity"]


def regularized(site, l1, l2):
    return {f"{site}_regularizer": keras.regularizers.L1L2(l1=l1, l2=l2)}


def pair(kind, activation, options):
    """Return a Keras layer and a torch network of the same weights, and their inputs."""
    rng = np.random.default_rng(0)
    if kind == "dense":
        theirs, layer = keras.layers.Dense(4, activation=activation, **options), nn.Linear(3, 4)
        x = rng.normal(size=(6, 3))
        given = x
    elif kind == "conv1d":
        theirs, layer = keras.layers.Conv1D(4, 3, activation=activation, **options), nn.Conv1d(3, 4, 3)
        x = rng.normal(size=(6, 3, 7))
        given = np.moveaxis(x, 1, -1)
    else:
        theirs, layer = keras.layers.Conv2D(4, 3, activation=activation, **options), nn.Conv2d(3, 4, 3)
        x = rng.normal(size=(6, 3, 5, 5))
        given = np.moveaxis(x, 1, -1)
    x, given = (torch.tensor(np.ascontiguousarray(each), dtype=torch.float32) for each in (x, given))
    theirs.build(given.shape)
    kernel = layer.weight.detach().numpy()
    theirs.set_weights([np.moveaxis(kernel, (0, 1), (-1, -2)), layer.bias.detach().numpy()])
    net = nn.Sequential(layer, {"relu": nn.ReLU(), "gelu": nn.GELU(), "linear": nn.Identity()}[activation])
    return theirs, net, x, given


@pytest.mark.parametrize(("l1", "l2"), STRENGTHS)
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("activation", ["linear", "relu", "gelu"])
@pytest.mark.parametrize("kind", ["dense", "conv1d", "conv2d"])
def test_losses_and_gradients_are_keras(kind, activation, site, l1, l2):
    theirs, net, x, given = pair(kind, activation, regularized(site, l1, l2))
    with Penalties(Penalty(site=site, l1=l1, l2=l2)) as penalty:
        net(x)
        ours = penalty(net)
    theirs(given)
    total = sum(theirs.losses)
    assert ours.item() == pytest.approx(total.item(), rel=1e-6)
    ours.backward()
    total.backward()
    for mine, keras_variable in zip(net.parameters(), theirs.trainable_variables, strict=True):
        gradient = keras_variable.value.grad
        if mine.grad is None or gradient is None:
            assert mine.grad is gradient
            continue
        aligned = torch.movedim(mine.grad, (0, 1), (-1, -2)) if mine.ndim > 1 else mine.grad
        torch.testing.assert_close(aligned, gradient, rtol=1e-5, atol=1e-6)


def test_the_documented_example():
    penalty = Penalties(Penalty(site="kernel", l1=0.01), Penalty(site="activity", l2=0.01))
    layer = keras.layers.Dense(5, kernel_initializer="ones", **penalty.keras_arguments())
    layer(2 * keras.ops.ones((5, 5)))
    assert sorted(each.item() for each in layer.losses) == pytest.approx([0.25, 5.0])


def test_arguments_are_keras_regularizers():
    both = Penalties(Penalty(site="bias", l1=0.1), Penalty(site="bias", l2=0.2), Penalty(site="kernel", l2=0.3))
    found = both.keras_arguments()
    assert set(found) == {"kernel_regularizer", "bias_regularizer"}
    assert isinstance(found["kernel_regularizer"], keras.regularizers.L2)
    assert found["bias_regularizer"].get_config() == {"l1": pytest.approx(0.1), "l2": pytest.approx(0.2)}


def model():
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((6,)),
            layers.Embedding(9, 4),
            layers.Conv1D(4, 2, name="conv", kernel_regularizer="l1"),
            layers.BatchNormalization(),
            layers.LSTM(3),
            layers.Dense(2, name="head", activation="softmax"),
        ]
    )


@pytest.mark.parametrize("site", SITES)
def test_a_built_model_takes_the_penalty(site):
    net = model()
    Penalties(Penalty(site=site, l2=0.5)).apply_to(net)
    x = keras.ops.convert_to_tensor(np.arange(12).reshape(2, 6) % 9)
    y = net(x)
    named = {v.path: v.value for v in net.trainable_variables}
    expected = {
        "kernel": lambda: 0.5 * sum(v.square().sum() for n, v in named.items() if n.endswith("kernel")),
        "bias": lambda: 0.5 * sum(v.square().sum() for n, v in named.items() if n.endswith("bias")),
        "activity": lambda: 0.5 * sum(z.square().sum() / 2 for z in [*outputs(net, x), y]),
    }[site]()
    assert sum(net.losses).item() == pytest.approx(expected.item(), rel=1e-5)


def outputs(net, x):
    """Return what the convolution and the recurrent layer put out."""
    seen = []
    for layer in net.layers:
        x = layer(x)
        if isinstance(layer, keras.layers.Conv1D | keras.layers.LSTM):
            seen.append(x)
    return seen


def test_a_model_that_is_not_built_takes_the_penalty():
    net = keras.Sequential([keras.layers.Dense(2, bias_initializer="ones")])
    Penalties(Penalty(site="bias", l1=0.5)).apply_to(net)
    net(keras.ops.ones((1, 3)))
    assert sum(net.losses).item() == pytest.approx(1.0)


def test_rules_by_name_and_role():
    net = model()
    Penalties(Penalty(site="kernel", l2=0.5, layers="head")).apply_to(net)
    assert sum(net.losses).item() == pytest.approx(0.5 * net.get_layer("head").kernel.value.square().sum().item())
    Penalties(Penalty(site="kernel", l2=0.5, roles=["conv"])).apply_to(net)
    assert sum(net.losses).item() == pytest.approx(0.5 * net.get_layer("conv").kernel.value.square().sum().item())
    with pytest.raises(ConfigError, match="finds no layer"):
        Penalties(Penalty(site="kernel", l2=0.5, layers="absent")).apply_to(net)


@pytest.mark.filterwarnings("ignore:__array__")  # Keras' own, of torch's arrays
def test_a_training_run_ends_where_the_plain_loop_does():
    theirs, net, x, given = pair("dense", "linear", {})
    y = torch.ones(6, 4)
    penalty = Penalties(Penalty(site="kernel", l2=0.1), Penalty(site="activity", l1=0.1))
    whole = keras.Sequential([theirs])
    penalty.apply_to(whole)
    whole.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    whole.fit(given.numpy(), y.numpy(), batch_size=6, epochs=3, shuffle=False, verbose=0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (nn.functional.mse_loss(net(x), y) + penalty(net)).backward()
        optimizer.step()
    penalty.close()
    torch.testing.assert_close(torch.tensor(theirs.get_weights()[0]), net[0].weight.detach().T, rtol=1e-5, atol=1e-6)
