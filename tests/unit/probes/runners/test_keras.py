"""A Keras model on its torch backend: z before each layer's activation, y as Keras defines a layer's output."""

import os

import pytest

from regaudit.checkpoints import open_checkpoint
from regaudit.config import Probing
from regaudit.errors import ConfigError
from regaudit.layers import group
from regaudit.probes.observing import observe, unobserved
from regaudit.probes.runners import open_runner

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")
# Keras hands torch tensors to numpy 2 in a way that numpy is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def model():
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.SeparableConv2D(5, 3, activation="gelu"),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(6, activation="tanh", use_bias=False),
            layers.Dense(2, activation="softmax"),
        ]
    )


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_what_is_seen_is_what_each_layer_gives(tmp_path, suffix):
    keras.utils.set_random_seed(0)
    net, path, x = model(), tmp_path / f"m.{suffix}", torch.randn(4, 8, 8, 3)
    net.save(path)
    with open_checkpoint(path) as checkpoint:
        runner = open_runner(checkpoint, group(checkpoint).layers, Probing(trust=True), "cpu")
    output, seen = observe(runner, {runner.inputs[0].name: x})
    torch.testing.assert_close(output, net(x, training=False))
    torch.testing.assert_close(runner({"x": x}), output)
    given = {
        layer.name: y
        for layer, y in zip(net.layers, keras.Model(net.inputs, [y.output for y in net.layers])(x), strict=True)
    }
    checked = 0
    for name, each in seen.items():
        layer = name.rpartition("/")[2].partition("[")[0]
        if not name.endswith("[depthwise]"):
            torch.testing.assert_close(each.activity, given[layer])
            checked += 1
    assert checked == 4
    assert {each.activation for each in seen.values()} == {"relu", "gelu", "tanh", "softmax", ""}
    conv = next(each for name, each in seen.items() if "conv2d" in name and "separable" not in name)
    assert conv.linear.min() < 0 <= conv.activity.min()
    assert conv.inputs.shape == x.shape
    assert unobserved(runner, seen) == ()
    assert runner.inputs[0].shape == (None, 8, 8, 3)


def test_only_a_trusted_file_is_run(tmp_path):
    model().save(tmp_path / "m.keras")
    with open_checkpoint(tmp_path / "m.keras") as checkpoint, pytest.raises(ConfigError, match="--trust"):
        open_runner(checkpoint, group(checkpoint).layers, Probing(), "cpu")


def test_a_lambda_is_refused_even_when_trusted(tmp_path):
    net = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2), keras.layers.Lambda(lambda x: x + 1)])
    net.save(tmp_path / "m.keras")
    with (
        open_checkpoint(tmp_path / "m.keras") as checkpoint,
        pytest.raises(ConfigError, match=r"m\.keras: Keras .* raised"),
    ):
        open_runner(checkpoint, group(checkpoint).layers, Probing(trust=True), "cpu")
