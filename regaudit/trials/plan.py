"""What a trial does with its budget: which penalties, how short the first trainings are, how many full ones follow.

A short training from new values knows too little of overfitting and likes weak penalties; one that goes on from the trained
weights likes strong ones; together they rank penalties better than either. Exchanged rows judge more than the validation
file alone, whose noise decides otherwise. Measured on 30 small networks with 37 penalties each; `docs/trial.md` has figures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from regaudit.probes.arms import NO_PENALTY, Arm
from regaudit.records import Norm, Site
from regaudit.trials.recipe import RESUME, RETRAIN, Job

# These sites and norms held the best of 37 penalties to 0.004 of the gain; the most useful first, for small budgets.
ARMS: Final = tuple(
    Arm(site=site, norm=norm, strength=strength)
    for site, norm, strength in (
        (Site.KERNEL, Norm.L2, 0.0125),
        (Site.KERNEL, Norm.L2, 0.0625),
        (Site.KERNEL, Norm.L1, 0.019),
        (Site.KERNEL, Norm.L1, 0.0038),
        (Site.ACTIVITY, Norm.L2, 0.038),
        (Site.KERNEL, Norm.L2, 0.0025),
        (Site.KERNEL, Norm.L1, 0.095),
        (Site.BIAS, Norm.L2, 3.0),
        (Site.KERNEL, Norm.L2, 0.31),
        (Site.ACTIVITY, Norm.L2, 0.19),
        (Site.ACTIVITY, Norm.L2, 0.0075),
        (Site.ACTIVITY, Norm.L2, 0.95),
    )
)
LEAST_ARMS: Final = 2
FACTOR: Final = 5.0  # between neighbours of the grid; a walk beyond its ends takes the same steps
SHORT: Final = 0.1  # of the steps
AGAIN: Final = 0.2
CONTROLLED: Final = 3.0  # trainings from which on no penalty is trained in full, too
EXCHANGING: Final = 4.0  # from which on training and validation rows change places
AGAIN_FROM: Final = 5.0  # from which on the best few are trained again before the full trainings
TWICE: Final = 7.0  # from which on full trainings are made with two seeds
LARGE: Final = 9.5  # from which on the best two are trained in full
VERY_LARGE: Final = 17.0  # from which on the best three, with three seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of training: whence, how long, on which rows.

    Args:
        start: resume or retrain.
        share: Of the steps of a full training.
        seed: Added to the trial's own.
        fold: Which rows; see `Job`.
        is_annealed: See `Job`.
    """

    start: str
    share: float
    seed: int = 0
    fold: int = 0
    is_annealed: bool = False

    def job(self, arm: Arm, steps: int, seed: int) -> Job:
        """Return the training of an arm of this kind."""
        count = max(1, round(self.share * steps))
        return Job(
            arm=arm, start=self.start, seed=seed + self.seed, steps=count, fold=self.fold, is_annealed=self.is_annealed
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is trained.

    Args:
        arms: The penalties to begin with, no penalty first.
        checks: Kinds that tell whether validation rows are of another distribution; () where rows cannot be exchanged.
        screens: Kinds in which every arm is trained.
        again: Kinds in which the best few and no penalty are trained next.
        again_arms: How many those are.
        finals: Kinds in which the very best are trained in full.
        final_arms: How many those are, no penalty among them where it is trained in full.
        control: Whether it is: the same seeds, batches and rows without a penalty, which may win.
    """

    arms: tuple[Arm, ...]
    checks: tuple[Kind, ...]
    screens: tuple[Kind, ...]
    again: tuple[Kind, ...]
    again_arms: int
    finals: tuple[Kind, ...]
    final_arms: int
    control: bool

    def rest(self) -> float:
        """Return the cost of what follows the screens."""
        return _shares(self.again) * self.again_arms + _shares(self.finals) * self.final_arms


def planned(budget: float, steps: int, *, estimand: str, is_own: bool, is_collapsed: bool) -> Plan:
    """Return what to train within a budget.

    Args:
        budget: In full trainings.
        steps: Of a full training.
        estimand: retrain or resume.
        is_own: Whether the recipe is the user's: then rows cannot be exchanged and learning rates not annealed.
        is_collapsed: Whether the trained weights are no better than a constant: then nothing goes on from them.
    """
    plan = _plain(budget, estimand, is_collapsed) if is_own or estimand == RESUME else _exchanging(budget, is_collapsed)
    spent = plan.rest() + _shares(plan.checks) * (len(CHECKED) if plan.checks else 0)
    count = int((budget - spent) / _shares(plan.screens) + 1e-9) - 1  # no penalty is screened, too
    return replace(plan, arms=(NO_PENALTY, *ARMS[: max(count, LEAST_ARMS)]))


CHECKED: Final = (NO_PENALTY, ARMS[0])


def _exchanging(budget: float, is_collapsed: bool) -> Plan:  # noqa: FBT001
    # The seed of the first full training draws initial values that nothing before it began with.
    own = Kind(start=RETRAIN, share=SHORT, seed=3, is_annealed=True)
    first = own if is_collapsed else Kind(start=RESUME, share=SHORT)
    other, third = (Kind(start=RETRAIN, share=SHORT, seed=fold, fold=fold, is_annealed=True) for fold in (1, 2))
    is_exchanging, has_again = budget >= EXCHANGING, budget >= AGAIN_FROM
    return Plan(
        arms=(),
        checks=() if not is_exchanging else (own,) if budget < TWICE else (own, third),
        screens=(first, other) if is_exchanging else (first,),
        again=(Kind(start=RETRAIN, share=AGAIN, seed=2, fold=2, is_annealed=True),) if has_again else (),
        again_arms=(3 + (budget >= LARGE)) * has_again,
        finals=tuple(Kind(start=RETRAIN, share=1.0, seed=k, fold=k) for k in range(_seeds(budget))),
        final_arms=_best(budget) + (budget >= CONTROLLED),
        control=budget >= CONTROLLED,
    )


def _plain(budget: float, estimand: str, is_collapsed: bool) -> Plan:  # noqa: FBT001
    start = RETRAIN if estimand == RETRAIN and is_collapsed else RESUME
    return Plan(
        arms=(),
        checks=(),
        screens=(Kind(start=start, share=AGAIN, seed=3),),
        again=(),
        again_arms=0,
        finals=tuple(Kind(start=estimand, share=1.0, seed=seed) for seed in range(_seeds(budget))),
        final_arms=_best(budget) + (budget >= CONTROLLED),
        control=budget >= CONTROLLED,
    )


def _seeds(budget: float) -> int:
    return 1 + (budget >= TWICE) + (budget >= VERY_LARGE)


def _best(budget: float) -> int:
    return 1 + (budget >= LARGE) + (budget >= VERY_LARGE)


def _shares(kinds: tuple[Kind, ...]) -> float:
    return sum(each.share for each in kinds)


def beyond(arm: Arm, tried: tuple[Arm, ...]) -> Arm | None:
    """Return the next strength where an arm lies at an end of those tried of its site and norm; None where it does not."""
    if arm.norm is None:
        return None
    strengths = [each.strength for each in tried if (each.site, each.norm) == (arm.site, arm.norm)]
    if arm.strength == max(strengths):
        return Arm(site=arm.site, norm=arm.norm, strength=arm.strength * FACTOR)
    if arm.strength == min(strengths):
        return Arm(site=arm.site, norm=arm.norm, strength=arm.strength / FACTOR)
    return None
