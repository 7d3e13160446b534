"""Train one network after another: where they are too large to be stacked, or where the recipe is the user's own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from regaudit.penalties.penalty import Penalty
from regaudit.penalties.training import Penalties
from regaudit.records import Norm
from regaudit.trials.batches import batches
from regaudit.trials.recipe import run_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from regaudit.config import Trying
    from regaudit.probes.arms import Arm
    from regaudit.probes.base import Network, Tensor
    from regaudit.trials.recipe import Job, Run
    from regaudit.trials.setting import Setting


class OneByOne:
    """Trains jobs one after another.

    Args:
        setting: The network, the data and the recipe.
        fit: How one network is trained; by default by the recipe of the setting.
    """

    def __init__(
        self, setting: Setting, fit: Callable[[Setting, Network, Penalties, Job], Network] | None = None
    ) -> None:
        self.setting = setting
        self.fit = fit or fitted
        self.weights: dict[Job, dict[str, Tensor]] = {}  # of full trainings, where test rows wait for them

    def train(self, jobs: Sequence[Job]) -> Iterator[list[Run]]:
        """Yield what came of each job as soon as it is done."""
        for job in jobs:
            network = copy.deepcopy(self.setting.session.runner.network)
            network.load_state_dict(self.setting.start(job), strict=False)
            with penalties(job.arm) as penalty:
                network = self.fit(self.setting, network, penalty, job)
            if self.setting.trying.test and job.steps == self.setting.trying.steps:
                self.weights[job] = {name: each.detach().clone() for name, each in network.state_dict().items()}
            yield [self._judged(job, network)]

    def _judged(self, job: Job, network: Network) -> Run:
        split = self.setting.splits[job.fold]
        held, train = (losses(self.setting, network, rows) for rows in (split.held, split.train))
        return run_of(job, held, sum(train) / len(train))


class penalties:  # noqa: N801, a context that reads as a function
    """A context with the penalty of an arm, which records activities as long as it is open."""

    def __init__(self, arm: Arm) -> None:
        l1, l2 = (arm.strength if arm.norm is norm else 0.0 for norm in (Norm.L1, Norm.L2))
        self.penalty = Penalties(*([Penalty(site=arm.site, l1=l1, l2=l2)] if arm.norm else []))

    def __enter__(self) -> Penalties:
        """Return the penalty."""
        return self.penalty

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401
        """Record activities no more."""
        self.penalty.close()


def fitted(setting: Setting, network: Network, penalty: Penalties, job: Job) -> Network:
    """Train a network by the recipe of the setting.

    Args:
        setting: With the rows and the recipe.
        network: With the values to begin with.
        penalty: A term of its loss.
        job: Seed, rows and steps.

    Returns:
        The same network, trained.
    """
    import torch

    network = network.train()
    optimizer = _optimizer(setting.trying, network)
    loss, call = setting.session.loss, setting.session.runner.call
    assert loss is not None
    rows = batches(setting, [job])
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(job.seed)
        for step in range(job.steps):
            for group in optimizer.param_groups:
                group["lr"] = setting.trying.lr * job.rate(step)
            inputs, labels = setting.pool.rows(next(rows)[0])
            optimizer.zero_grad()
            total = loss.per_example(call(network, inputs), labels).mean() + penalty(network)
            total.backward()
            optimizer.step()
    return network


def losses(setting: Setting, network: Network, rows: Tensor) -> list[float]:
    """Return the loss of each row under a network."""
    import torch

    session, found = setting.session, []
    assert session.loss is not None
    network.eval()
    with torch.no_grad():
        for start in range(0, len(rows), session.batch_size):
            inputs, labels = setting.pool.rows(rows[start : start + session.batch_size])
            found.append(session.loss.per_example(session.runner.call(network, inputs), labels))
    values: list[float] = torch.cat(found).double().tolist()
    return values


def _optimizer(trying: Trying, network: Network) -> Any:  # noqa: ANN401
    from torch import optim

    parameters = [each for each in network.parameters() if each.requires_grad]
    if trying.optimizer == "sgd":
        return optim.SGD(parameters, lr=trying.lr, momentum=trying.momentum, weight_decay=trying.weight_decay)
    kind = optim.AdamW if trying.optimizer == "adamw" else optim.Adam
    return kind(parameters, lr=trying.lr, weight_decay=trying.weight_decay)
