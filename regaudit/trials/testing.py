"""The test rows: read after everything is decided, and looked at once."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from regaudit.probes import data, losses, trying
from regaudit.trials.verdict import compared

if TYPE_CHECKING:
    from regaudit.config import Probing
    from regaudit.probes.base import Data, Network
    from regaudit.records import Array, Compared
    from regaudit.trials.runs import Trainer
    from regaudit.trials.search import Found
    from regaudit.trials.setting import Setting


def tested(setting: Setting, trainer: Trainer, probing: Probing, found: Found) -> Compared:
    """Return the model as it is against the winner's full trainings, on test rows.

    Args:
        setting: With the model and the path of the test data.
        trainer: Has the weights of the full trainings, or trains them again where they come from a log.
        probing: How the data are read.
        found: With the winner.

    Raises:
        ConfigError: The data cannot be read, or do not fit the model or the loss.
    """
    runner = setting.session.runner
    rows, _ = data.load(setting.trying.test, runner, setting.session.layers, probing)
    shapes = losses.Shapes(
        output=trying.shape_of_output(runner, rows, setting.trying.test),
        takes_ids=any(not each.is_floating_point() for each in rows.inputs.values()),
    )
    _, rows, _ = losses.fitted(probing.loss, shapes, rows)
    jobs = [
        run.job
        for run in found.runs
        if run.job.arm == found.winner and run.job.steps == setting.trying.steps and not run.job.fold
    ]
    missing = [job for job in jobs if job not in trainer.weights]
    for _ in trainer.train(missing) if missing else ():
        pass
    trained = []
    for job in jobs:
        network = copy.deepcopy(runner.network)
        network.load_state_dict(trainer.weights[job], strict=False)
        trained.append(_losses(setting, network, rows))
    return compared(_losses(setting, runner.network, rows), trained)


def _losses(setting: Setting, network: Network, rows: Data) -> Array:
    import torch

    session = setting.session
    assert session.loss is not None
    with torch.no_grad():
        pieces = [
            session.loss.per_example(session.runner.call(network.eval(), x), y)
            for x, y in rows.batches(session.batch_size)
        ]
    found: Array = torch.cat(pieces).double().cpu().numpy()
    return found
