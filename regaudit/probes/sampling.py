"""A seeded choice of examples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from regaudit.probes.base import Data


def sample(data: Data, count: int, seed: int) -> Data:
    """Return at most `count` examples, chosen by the seed, in the order of the file."""
    if len(data) <= count:
        return data
    import torch

    chosen = torch.as_tensor(np.sort(np.random.default_rng(seed).choice(len(data), count, replace=False)))
    return replace(
        data,
        inputs={name: each[chosen.to(each.device)] for name, each in data.inputs.items()},
        labels=None if data.labels is None else data.labels[chosen.to(data.labels.device)],
    )
