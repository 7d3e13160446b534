"""One trial: open the model, read the data, search within the budget, judge, and look at the test rows once."""

from __future__ import annotations

import hashlib
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regaudit.errors import ConfigError
from regaudit.probes import devices, session
from regaudit.probes.labelled import fit
from regaudit.records import Outcome, Trial
from regaudit.trials import users, words
from regaudit.trials.log import Log
from regaudit.trials.one_by_one import OneByOne
from regaudit.trials.plan import planned
from regaudit.trials.runs import Runs
from regaudit.trials.search import Search, apart
from regaudit.trials.setting import Setting, setting_of
from regaudit.trials.stacked import Stacked
from regaudit.trials.testing import tested
from regaudit.trials.verdict import (
    SMALL,
    Reference,
    is_clear,
    is_no_better_than_constant,
    outcomes,
    own_rows,
    validated,
)

if TYPE_CHECKING:
    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing, Trying
    from regaudit.probes.base import Session, Tensor
    from regaudit.probes.generalization import Fit
    from regaudit.records import Array, Layer, ProbeRun
    from regaudit.trials.runs import Told, Trainer
    from regaudit.trials.search import Found

STACKED_UP_TO = 200_000  # parameters: beyond, a stack on a CPU costs as much as its members one by one (our choice)
LEAST_ROWS = 16  # of validation: fewer cannot tell two penalties apart
COLLAPSED = 0.9  # of the best constant's training loss: at or above, the trained weights are no place to go on from
MOST_ROWS = 1 << 20  # that a trial reads of a file, unless told otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A trial, and what ran."""

    run: ProbeRun
    trial: Trial


def measure(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, trying: Trying, tell: Told) -> Tried:
    """Measure penalties by training with them; `trials.trial` says more.

    Returns:
        What ran, and what came of it.
    """
    torch = devices.imported()
    device = devices.choose(probing.device)
    from regaudit.probes.runners import open_runner

    with (
        torch.random.fork_rng(devices=[]),
        redirect_stdout(sys.stderr),
    ):  # stdout is the report's, whatever a model prints
        torch.manual_seed(probing.seed)
        runner = open_runner(checkpoint, layers, probing, device)
        opened, notes = session.opened(runner, checkpoint.path, layers, probing)
        _check(opened, probing)
        setting = setting_of(opened, trying, probing.model)
        trial = _Trial(setting, probing, tell)
        measured = trial.measured()
    return Tried(run=session.described(opened, checkpoint.path, probing, (*runner.notes, *notes)), trial=measured)


class _Trial:
    """The parts of one trial."""

    def __init__(self, setting: Setting, probing: Probing, tell: Told) -> None:
        self.setting = setting
        self.probing = probing
        self.trying = trying = setting.trying
        self.fit = fit(setting.session)
        self.log = Log(trying.log, _configuration(setting, probing), resume=trying.resume)
        self.trainer = _trainer(setting)
        self.runs = Runs(self.trainer, self.log, steps=trying.steps, budget=trying.budget, tell=tell)

    def measured(self) -> Trial:
        """Search, judge, and look at the test rows once.

        Returns:
            The trial.

        Raises:
            ConfigError: Every training diverged, or the recipe is of no use.
        """
        trying, reference = self.trying, _reference(self.fit)
        if trying.recipe:
            users.check(trying.recipe, self.setting, self.trainer.fit)  # type: ignore[attr-defined]  # one by one
            self.runs.spend(sum(job.steps for job in users.checked_jobs(self.setting)) / trying.steps)
        estimand = self.setting.session.estimand
        plan = planned(
            self.runs.left,
            trying.steps,
            estimand=estimand,
            is_own=bool(trying.recipe),
            is_collapsed=_is_collapsed(self.fit),
        )
        found = Search(self.runs, plan, self.probing.seed, _confirming(reference.base, self.probing.seed)).run()
        full = own_rows(found, found.winner) if any(r.losses for r in found.runs if r.job.arm == found.winner) else []
        if not full:
            raise ConfigError(
                "every training diverged (NaN or infinite losses); is the learning rate that of the model's training?"
            )
        validation = validated(found, reference.base)
        is_change = is_clear(found, reference, validation)
        made = outcomes(found)
        winner = next(
            o
            for o in made
            if (o.site, o.norm, o.strength) == (found.winner.site, found.winner.norm, found.winner.strength)
        )
        low, high = _range(found, made)
        return Trial(
            recipe=words.recipe(trying),
            estimand=estimand,
            budget=trying.budget,
            cost=self.runs.cost,
            outcomes=made,
            winner=winner,
            is_change=is_change,
            validation=validation,
            strength_low=low,
            strength_high=high,
            test=tested(self.setting, self.trainer, self.probing, found) if trying.test else None,
            verdict=tuple(words.sentences(found, winner, reference, validation, is_change=is_change)),
            warnings=(
                *([words.NO_BETTER] if is_no_better_than_constant(found, reference) else []),
                *words.warnings(found, winner, len(reference.base)),
                *([self.log.problem] if self.log.problem else []),
            ),
            log=trying.log,
            seed=self.probing.seed,
        )


