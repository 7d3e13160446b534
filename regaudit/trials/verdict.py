"""The verdict: what the trainings say of the winner against the model as it is, and what they cannot say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.probes.arms import NO_PENALTY
from regaudit.records import Compared, Outcome
from regaudit.trials.recipe import RETRAIN
from regaudit.trials.search import apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.probes.arms import Arm
    from regaudit.records import Array
    from regaudit.trials.recipe import Job, Run
    from regaudit.trials.search import Found

SMALL: Final = 100  # validation rows: below, a grid of 37 penalties chose three times worse than above
# In standard errors: odds below two to one are noise (our choice). On 60 small networks 1 in its place left 0.06 more of the
# gain, and 0 a little less, at the same harm.
NOISE: Final = 0.43
UNLIKE: Final = 1.645  # standard errors: one in twenty by chance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """What a winner is compared with, on validation rows.

    Args:
        base: Loss of each row under the model as it is.
        constant: Loss of each row under the best constant output.
        is_overfit: Whether the model as it is is clearly worse on validation rows than on training rows.
        train: Mean loss of the training rows under the model as it is.
    """

    base: Array
    constant: Array
    is_overfit: bool = False
    train: float = 0.0


def outcomes(found: Found) -> tuple[Outcome, ...]:
    """Return what came of each penalty in each kind of training, longest trainings first, best first.

    Args:
        found: With all runs.
    """
    groups: dict[tuple[Arm, str, int], list[Run]] = {}
    for run in found.runs:
        groups.setdefault((run.job.arm, run.job.start, run.job.steps), []).append(run)
    control = {_twin(run.job): run for run in found.runs if run.job.arm == NO_PENALTY}
    made = [_outcome(runs, control) for runs in groups.values()]
    return tuple(sorted(made, key=lambda o: (-o.steps, o.estimand != RETRAIN, math.inf if o.loss is None else o.loss)))


def compared(base: Array, runs: Sequence[Array]) -> Compared:
    """Return the model as it is against trainings with one penalty, row by row.

    The standard error is that of the rows' mean difference and, of two trainings or more, of their spread.

    Args:
        base: Loss of each row.
        runs: The same of each training.
    """
    stacked = np.stack(runs)
    gains = base - stacked.mean(0)
    variance = _variance(gains) + _variance(stacked.mean(1))
    return Compared(
        rows=len(base),
        base=float(base.mean()),
        winner=float(stacked.mean()),
        gain=float(gains.mean()),
        gain_se=math.sqrt(variance),
    )


def validated(found: Found, base: Array) -> Compared:
    """Return the model as it is against the winner in full, on the validation rows that had no part in the choice, if there are such.

    Args:
        found: With the winner's runs.
        base: Loss of each validation row under the model as it is.
    """
    rows = list(found.confirming) or slice(None)
    return compared(base[rows], [losses[rows] for losses in own_rows(found, found.winner)])


def is_clear(found: Found, reference: Reference, validation: Compared) -> bool:
    """Return whether the winner is to be preferred to the model as it is: better on validation rows, and beyond the noise.

    A model that overfits clearly needs no more than to be better: of 60 small networks nearly all such gained from some penalty.
    Else the noise counts: that of validation rows, or with fewer of them that of all rows: on exchanged ones no penalty stands for the
    model as it is.

    Where labels are wrong the strongest penalty loses least; it is no change that would help.

    Args:
        found: With the runs of the winner and of no penalty under the same seeds and rows.
        reference: What it is compared with.
        validation: The winner against the model as it is.
    """
    if validation.gain <= 0 or is_no_better_than_constant(found, reference):
        return False
    if reference.is_overfit or validation.gain > NOISE * validation.gain_se:
        return True
    gains = np.concatenate([reference.base - np.mean(own_rows(found, found.winner), 0), _paired(found)])
    return bool(gains.mean() > NOISE * math.sqrt(_variance(gains)))


def is_no_better_than_constant(found: Found, reference: Reference) -> bool:
    """Return whether the winner has learnt nothing that holds for the validation rows.

    It is clearly worse there than the best constant output of the training labels; or it is worse at all, and validation rows
    are unlike training rows.

    Args:
        found: With the runs of the winner.
        reference: With the constant's losses.
    """
    over = compared(reference.constant, own_rows(found, found.winner))
    return over.gain < -over.gain_se or (over.gain < 0 and _is_unlike(found))


def _is_unlike(found: Found) -> bool:
    """Return whether the winner finds validation rows harder than held-out training rows."""
    others = [np.array(r.losses) for r in found.runs if r.job.arm == found.winner and r.job.fold and r.losses]
    own = np.mean(own_rows(found, found.winner), 0)
    return found.is_shifted or bool(others and apart(own, np.concatenate(others)) > UNLIKE)


def own_rows(found: Found, arm: Arm) -> list[Array]:
    """Return the losses of the full trainings of an arm on the user's validation rows."""
    steps = max(run.job.steps for run in found.runs if run.job.arm == found.winner and run.losses)
    return [
        np.array(r.losses)
        for r in found.runs
        if r.job.arm == arm and r.job.steps == steps and r.job.fold == 0 and r.losses
    ]


def _paired(found: Found) -> Array:
    """Return the gains of the winner over no penalty on exchanged rows, the same seeds and batches."""
    control = {_twin(run.job): run for run in found.runs if run.job.arm == NO_PENALTY and run.losses}
    pairs = [
        (control[_twin(r.job)], r)
        for r in found.runs
        if r.job.arm == found.winner and r.losses and r.job.fold and _twin(r.job) in control
    ]
    if found.winner == NO_PENALTY or found.is_shifted:
        return np.zeros(0)
    return np.concatenate([np.zeros(0), *(np.array(c.losses) - np.array(r.losses) for c, r in pairs)])


def _outcome(runs: list[Run], control: dict[tuple[object, ...], Run]) -> Outcome:
    job = runs[0].job
    rows = np.concatenate([np.zeros(0), *(np.array(run.losses) for run in runs)])
    is_whole = all(run.losses for run in runs)
    pairs = [
        (control[_twin(run.job)], run) for run in runs if _twin(run.job) in control and control[_twin(run.job)].losses
    ]
    is_paired = is_whole and len(pairs) == len(runs) and job.arm != NO_PENALTY
    each = [np.array(c.losses) - np.array(r.losses) for c, r in pairs if is_paired]
    gains = np.concatenate([np.zeros(0), *each])
    spread = _variance(np.array([rows.mean() for rows in each]))  # over seeds
    return Outcome(
        site=job.arm.site,
        norm=job.arm.norm,
        strength=job.arm.strength,
        estimand=job.start,
        trainings=len(runs),
        steps=job.steps,
        loss=float(rows.mean()) if is_whole else None,
        loss_se=math.sqrt(_variance(rows)) if is_whole else None,
        gain=float(gains.mean()) if is_paired else None,
        gain_se=math.sqrt(_variance(gains) + spread) if is_paired else None,
        train_loss=float(np.mean([run.train_loss for run in runs])) if is_whole else None,
    )


def _twin(job: Job) -> tuple[object, ...]:
    """Return what a job has in common with the control's under the same protocol, seeds, batches and rows."""
    return job.start, job.seed, job.steps, job.fold, job.is_annealed


def _variance(values: Array) -> float:
    """Return the variance of the mean of some values; 0 of a single one."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0
