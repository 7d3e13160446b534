"""Small networks with data, as the probes take them."""

import pytest

torch = pytest.importorskip("torch")

from regaudit.networks.places import Place  # noqa: E402
from regaudit.probes.base import Data, Loss, ModelInput, Runner, Session  # noqa: E402
from regaudit.probes.losses import binary_cross_entropy, cross_entropy, squared_error  # noqa: E402

LOSSES = {"mse": squared_error, "cross_entropy": cross_entropy, "bce": binary_cross_entropy}
KERNELS = (torch.nn.Linear, torch.nn.Embedding, torch.nn.modules.conv._ConvNd)


def places_of(network):
    for name, module in network.named_modules():
        if isinstance(module, KERNELS):
            axis = 1 if isinstance(module, torch.nn.modules.conv._ConvNd) else -1
            kernel, bias = (f"{name}.{each}".removeprefix(".") for each in ("weight", "bias"))
            bias = bias if getattr(module, "bias", None) is not None else ""
            yield Place(layer=name or "fc", module=name, kernel=kernel, bias=bias, channel_axis=axis)


@pytest.fixture
def runner_of():
    """A runner of a network with one input `x`, or of a function of the batch."""

    def make(network, *places, call=lambda network, batch: network(batch["x"]), **fields):
        found = places or tuple(places_of(network))
        return Runner(
            kind="factory", network=network.eval(), inputs=(ModelInput(name="x"),), places=found, call=call, **fields
        )

    return make


@pytest.fixture
def session_of(runner_of):
    """A session of a network on inputs x, and labels y where a loss is named."""

    def make(network, x, y=None, *, loss="", val=None, seed=0, batch_size=7, **fields):
        inputs = x if isinstance(x, dict) else {"x": x}
        total = len(next(iter(inputs.values())))
        return Session(
            runner=runner_of(network, **fields),
            layers=(),
            train=Data(inputs=inputs, labels=y, source="train.npz", total=total),
            val=None if val is None else Data(inputs={"x": val[0]}, labels=val[1], source="val.npz", total=len(val[0])),
            loss=Loss(name=loss, per_example=LOSSES[loss]) if loss else None,
            seed=seed,
            batch_size=batch_size,
        )

    return make


@pytest.fixture
def value_of():
    """The value of a measure of a layer ("" for the model) in what a probe found."""

    def find(probed, measure, layer=""):
        return next(m for m in probed.measurements if (m.measure, m.layer) == (measure, layer))

    return find


@pytest.fixture
def reason_of():
    """The reason why a measure of a layer ("" for the model) was not taken."""

    def find(probed, measure, layer=""):
        return next(s.reason for s in probed.skips if (s.measure, s.layer) == (measure, layer))

    return find
