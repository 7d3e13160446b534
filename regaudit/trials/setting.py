"""What every training of a trial shares: the network, the rows, the recipe, and the values to begin with."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regaudit.probes.initial_values import initial_values
from regaudit.probes.retraining import Pool
from regaudit.probes.runners.factory import build
from regaudit.probes.splits import crossed
from regaudit.trials.recipe import RESUME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.config import Trying
    from regaudit.probes.base import Network, Session, Tensor
    from regaudit.probes.splits import Split
    from regaudit.trials.recipe import Job

FOLDS = 6  # exchanges of training and validation rows that are laid out; a trial uses as many as its budget allows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """What every training shares.

    Args:
        session: The network, the data and the loss.
        trying: The recipe.
        pool: All rows, those for training first.
        splits: Which rows each fold learns from, and which it is judged on.
    """

    session: Session
    trying: Trying
    pool: Pool
    splits: tuple[Split, ...]
    model: str = ""
    _fresh: dict[int, Mapping[str, Tensor]] = field(default_factory=dict)

    def start(self, job: Job) -> Mapping[str, Tensor]:
        """Return the parameters and buffers that a job begins with."""
        network = self.session.runner.network
        if job.start == RESUME:
            return _state(network)
        if job.seed not in self._fresh:
            self._fresh[job.seed] = self._drawn(job.seed)
        return self._fresh[job.seed]

    def _drawn(self, seed: int) -> Mapping[str, Tensor]:
        """Return new values: the user's own where their code builds the network."""
        import torch

        session = self.session
        if not self.model:
            return {**_state(_without_statistics(session.runner.network)), **initial_values(session, seed)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _state(build(self.model).float().to(session.runner.device))


def _state(network: Network) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in (*network.named_parameters(), *network.named_buffers())}


def _without_statistics(network: Network) -> Network:
    network = copy.deepcopy(network)
    for module in network.modules():
        if callable(getattr(module, "reset_running_stats", None)):
            module.reset_running_stats()
    return network


def setting_of(session: Session, trying: Trying, model: str = "") -> Setting:
    """Lay out the rows of a session.

    Args:
        session: With labels for training and validation.
        trying: The recipe.
        model: The user's code that builds the network; "" if none.

    Returns:
        The setting of every training.
    """
    import torch

    train, val = session.train, session.val
    assert val is not None
    inputs = {name: torch.cat([each, val.inputs[name]]) for name, each in train.inputs.items()}
    labels: list[Tensor] = [train.labels, val.labels]
    pool = Pool(inputs=inputs, labels=torch.cat(labels))
    return Setting(
        session=session,
        trying=trying,
        pool=pool,
        splits=crossed(len(train), len(val), FOLDS, session.seed),
        model=model,
    )
