"""What each penalty would do to the validation loss, by short trainings of our own.

The penalised problem is solved, not approximated at the present weights: all penalties are trained at once from new initial
values, a coarse grid first, then the best with their neighbours and for longer. Training and validation rows change places
between replicas, so that many more rows judge a penalty than the validation file has; where validation rows are of another
distribution, they alone judge. The user's recipe is not known, so every outcome is an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regaudit.probes.arms import NO_PENALTY, Arm, grid, neighbours
from regaudit.probes.base import Probe, Probed
from regaudit.probes.retraining import Pool, Retraining
from regaudit.probes.splits import crossed, is_shifted, same
from regaudit.probes.user_code import is_out_of_memory
from regaudit.records import Response, Role, Skip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.probes.base import Session, Tensor
    from regaudit.probes.splits import Split

SCREENED = "screened"  # how a response was predicted: by the first, shorter trainings
RETRAINED = "retrained"  # or by the second, longer ones, which decide
TOO_LARGE = "{work:.2g} products for an example: too many to train the network anew; `regaudit trial` measures instead"
NOT_STACKED = "the network cannot be trained in a stack: {reason}"
TOO_FEW = "needs at least {needed} labelled rows, found {found}"
SHIFTED = "The validation rows are of another distribution than the training rows: they alone judge the penalties."
LEAST_ROWS: Final = 16
_SHOWN = 120  # characters of torch's own message
_STACKED_CONV = 3  # convolutions stack badly: so many times the work of a dense layer's


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is trained.

    Args:
        few: Only the likeliest penalties.
        replicas: Networks for each penalty.
        steps: Of the first trainings.
        best: How many of the best go on.
        longer: Steps of the second trainings.
        batch: Examples of one step.
    """

    few: bool
    replicas: int
    steps: int
    best: int
    longer: int
    batch: int


# By products of weight and input for an example. Together the trainings of a row cost one to two trainings of 600 steps.
EFFORTS: Final[tuple[tuple[float, Effort], ...]] = (
    (5e3, Effort(few=False, replicas=2, steps=75, best=4, longer=170, batch=64)),
    (1e5, Effort(few=True, replicas=2, steps=60, best=3, longer=80, batch=32)),
    (1e7, Effort(few=True, replicas=1, steps=60, best=2, longer=60, batch=32)),
)


def respond(session: Session) -> Probed:
    """Predict the validation loss under every penalty.

    Args:
        session: With labels, a loss, and validation rows if there are any.

    Returns:
        A response for each penalty, or the reason why there is none.

    Raises:
        RuntimeError: The memory is too small.

    Source: Keras' semantics of the penalties; Geisser, 1975 (cross-validation).
    """
    rows = len(session.train)
    if rows < LEAST_ROWS:
        return _skipped(TOO_FEW.format(needed=LEAST_ROWS, found=rows))
    work = _work(session)
    effort = next((each for most, each in EFFORTS if work <= most), None)
    if effort is None:
        return _skipped(TOO_LARGE.format(work=work))
    trial = Trial(session, effort)
    try:
        screened = trial.screen()
    except RuntimeError as error:  # what torch.func does not know: recurrent layers, data-dependent control flow
        if is_out_of_memory(error):
            raise
        return _skipped(NOT_STACKED.format(reason=" ".join(str(error).split())[:_SHOWN]))
    return Probed(responses=(*trial.refine(screened), *screened), notes=(SHIFTED,) if trial.shifted else ())


