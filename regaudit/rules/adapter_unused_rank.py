"""A low-rank adapter uses a small part of the rank that it was given.

Why:
    Rank is what an adapter costs, in memory and time. Where a few directions carry the update, the others were decayed to
    nothing or never learnt: a smaller rank gives the same model, or the learning rate was too low for this one.

How:
    model.adapter effective rank over rank: kernel.effective_rank of B·A, over the rank of its factors, is at most a quarter
    in more than half of the adapters that are not zero.

Fix:
    Nothing is broken. Train the next adapter with a smaller r, or merge this one, which costs nothing at inference.

Silent on:
    Adapters of rank below 8, and those that change nothing (adapter-no-effect).

Example:
    24 of 24 adapters use a quarter of their rank or less: the median is 1.7 of 16 directions.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import LayerAudit

SHARE = Threshold("share", "effective rank over the rank that was given", 0.25, "", "choice: 4 times the directions in use")
MIN_RANK = Threshold("min-rank", "rank that was given", 8, "", "choice: a share of fewer directions says little")
HALF = 0.5  # of the adapters: a single layer that needs little says nothing of r
