"""The trainings of a trial: those in the log are taken from there, the others made and logged; their cost is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from regaudit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from regaudit.trials.log import Log
    from regaudit.trials.recipe import Job, Run

    Told: TypeAlias = Callable[["Progress"], None]


class Trainer(Protocol):
    """What trains: stacked, or one by one. `weights` holds those of full trainings where test rows wait for them."""

    weights: dict[Job, dict[str, Any]]

    def train(self, jobs: Sequence[Job]) -> Iterator[list[Run]]:
        """Yield what came of jobs, in order, as soon as some are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a trial is.

    Args:
        cost: Trained so far, in trainings of full length.
        budget: How much may be.
        running: Jobs that are being trained.
        runs: All that are done, in the order in which they were asked for.
    """

    cost: float
    budget: float
    running: int
    runs: tuple[Run, ...]


class Runs:
    """Makes trainings within a budget.

    Args:
        trainer: What trains.
        log: Of earlier runs, and for new ones.
        steps: Of a training of full length.
        budget: How many of those may be spent.
        tell: Called whenever a run is done.
    """

    def __init__(self, trainer: Trainer, log: Log, *, steps: int, budget: float, tell: Told) -> None:
        self.trainer = trainer
        self.log = log
        self.steps = steps
        self.budget = budget
        self.cost = 0.0
        self.done: dict[Job, Run] = {}
        self._tell = tell

    @property
    def left(self) -> float:
        """How much may still be trained, in trainings of full length."""
        return self.budget - self.cost

    def of(self, jobs: Sequence[Job]) -> list[Run]:
        """Return what came of jobs, each trained at most once.

        Args:
            jobs: All of the same number of steps.

        Raises:
            ConfigError: They cost more than is left: a bug in the plan of a trial.
        """
        new = [job for job in dict.fromkeys(jobs) if job not in self.done]
        price = sum(job.steps for job in new) / self.steps
        if price > self.left + 1e-6:
            raise ConfigError(f"a trial of {self.budget:g} trainings has {self.left:.2f} left and plans {price:.2f}")
        self._take([self.log.known[job] for job in new if job in self.log.known], 0)
        rest = [job for job in new if job not in self.log.known]
        self._tell(self._progress(len(rest)))
        for runs in self.trainer.train(rest) if rest else ():
            self.log.append(runs)
            rest = rest[len(runs) :]
            self._take(runs, len(rest))
        return [self.done[job] for job in jobs]

    def spend(self, cost: float) -> None:
        """Count what was trained elsewhere."""
        self.cost += cost

    def _take(self, runs: Sequence[Run], running: int) -> None:
        for run in runs:
            self.done[run.job] = run
            self.cost += run.job.steps / self.steps
        if runs:
            self._tell(self._progress(running))

    def _progress(self, running: int) -> Progress:
        return Progress(cost=self.cost, budget=self.budget, running=running, runs=tuple(self.done.values()))
