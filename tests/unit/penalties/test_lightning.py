"""Lightning with the callback trains as the plain loop does."""

import copy

import pytest

torch = pytest.importorskip("torch")
lightning = pytest.importorskip("lightning.pytorch")

from regaudit.penalties import Penalties, Penalty  # noqa: E402

nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of loggers, workers and processors
PENALTIES = (
    Penalty(site="kernel", l1=0.02, layers="net.0"),
    Penalty(site="bias", l2=0.1),
    Penalty(site="activity", l2=0.1),
)


class Module(lightning.LightningModule):
    def __init__(self, net, *, automatic=True):
        super().__init__()
        self.net, self.automatic_optimization, self.logged = net, automatic, []

    def training_step(self, batch, index):
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss * 1.0)
            optimizer.step()
        return loss

    def validation_step(self, batch, index):
        self.logged.append(nn.functional.mse_loss(self.net(batch[0]), batch[1]).item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.utils.data.TensorDataset(*(torch.randn(12, n, generator=generator) for n in (3, 2)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def fitted(module, data, callback, **settings):
    loader = torch.utils.data.DataLoader(data, batch_size=3)
    trainer = lightning.Trainer(
        max_epochs=2, callbacks=[callback], accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **settings,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    return module


def plain(net, data, penalty, *, steps, dtype=None):
    """Train with `steps` batches to each step of the optimizer."""
    holder = nn.ModuleDict({"net": net})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for k, (x, y) in enumerate(torch.utils.data.DataLoader(data, batch_size=3)):
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                loss = nn.functional.mse_loss(net(x), y)
            ((loss + penalty(holder)) / steps).backward()
            if (k + 1) % steps == 0:
                optimizer.step()
                optimizer.zero_grad()


@pytest.mark.parametrize(
    ("settings", "automatic", "steps", "dtype"),
    [
        ({}, True, 1, None),
        ({}, False, 1, None),
        ({"accumulate_grad_batches": 2}, True, 2, None),
        ({"precision": "bf16-mixed", "accumulate_grad_batches": 4}, True, 4, torch.bfloat16),
    ],
)
def test_it_trains_as_the_plain_loop_does(net, data, settings, automatic, steps, dtype):
    other = copy.deepcopy(net)
    with Penalties(*PENALTIES) as penalty:
        fitted(Module(net, automatic=automatic), data, penalty.lightning_callback(), **settings)
        plain(other, data, penalty, steps=steps, dtype=dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype is None else {"rtol": 1e-2, "atol": 1e-3}
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


def test_the_penalty_gets_the_scale_of_mixed_precision(net, data):
    """With a scaled loss: gradients are those of scale x (loss + penalty) and the scaler takes it out again."""

    class Scaler:
        def get_scale(self):
            return 1024.0

        def scale(self, loss):
            return 1024.0 * loss

    from lightning.pytorch.plugins import MixedPrecision

    class Seen(lightning.Callback):
        def on_after_backward(self, trainer, module):
            self.gradient = module.net[0].weight.grad.clone()
            trainer.should_stop = True

    plugin, seen, other = MixedPrecision("16-mixed", "cpu", scaler=None), Seen(), copy.deepcopy(net)
    plugin.scaler = Scaler()
    plugin.optimizer_step = lambda optimizer, model, closure, **kwargs: closure()
    with Penalties(Penalty(site="kernel", l2=0.1)) as penalty:
        trainer_callbacks = penalty.lightning_callback()
        module = Module(net)
        trainer = lightning.Trainer(
            max_steps=1, callbacks=[trainer_callbacks, seen], accelerator="cpu", logger=False, plugins=[plugin],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=3))
        x, y = next(iter(torch.utils.data.DataLoader(data, batch_size=3)))
        (nn.functional.mse_loss(other(x), y) + penalty(other)).backward()
    torch.testing.assert_close(seen.gradient / 1024, other[0].weight.grad, rtol=1e-2, atol=1e-3)


def test_what_is_logged_is_the_data_loss(net, data):
    with Penalties(Penalty(site="kernel", l2=10.0)) as penalty:
        module = fitted(Module(net), data, penalty.lightning_callback(), num_sanity_val_steps=0)
    x, y = next(iter(torch.utils.data.DataLoader(data, batch_size=3)))
    assert module.logged[-4] == pytest.approx(nn.functional.mse_loss(net(x), y).item())
