"""A trial as JSON, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regaudit.records import Compared, Norm, Outcome, Site, Trial

if TYPE_CHECKING:
    from regaudit.reports.fields import Fields

    Object = dict[str, Any]


def written(trial: Trial | None) -> Object | None:
    """Return a trial as plain dictionaries and lists; None where there was none."""
    if trial is None:
        return None
    return {
        "recipe": trial.recipe,
        "estimand": trial.estimand,
        "budget": trial.budget,
        "cost_trainings": trial.cost,
        "arms": [_arm(each) for each in trial.outcomes],
        "winner": _arm(trial.winner) if trial.winner else None,
        "is_change": trial.is_change,
        "strength_low": trial.strength_low,
        "strength_high": trial.strength_high,
        "validation": _compared(trial.validation),
        "test": _compared(trial.test),
        "verdict": trial.verdict,
        "warnings": trial.warnings,
        "log": trial.log or None,
        "seed": trial.seed,
    }


def read(f: Fields | None) -> Trial | None:
    """Return the trial that a report holds; None where it holds none, as reports of an earlier version."""
    if f is None:
        return None
    winner = f.maybe_part("winner")
    return Trial(
        recipe=f.text("recipe"),
        estimand=f.text("estimand"),
        budget=f.number("budget"),
        cost=f.number("cost_trainings"),
        outcomes=tuple(_outcome(each) for each in f.parts("arms")),
        winner=_outcome(winner) if winner else None,
        is_change=f.flag("is_change"),
        validation=_both(f.maybe_part("validation")),
        strength_low=f.maybe("strength_low"),
        strength_high=f.maybe("strength_high"),
        test=_both(f.maybe_part("test")),
        verdict=f.texts("verdict"),
        warnings=f.texts("warnings"),
        log=f.text("log"),
        seed=f.count("seed"),
    )


def _arm(outcome: Outcome) -> Object:
    return {
        "site": outcome.site,
        "norm": outcome.norm,
        "strength": outcome.strength,
        "estimand": outcome.estimand,
        "trainings": outcome.trainings,
        "steps": outcome.steps,
        "val_loss": outcome.loss,
        "val_loss_se": outcome.loss_se,
        "gain": outcome.gain,
        "gain_se": outcome.gain_se,
        "train_loss": outcome.train_loss,
    }


def _outcome(f: Fields) -> Outcome:
    return Outcome(
        site=f.word("site", Site),
        norm=f.maybe_word("norm", Norm),
        strength=f.number("strength"),
        estimand=f.text("estimand"),
        trainings=f.count("trainings"),
        steps=f.count("steps"),
        loss=f.maybe("val_loss"),
        loss_se=f.maybe("val_loss_se"),
        gain=f.maybe("gain"),
        gain_se=f.maybe("gain_se"),
        train_loss=f.maybe("train_loss"),
    )


def _compared(both: Compared | None) -> Object | None:
    if both is None:
        return None
    return {"rows": both.rows, "base": both.base, "winner": both.winner, "gain": both.gain, "gain_se": both.gain_se}


def _both(f: Fields | None) -> Compared | None:
    if f is None:
        return None
    return Compared(
        rows=f.count("rows"),
        base=f.number("base"),
        winner=f.number("winner"),
        gain=f.number("gain"),
        gain_se=f.number("gain_se"),
    )