class Trial:
    """The trainings of one session."""

    def __init__(self, session: Session, effort: Effort) -> None:
        self.session = session
        self.effort = effort
        self.pool = _pool(session)
        self.rows = len(session.train), len(self.pool.labels) - len(session.train)
        self.network = Retraining(session, effort.batch)
        self.shifted = False
        self.base = _base_losses(session)

    def screen(self) -> tuple[Response, ...]:
        """Return the responses to the coarse grid."""
        arms = grid(few=self.effort.few)
        splits = crossed(*self.rows, self.effort.replicas, self.session.seed)
        outcome = self._outcome(arms, splits, self.effort.steps, 0)
        self.shifted = outcome.is_shifted
        return self._responses(outcome, SCREENED)

    def refine(self, screened: Sequence[Response]) -> tuple[Response, ...]:
        """Return the responses to the best of the grid, their neighbours and no penalty, of more replicas each."""
        ranked = [_arm(each) for each in sorted(screened, key=lambda each: each.loss) if each.norm]
        best = ranked[: self.effort.best]
        arms = (NO_PENALTY, *best, *neighbours(best[0], ranked))
        replicas = max(1, len(screened) * self.effort.replicas // len(arms))
        splits = same(*self.rows, replicas) if self.shifted else crossed(*self.rows, replicas, self.session.seed + 1)
        return self._responses(self._outcome(arms, splits, self.effort.longer, self.effort.replicas), RETRAINED)

    def _outcome(self, arms: Sequence[Arm], splits: Sequence[Split], steps: int, first: int) -> Outcome:
        seeds = [self.session.seed + first + replica for replica in range(len(splits))]
        weights = self.network.train(arms, splits, seeds, self.pool, steps)
        losses = [_finite(each) for each in self.network.losses(weights, splits, self.pool)]
        kernels = weights[:, :, self.network.kernels.bool()]
        return Outcome(
            arms=tuple(arms),
            splits=tuple(splits),
            losses=losses,
            kernels=kernels,
            changes=self.network.changes(weights, splits[0], self.pool),
        )

    def _responses(self, outcome: Outcome, method: str) -> tuple[Response, ...]:
        import torch

        judges = [
            each for each, split in zip(outcome.losses, outcome.splits, strict=True) if split.on_val or not self.shifted
        ]
        rows = torch.cat(judges, 1)
        behind = rows - rows[int(rows.mean(1).argmin())]
        gains = self._gains(outcome, rows)
        zeros, norms, changes = outcome.near_zero(), outcome.squared_norm(), outcome.changes
        return tuple(
            Response(
                site=arm.site,
                norm=arm.norm,
                strength=arm.strength,
                estimand=self.session.estimand,
                loss=float(rows[i].mean()),
                gain=float(gains[i].mean()),
                gain_se=_standard_error(gains[i]),
                behind=float(behind[i].mean()),
                behind_se=_standard_error(behind[i]),
                zero_fraction=float(zeros[i]),
                shrinkage=_ratio(norms, i),
                sensitivity=None if changes is None else _ratio(changes, i),
                method=method,
            )
            for i, arm in enumerate(outcome.arms)
        )

    def _gains(self, outcome: Outcome, rows: Tensor) -> Tensor:
        """Return by how much each arm beats the model as it is, (arms, rows), on validation rows; without them, no penalty."""
        import torch

        on_val = [each for each, split in zip(outcome.losses, outcome.splits, strict=True) if split.on_val]
        if self.base is None or not on_val:
            return rows[:1] - rows
        return self.base - torch.stack(on_val).mean(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What came of a stack.

    Args:
        arms: The penalties.
        splits: The rows of each replica.
        losses: For each replica the losses of its held-out rows, (arms, rows).
        kernels: (arms, replicas, weights).
        changes: Rms change of the output under noise on the inputs, (arms,); None where inputs are no numbers.
    """

    arms: tuple[Arm, ...]
    splits: tuple[Split, ...]
    losses: list[Tensor]
    kernels: Tensor
    changes: Tensor | None

    @property
    def is_shifted(self) -> bool:
        """Whether validation rows are of another distribution, by no penalty or by the best."""
        import torch

        best = int(torch.stack([each.mean(1) for each in self.losses]).mean(0).argmin())
        return any(is_shifted(self._losses(arm, on_val=True), self._losses(arm, on_val=False)) for arm in (0, best))

    def near_zero(self) -> Tensor:
        """Return for each arm the share of kernel weights below 1% of the unpenalised kernels' rms, (arms,)."""
        threshold = 0.01 * self.kernels[0].square().mean().sqrt()
        return (self.kernels.abs() < threshold).float().mean((1, 2))

    def squared_norm(self) -> Tensor:
        """Return for each arm the sum of squares of the kernels, (arms,)."""
        return self.kernels.square().sum(2).mean(1)

    def _losses(self, arm: int, *, on_val: bool) -> Tensor:
        import torch

        chosen = [each[arm] for each, split in zip(self.losses, self.splits, strict=True) if split.on_val is on_val]
        return torch.cat(chosen) if chosen else self.losses[0][0, :0]


def _ratio(values: Tensor, arm: int) -> float | None:
    """Return a value over that of no penalty, the first arm; None where either is out of range."""
    ratio = float(values[arm] / values[0]) if values[0] > 0 else math.inf
    return ratio if math.isfinite(ratio) else None


def _finite(losses: Tensor) -> Tensor:
    return losses.nan_to_num(nan=_DIVERGED, posinf=_DIVERGED).clamp(max=_DIVERGED)


_DIVERGED = 1e9  # the loss of a training that left the finite numbers


def _arm(response: Response) -> Arm:
    return Arm(site=response.site, norm=response.norm, strength=response.strength)


def _standard_error(rows: Tensor) -> float:
    flat = rows.flatten()
    return float(flat.std() / len(flat) ** 0.5)


def _pool(session: Session) -> Pool:
    import torch

    train, val = session.train, session.val
    if val is None or val.labels is None:
        return Pool(inputs=dict(train.inputs), labels=train.labels)
    inputs = {name: torch.cat([each, val.inputs[name]]) for name, each in train.inputs.items()}
    labels = torch.cat([each.labels for each in (train, val) if each.labels is not None])
    return Pool(inputs=inputs, labels=labels)


def _base_losses(session: Session) -> Tensor | None:
    """Return the loss of the model as it is on every validation row."""
    import torch

    if session.val is None or session.loss is None or session.val.labels is None:
        return None
    with torch.no_grad():
        pieces = [session.loss.per_example(session.runner(x), y) for x, y in session.val.batches(session.batch_size)]
    return torch.cat(pieces)


def _work(session: Session) -> float:
    """Return the products of weight and input that one example takes, convolutions counted for what they cost in a stack."""
    import torch

    from regaudit.probes.observing import observe

    inputs = {name: each[:1] for name, each in session.train.inputs.items()}
    with torch.no_grad():
        _, seen = observe(session.runner, inputs)
    parameters = dict(session.runner.network.named_parameters())
    roles = {layer.name: layer.role for layer in session.layers}
    total = 0.0
    for name, each in seen.items():
        if each.place.kernel in parameters and roles.get(name) not in {Role.EMBEDDING, Role.POSITIONAL}:
            kernel = parameters[each.place.kernel]
            units = each.linear.shape[each.place.channel_axis]
            factor = _STACKED_CONV if roles.get(name) in {Role.CONV, Role.DEPTHWISE, Role.CONV_TRANSPOSE} else 1
            total += factor * kernel.numel() * each.linear.numel() / units
    return total


def _skipped(reason: str) -> Probed:
    return Probed(skips=(Skip(layer="", measure="response", reason=reason),))


RESPONSE = Probe(name="response", needs_labels=True, needs_gradients=True, run=respond)
