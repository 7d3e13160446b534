"""A trial's verdict and its limits, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.probes.arms import NO_PENALTY
from regaudit.trials.recipe import RETRAIN
from regaudit.trials.verdict import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.config import Trying
    from regaudit.probes.arms import Arm
    from regaudit.records import Compared
    from regaudit.trials.search import Found

CLEAR = 1.96  # standard errors: a gain beyond them is called clear, one below is said with its noise

NO_BETTER = (
    "On the validation rows the winner is no better than a constant output: what the model learns does not carry over to them."
    " Check the labels and the split first."
)


def named(arm: Arm) -> str:
    """Return a penalty in words: `kernel L2 0.0125`."""
    return "no penalty" if arm.norm is None else f"{arm.site} {arm.norm.upper()} {arm.strength:.3g}"


def recipe(trying: Trying) -> str:
    """Return the recipe in words."""
    if trying.recipe:
        return f"{trying.recipe}, {trying.steps:,} steps"
    momentum = f", momentum {trying.momentum:g}" if trying.optimizer == "sgd" else ""
    decay = f", weight decay {trying.weight_decay:g}" if trying.weight_decay else ""
    return f"{trying.optimizer}, learning rate {trying.lr:g}{momentum}{decay}, {trying.steps:,} steps of {trying.batch_size} examples"


def sentences(found: Found, estimand: str, validation: Compared, *, is_change: bool) -> Iterator[str]:
    """Yield the verdict, most telling first.

    Args:
        found: What the search came to.
        estimand: retrain or resume.
        validation: The winner against the model as it is.
        is_change: Whether the winner is recommended.
    """
    verb = "Trained anew" if estimand == RETRAIN else "Trained on from these weights"
    count = sum(
        run.job.arm == found.winner and run.job.steps == max(r.job.steps for r in found.runs) for run in found.runs
    )
    yield (
        f"{verb} with {named(found.winner)}, the validation loss is {validation.winner:.4g} where the model as it is has"
        f" {validation.base:.4g}: a gain of {validation.gain:.3g}, standard error {validation.gain_se:.2g}"
        f" ({validation.rows:,} rows, {count} training{'s' if count > 1 else ''})."
    )
    if not is_change:
        yield "No penalty is better than the model as it is beyond the noise, so what is in use stays."
    elif validation.gain < CLEAR * validation.gain_se:
        yield (
            "On these rows alone that is within the noise. It is recommended all the same, for what else was trained speaks for"
            " it, or the model overfits clearly, and most such models gain from some penalty."
        )
    yield (
        "This answers what to train with from new initial values (retrain); it says little of going on from these weights."
        if estimand == RETRAIN
        else "This answers what to do when training goes on from these weights (resume); training from scratch may want another penalty."
    )


def warnings(found: Found, rows: int, *, is_confirmed: bool) -> Iterator[str]:
    """Yield what limits the verdict.

    Args:
        found: What the search came to.
        rows: Of validation.
        is_confirmed: Whether the winner was trained again with fresh seeds.
    """
    if rows < SMALL:
        yield (
            f"The validation set has {rows:,} rows: below {SMALL} the choice is mostly noise, and the gain of the best of many is"
            " too good to be true. More rows are worth more than more trainings."
        )
    if not is_confirmed:
        yield "The winner was trained in full once: its spread over seeds is not known. A budget of 8 trains it twice."
    yield (
        f"The validation rows chose between {len({run.job.arm for run in found.runs})} penalties: they are used up."
        " Judge the final model on test rows (--test)."
    )
    if found.edge and found.winner != NO_PENALTY:
        yield f"{named(found.winner)} lies at the edge of the strengths that were tried: a stronger or weaker one may be better."
    if found.is_shifted:
        yield "Validation rows are of another distribution than training rows: they alone judged."
    lost = sum(not run.losses for run in found.runs)
    if lost:
        yield f"{lost} training{'s' if lost > 1 else ''} diverged (a loss of NaN or infinity); those penalties were left out."
