"""Which rows each step takes: the same for every penalty (common random numbers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regaudit.probes.base import Tensor
    from regaudit.trials.recipe import Job
    from regaudit.trials.setting import Setting


def batches(setting: Setting, jobs: Sequence[Job]) -> Iterator[Tensor]:
    """Yield (jobs, batch) rows without end, each epoch in a new order that seed and fold decide.

    Args:
        setting: With the splits of the rows.
        jobs: Those of one seed and fold take the same rows.
    """
    import torch

    kinds = list(dict.fromkeys((job.seed, job.fold) for job in jobs))
    which = torch.tensor([kinds.index((job.seed, job.fold)) for job in jobs])
    streams = [_stream(setting, seed, fold) for seed, fold in kinds]
    while True:
        yield torch.stack([next(each) for each in streams])[which]


def _stream(setting: Setting, seed: int, fold: int) -> Iterator[Tensor]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    rows = setting.splits[fold].train
    size = min(setting.trying.batch_size, len(rows))
    while True:
        order = rows[torch.randperm(len(rows), generator=generator)]
        for start in range(0, len(rows) - size + 1, size):
            yield order[start : start + size]
