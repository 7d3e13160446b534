"""A trial's verdict and its limits, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.probes.arms import NO_PENALTY
from regaudit.trials.plan import CONTROLLED, TWICE
from regaudit.trials.recipe import RETRAIN
from regaudit.trials.verdict import SMALL, own_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.config import Trying
    from regaudit.probes.arms import Arm
    from regaudit.records import Compared, Outcome
    from regaudit.trials.search import Found
    from regaudit.trials.verdict import Reference

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


def sentences(
    found: Found, winner: Outcome, reference: Reference, validation: Compared, *, is_change: bool
) -> Iterator[str]:
    """Yield the verdict, most telling first.

    Args:
        found: What the search came to.
        winner: What came of its full trainings.
        reference: What it is compared with.
        validation: The winner against the model as it is.
        is_change: Whether the winner is recommended.
    """
    verb = "Trained anew" if winner.estimand == RETRAIN else "Trained on from these weights"
    rows = f"{validation.rows:,} rows" + (" that had no part in the choice" if found.confirming else "")
    yield (
        f"{verb} with {named(found.winner)}, the validation loss is {validation.winner:.4g} where the model as it is has"
        f" {validation.base:.4g}: a gain of {validation.gain:.3g}, standard error {validation.gain_se:.2g}"
        f" ({rows}, {_times(len(own_rows(found, found.winner)))})."
    )
    yield from _over_none(found, winner)
    yield _noise(validation, reference, is_change=is_change)
    yield (
        "This answers what to train with from new initial values (retrain); it says little of going on from these weights."
        if winner.estimand == RETRAIN
        else "This answers what to do when training goes on from these weights (resume); training from scratch may want another penalty."
    )


def _over_none(found: Found, winner: Outcome) -> Iterator[str]:
    """Yield the comparison with the control, where there is one."""
    if winner.gain is None or winner.loss is None:
        return
    is_exchanged = any(run.job.fold and run.job.steps == winner.steps for run in found.runs)
    yield (
        f"No penalty under the same seeds, batches and rows has {winner.loss + winner.gain:.4g} where it has {winner.loss:.4g}: a gain of"
        f" {winner.gain:.3g}, standard error {winner.gain_se or 0.0:.2g} ({_times(winner.trainings)} of each"
        f"{', in which rows change places' if is_exchanged else ''})."
    )


def _noise(validation: Compared, reference: Reference, *, is_change: bool) -> str:
    errors = validation.gain / validation.gain_se if validation.gain_se else 0.0
    said = f"{errors:.2g} standard errors, where {CLEAR} are clear"
    if not is_change and validation.gain <= 0:
        return "The model as it is is no worse, so what is in use stays."
    if not is_change and errors > CLEAR:
        return "What is in use stays: the winner is no better than a constant output."
    if not is_change:
        return f"The gain over the model as it is is within the noise ({said}), so what is in use stays."
    if errors >= CLEAR or not validation.gain_se:
        return f"The gain over the model as it is is clear of the noise ({said})."
    why = (
        f"the model overfits clearly (training loss {reference.train:.3g}, validation loss {reference.base.mean():.3g}), and"
        " most such models gain from some penalty"
        if reference.is_overfit
        else "all that was trained makes it more likely than not, by two to one, that it helps"
    )
    return (
        f"The gain over the model as it is is within the noise ({said}). It is recommended all the same, for {why};"
        " these rows do not exclude that it changes nothing."
    )


def _times(count: int) -> str:
    return f"{count} training{'s' if count != 1 else ''}"


def warnings(found: Found, winner: Outcome, rows: int) -> Iterator[str]:
    """Yield what limits the verdict.

    Args:
        found: What the search came to.
        winner: What came of its full trainings.
        rows: Of validation.
    """
    if rows < SMALL:
        yield (
            f"The validation set has {rows:,} rows: below {SMALL} the choice is mostly noise, and the gain of the best of many is"
            " too good to be true. More rows are worth more than more trainings."
        )
    if winner.trainings < 2:
        yield f"The winner was trained in full once: its spread over seeds is not known. A budget of {TWICE:g} trains it twice."
    if winner.norm and winner.gain is None:
        yield f"No penalty was not trained in full beside it: a budget of {CONTROLLED:g} does."
    yield (
        f"The validation rows chose between {len({run.job.arm for run in found.runs})} penalties: they are used up."
        " Judge the final model on test rows (--test)."
        if not found.confirming
        else f"One half of the validation rows chose between {len({run.job.arm for run in found.runs})} penalties and the other judged"
        " the winner: both are used up. Judge the final model on test rows (--test)."
    )
    if found.edge and found.winner != NO_PENALTY:
        yield f"{named(found.winner)} lies at the edge of the strengths that were tried: a stronger or weaker one may be better."
    if found.is_shifted:
        yield "Validation rows are of another distribution than training rows: they alone judged."
    lost = sum(not run.losses for run in found.runs)
    if lost:
        yield f"{_times(lost)} diverged (a loss of NaN or infinity); those penalties were left out."
