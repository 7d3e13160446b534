"""Small networks with data and a recipe, as the parts of a trial take them."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from regaudit.config import Trying  # noqa: E402
from regaudit.networks.places import Place  # noqa: E402
from regaudit.probes.arms import NO_PENALTY, Arm  # noqa: E402
from regaudit.probes.base import Data, Loss, ModelInput, Runner, Session  # noqa: E402
from regaudit.probes.losses import squared_error  # noqa: E402
from regaudit.records import Norm, Site  # noqa: E402
from regaudit.trials.recipe import RETRAIN, Job, Run  # noqa: E402
from regaudit.trials.setting import setting_of  # noqa: E402

torch.set_num_threads(1)


def places_of(network):
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            axis = 1 if isinstance(module, nn.Conv1d) else -1
            yield Place(layer=name, module=name, kernel=f"{name}.weight", channel_axis=axis)


@pytest.fixture
def setting():
    """A setting: a network, training and validation rows of a noisy line, and a recipe."""

    def make(network=None, rows=24, val=20, seed=0, **recipe):
        torch.manual_seed(1)
        network = network or nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 1))
        x = torch.randn(rows + val, 5)
        y = x[:, :1] + 0.5 * torch.randn(rows + val, 1)
        runner = Runner(
            kind="factory",
            network=network.eval(),
            inputs=(ModelInput(name="x"),),
            places=tuple(places_of(network)),
            call=lambda network, batch: network(batch["x"]),
        )
        session = Session(
            runner=runner,
            layers=(),
            train=Data(inputs={"x": x[:rows]}, labels=y[:rows], source="train.npz", total=rows),
            val=Data(inputs={"x": x[rows:]}, labels=y[rows:], source="val.npz", total=val),
            loss=Loss(name="mse", per_example=squared_error),
            seed=seed,
        )
        return setting_of(session, Trying(**{"lr": 0.01, "steps": 20, "batch_size": 8, **recipe}))

    return make


@pytest.fixture
def arm():
    """A penalty by its words; none for no words."""

    def make(site="", norm="l2", strength=0.1):
        return Arm(site=Site(site), norm=Norm(norm), strength=strength) if site else NO_PENALTY

    return make


@pytest.fixture
def job(arm):
    """A training of a penalty."""

    def make(*words, start=RETRAIN, seed=0, steps=20, fold=0, is_annealed=False):
        return Job(arm=arm(*words), start=start, seed=seed, steps=steps, fold=fold, is_annealed=is_annealed)

    return make


@pytest.fixture
def run(job):
    """What came of a training: losses of its rows."""

    def make(losses, *words, **fields):
        return Run(job=job(*words, **fields), losses=tuple(losses), train_loss=0.5 if len(losses) else None)

    return make
