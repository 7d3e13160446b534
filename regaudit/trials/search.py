"""The search: screen all penalties, train the best few again, then in full; every stage judges by all of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from regaudit.probes.arms import NO_PENALTY
from regaudit.probes.splits import SHIFTED
from regaudit.trials.plan import CHECKED, Kind, Plan, beyond

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.probes.arms import Arm
    from regaudit.records import Array
    from regaudit.trials.recipe import Run
    from regaudit.trials.runs import Runs

ROUNDING = 1e-6  # of costs, which are sums of shares
_WALKS = 2  # steps beyond the ends of the grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the search came to.

    Args:
        winner: The best penalty, or none.
        runs: Every training.
        finals: Kinds of the full trainings.
        is_shifted: Whether validation rows are of another distribution than training rows.
        edge: Whether the winner is at an end of the strengths that were tried.
        confirming: Validation rows that had no part in the choice, by their place; () where all had.
    """

    winner: Arm
    runs: tuple[Run, ...]
    finals: tuple[Kind, ...]
    is_shifted: bool
    edge: bool
    confirming: tuple[int, ...] = ()


class Search:
    """One search.

    Args:
        runs: Makes the trainings, within the budget.
        plan: What to train.
        seed: Of the trial.
        confirming: Validation rows that are to have no part in the choice, by their place.
    """

    def __init__(self, runs: Runs, plan: Plan, seed: int, confirming: tuple[int, ...] = ()) -> None:
        self.runs = runs
        self.plan = plan
        self.seed = seed
        self.confirming = confirming
        self.is_shifted = False
        self._score: dict[Arm, float] = dict.fromkeys(plan.arms, 0.0)
        self._screened: dict[Arm, list[list[Run]]] = {}

    def run(self) -> Found:
        """Search.

        Returns:
            What was found.
        """
        plan = self.plan
        if plan.checks:
            self._check()
        arms = list(plan.arms)
        if self.is_shifted:  # what was trained on exchanged rows is of no more use, so fewer arms are left to pay for
            arms = arms[: int((self.runs.left - plan.rest()) / _price(plan) + ROUNDING)]
        self._screen(arms)
        self._walk(arms)
        best = self._best(arms, plan.again_arms or len(arms))
        if plan.again:
            best = best if NO_PENALTY in best else [*best[:-1], NO_PENALTY]
            self._judge(best, [self._moved(each) for each in plan.again])
        finals = [self._moved(each) for each in plan.finals]
        best = self._best(best, plan.final_arms)
        if plan.control and NO_PENALTY not in best:
            best = [*best[:-1], NO_PENALTY]
        self._judge(best, finals)
        winner = self._best(best, 1)[0]
        is_edge = beyond(winner, tuple(arms)) is not None
        return Found(
            winner=winner,
            runs=tuple(self.runs.done.values()),
            finals=tuple(finals),
            is_shifted=self.is_shifted,
            edge=is_edge,
            confirming=self.confirming,
        )

    def _check(self) -> None:
        """Compare validation rows with held-out training rows under no penalty and a common one."""
        kinds = (*self.plan.checks, self.plan.screens[-1])
        found = self._trained(list(CHECKED), kinds)
        own = [self._rows([run for run in runs if run.job.fold == 0]) for runs in found.values()]
        other = [self._rows([run for run in runs if run.job.fold]) for runs in found.values()]
        self.is_shifted = any(apart(ours, theirs) > SHIFTED for ours, theirs in zip(own, other, strict=True))

    def _screen(self, arms: Sequence[Arm]) -> None:
        """Train arms in every kind of the screen; scores are gaps to the best of each kind, summed."""
        kinds = [self._moved(each) for each in self.plan.screens]
        new = [arm for arm in arms if arm not in self._screened]
        found = self._trained(new, kinds)
        for arm in new:
            self._screened[arm] = [[run] for run in found[arm]]
        self._score.update(self._summed({arm: self._screened[arm] for arm in arms}))

    def _walk(self, arms: list[Arm]) -> None:
        """Go beyond the ends of the grid while the best lies there and the budget allows."""
        for _ in range(_WALKS):
            following = beyond(self._best(arms, 1)[0], tuple(arms))
            if following is None or self.runs.left - _price(self.plan) < self.plan.rest() - ROUNDING:
                return
            arms.append(following)
            self._screen(arms)

    def _judge(self, arms: Sequence[Arm], kinds: Sequence[Kind]) -> None:
        """Train arms in kinds whose rows judge together, and add the gaps."""
        for arm, gap in self._summed({arm: [runs] for arm, runs in self._trained(arms, kinds).items()}).items():
            self._score[arm] += gap

    def _trained(self, arms: Sequence[Arm], kinds: Sequence[Kind]) -> dict[Arm, list[Run]]:
        """Train arms in kinds, those of equally many steps together.

        Returns:
            For each arm its runs, in the order of the kinds.
        """
        jobs = {(arm, kind): kind.job(arm, self.runs.steps, self.seed) for arm in arms for kind in kinds}
        for steps in sorted({job.steps for job in jobs.values()}):
            self.runs.of([job for job in jobs.values() if job.steps == steps])
        return {arm: [self.runs.done[jobs[arm, kind]] for kind in kinds] for arm in arms}

    def _moved(self, kind: Kind) -> Kind:
        """Return a kind that is judged on validation rows alone where they are of another distribution."""
        return replace(kind, fold=0) if self.is_shifted else kind

    def _best(self, arms: Sequence[Arm], count: int) -> list[Arm]:
        return sorted(arms, key=lambda arm: self._score[arm])[:count]

    def _summed(self, found: dict[Arm, list[list[Run]]]) -> dict[Arm, float]:
        """Return for each arm the sum over groups of runs of how far its mean loss is from the group's best."""
        totals = dict.fromkeys(found, 0.0)
        for i in range(len(next(iter(found.values()), []))):
            means = {arm: self._mean(groups[i]) for arm, groups in found.items()}
            least = min(means.values())
            for arm, mean in means.items():
                totals[arm] += mean - least if math.isfinite(least) else 0.0
        return totals

    def _mean(self, runs: Sequence[Run]) -> float:
        """Return the mean over all rows that choose; infinite where a training diverged."""
        return float(self._rows(runs).mean()) if all(run.losses for run in runs) else math.inf

    def _rows(self, runs: Sequence[Run]) -> Array:
        """Return the losses of rows that choose: exchanged ones, and validation rows that are not kept for confirming."""
        pieces = [
            np.delete(run.losses, self.confirming) if run.job.fold == 0 else np.array(run.losses)
            for run in runs
            if run.losses
        ]
        return np.concatenate([np.zeros(0), *pieces])


def _price(plan: Plan) -> float:
    """Return what the screen of an arm costs."""
    return sum(each.share for each in plan.screens)


def apart(ours: Array, theirs: Array) -> float:
    """Return how many standard errors apart the means of two arrays of losses are; 0 where there are too few rows.

    Source: Welch, 1947.
    """
    if min(len(ours), len(theirs)) < 2:  # of one there is no variance
        return 0.0
    error = math.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs))
    return abs(float(ours.mean() - theirs.mean())) / error if error else 0.0