def _check(opened: Session, probing: Probing) -> None:
    """Refuse what cannot be tried.

    Raises:
        ConfigError: Labels are missing, validation rows are few or of one class, or the model gives no gradients.
    """
    if opened.loss is None or opened.val is None:
        raise ConfigError("a trial needs labels and validation data: add --loss and --val FILE")
    if not opened.runner.is_differentiable:
        raise ConfigError(
            f"the runner {opened.runner.kind} gives no gradients, so nothing can be trained; give the code with --model"
        )
    labels: Tensor = opened.val.labels
    if len(opened.val) < LEAST_ROWS:
        raise ConfigError(
            f"{probing.val} has {len(opened.val)} rows; a trial needs at least {LEAST_ROWS} to tell penalties apart, better 100"
        )
    if not labels.is_floating_point() and len(labels.unique()) == 1:
        raise ConfigError(
            f"{probing.val} has labels of one class only ({labels.unique()[0].item()}); a trial needs all that the model knows"
        )


def _trainer(setting: Setting) -> Trainer:
    """Return what trains: a stack for small networks, else one by one."""
    if setting.trying.recipe:
        return OneByOne(setting, users.users(setting.trying.recipe))
    size = sum(each.numel() for each in setting.session.runner.network.parameters())
    if size > STACKED_UP_TO:
        return OneByOne(setting)
    return Stacked(setting)


def _reference(found: Fit) -> Reference:
    assert found.val is not None
    train = np.asarray(found.train.losses, dtype=float)
    base = np.asarray(found.val.losses, dtype=float)
    return Reference(
        base=base,
        constant=np.asarray(found.val.null_losses, dtype=float),
        is_overfit=bool(base.mean() > train.mean()) and apart(base, train) > words.CLEAR,
        train=float(train.mean()),
    )


def _confirming(base: Array, seed: int) -> tuple[int, ...]:
    """Return half of the validation rows, where the other half is enough to choose by; else ()."""
    if len(base) < 2 * SMALL:
        return ()
    order = np.random.default_rng(seed).permutation(len(base))
    return tuple(sorted(order[: len(base) // 2].tolist()))


def _is_collapsed(found: Fit) -> bool:
    return float(np.mean(found.train.losses)) >= COLLAPSED * float(np.mean(found.train.null_losses))


def _range(found: Found, made: tuple[Outcome, ...]) -> tuple[float | None, float | None]:
    """Return the least and largest strength of the winner's kind whose screened loss is within its error of the best's."""
    winner = found.winner
    alike = [
        o for o in made if (o.site, o.norm) == (winner.site, winner.norm) and o.loss is not None and o.gain is not None
    ]
    groups: dict[tuple[str, int], list[Outcome]] = {}
    for each in alike:
        groups.setdefault((each.estimand, each.steps), []).append(each)
    near = {winner.strength}
    for group in groups.values():
        best = max(group, key=lambda o: o.gain or 0.0)
        near |= {o.strength for o in group if (best.gain or 0.0) - (o.gain or 0.0) <= (o.gain_se or 0.0) / 2}
    return (min(near), max(near)) if winner.norm else (None, None)


def _configuration(setting: Setting, probing: Probing) -> dict[str, Any]:
    """Return what runs depend on: the recipe, the seed, and digests of weights and data."""
    kept = {
        name: value for name, value in asdict(setting.trying).items() if name not in {"budget", "log", "resume", "test"}
    }
    network = setting.session.runner.network
    source = Path((setting.trying.recipe or ":").rpartition(":")[0])
    return {
        **kept,
        "loss": probing.loss,
        "seed": probing.seed,
        "estimand": setting.session.estimand,
        "weights": _digest(*network.state_dict().values()),
        "data": _digest(*setting.pool.inputs.values(), setting.pool.labels),
        "recipe_source": hashlib.sha256(source.read_bytes()).hexdigest()[:16] if source.is_file() else "",
    }


def _digest(*tensors: Any) -> str:  # noqa: ANN401
    found = hashlib.sha256()
    for each in tensors:
        found.update(str(tuple(each.shape)).encode())
        found.update(each.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
