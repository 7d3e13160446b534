"""What each penalty would do to the validation loss, by short trainings of our own.

The penalised problem is solved, not approximated at the present weights: all penalties are trained at once from new initial
values, a coarse grid first, then the best with their neighbours and for longer. Training and validation rows change places
between replicas, so that many more rows judge a penalty than the validation file has; where validation rows are of another
distribution, they alone judge. The user's recipe is not known, so every outcome is an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from regaudit.probes.arms import NO_PENALTY, Arm, elastic, grid, neighbours
from regaudit.probes.base import Probe, Probed
from regaudit.probes.effort import ALONE, EFFORTS, SMALL, Effort, one_thread, work_of
from regaudit.probes.last_layer import last_layer
from regaudit.probes.retraining import Pool, Retraining
from regaudit.probes.splits import crossed, is_shifted, same
from regaudit.probes.user_code import is_out_of_memory
from regaudit.records import Norm, Response, Site, Skip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.probes.base import Session, Tensor
    from regaudit.probes.splits import Split

SCREENED = "screened"  # how a response was predicted: by the first, shorter trainings
RETRAINED = "retrained"  # or by the second, longer ones, which decide
TOO_LARGE = (
    "{work:.2g} products for an example are too many to train the network anew, and {reason}; `regaudit trial` measures"
)
NOT_TRAINED = "the network cannot be trained here: {reason}"
ONE_BY_ONE = (
    "The network cannot be trained in a stack: fewer penalties were tried, one after the other, in fewer steps."
)
TOO_FEW = "needs at least {needed} labelled rows, found {found}"
SHIFTED = "The validation rows are of another distribution than the training rows: they alone judge the penalties."
LEAST_ROWS: Final = 16
_SHOWN = 120  # characters of torch's own message
# What starts at 0 is held there until it has grown: 170 steps showed a strong bias penalty as the best for a network for which
# it was among the worst, 340 did not, nor did they lose two others for which it was right.
_LATE: Final = 2
# What two strengths add over one has to be outside the 95% interval: no measured outcome of both at once backs the choice.
_NORMAL_95: Final = 1.96


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
    work = work_of(session)
    effort = next((each for most, each in EFFORTS if work <= most), None)
    if effort is None:
        return _last_layer(session, work)
    with one_thread(is_wanted=work <= SMALL):
        return _tried(session, effort, work)


def _tried(session: Session, effort: Effort, work: float) -> Probed:
    """Return the responses; of networks that cannot be stacked, of fewer trainings one after the other.

    Raises:
        RuntimeError: The memory is too small.
    """
    try:
        return _trained(Trial(session, effort))
    except RuntimeError as error:  # what torch.func does not know: recurrent layers, data-dependent control flow
        if is_out_of_memory(error):
            raise
    if work > SMALL:
        return _last_layer(session, work)
    try:
        found = _trained(Trial(session, ALONE, stacked=False))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return _skipped(NOT_TRAINED.format(reason=" ".join(str(error).split())[:_SHOWN]))
    return replace(found, notes=(ONE_BY_ONE, *found.notes))


def _trained(trial: Trial) -> Probed:
    screened = trial.screen()
    responses = (*trial.refine(screened), *screened)
    return Probed(responses=responses, notes=(SHIFTED,) if trial.shifted and not trial.on_val else ())


def _last_layer(session: Session, work: float) -> Probed:
    """Return the responses of the last layer alone, trained on what comes to it; or why there are none."""
    head = last_layer(session, work)
    if isinstance(head, str):
        return _skipped(TOO_LARGE.format(work=work, reason=head))
    with one_thread(is_wanted=True):
        found = _trained(Trial(head, EFFORTS[0][1], on_val=True))
    name = head.layers[0].name
    return replace(found, responses=tuple(replace(each, layer=name) for each in found.responses))


class Trial:
    """The trainings of one session.

    Args:
        session: With labels and a loss.
        effort: How much is trained.
        stacked: All networks at once.
        on_val: Only the validation rows judge.
    """

    def __init__(self, session: Session, effort: Effort, *, stacked: bool = True, on_val: bool = False) -> None:
        self.session = session
        self.effort = effort
        self.pool = _pool(session)
        self.rows = len(session.train), len(self.pool.labels) - len(session.train)
        self.network = Retraining(session, effort.batch, stacked=stacked)
        self.on_val = on_val
        self.shifted = on_val
        self.base = _base_losses(session)

    def screen(self) -> tuple[Response, ...]:
        """Return the responses to the coarse grid."""
        arms = grid(few=self.effort.few)
        splits = self._splits(self.effort.replicas, self.session.seed)
        outcome = self._outcome(arms, splits, self.effort.steps, 0)
        self.shifted = self.on_val or outcome.is_shifted
        return self._responses(outcome, SCREENED)

    def refine(self, screened: Sequence[Response]) -> tuple[Response, ...]:
        """Return the responses to the best of the grid, their neighbours and no penalty, of more replicas each."""
        ranked = [_arm(each) for each in sorted(screened, key=lambda each: each.loss) if each.norm]
        best = ranked[: self.effort.best]
        both = elastic(best[:-1])  # in the place of the last: more arms would leave fewer replicas for each
        best = best[:-1] if both else best
        arms = (NO_PENALTY, *best, *neighbours(best[0], ranked), *both)
        replicas = max(1, len(screened) * self.effort.replicas // len(arms))
        splits = self._splits(replicas, self.session.seed + 1)
        late = _LATE if best[0].site is Site.BIAS else 1
        found = self._refined(arms, splits, late)
        is_bias = min(found, key=lambda each: each.loss).site is Site.BIAS
        return self._refined(arms, splits, _LATE) if is_bias and late != _LATE else found

    def _splits(self, replicas: int, seed: int) -> tuple[Split, ...]:
        return same(*self.rows, replicas) if self.shifted else crossed(*self.rows, replicas, seed)

    def _refined(self, arms: Sequence[Arm], splits: Sequence[Split], times: int) -> tuple[Response, ...]:
        outcome = self._outcome(arms, splits, times * self.effort.longer, self.effort.replicas)
        return self._responses(outcome, RETRAINED)

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
            inputs=self.network.inputs(weights),
            changes=self.network.changes(weights, splits[0], self.pool),
        )

    def _responses(self, outcome: Outcome, method: str) -> tuple[Response, ...]:
        import torch

        judges = [
            each for each, split in zip(outcome.losses, outcome.splits, strict=True) if split.on_val or not self.shifted
        ]
        rows = torch.cat(judges, 1)
        behind = rows - rows[_reference(outcome.arms, rows)]
        gains = self._gains(outcome, rows)
        zeros, norms, changes = outcome.near_zero(), outcome.squared_norm(), outcome.changes
        return tuple(
            Response(
                site=arm.site,
                norm=arm.norm,
                strength=arm.strength,
                strength_l2=arm.strength_l2,
                estimand=self.session.estimand,
                loss=float(rows[i].mean()),
                gain=float(gains[i].mean()),
                gain_se=_standard_error(gains[i]),
                behind=max(0.0, float(behind[i].mean())),
                behind_se=_standard_error(behind[i]),
                zero_fraction=None if zeros is None else float(zeros[i]),
                shrinkage=_ratio(norms, i),
                sensitivity=None if changes is None else _ratio(changes, i),
                method=method,
                dropped_inputs=outcome.dropped(i) if arm.site is Site.KERNEL and arm.norm is not Norm.L2 else (),
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
        inputs: The largest weight of each input, (arms, replicas, inputs); None where the first kernel is none of a dense layer.
        changes: Rms change of the output under noise on the inputs, (arms,); None where inputs are no numbers.
    """

    arms: tuple[Arm, ...]
    splits: tuple[Split, ...]
    losses: list[Tensor]
    kernels: Tensor
    inputs: Tensor | None
    changes: Tensor | None

    @property
    def is_shifted(self) -> bool:
        """Whether validation rows are of another distribution, by no penalty or by the best."""
        import torch

        best = int(torch.stack([each.mean(1) for each in self.losses]).mean(0).argmin())
        return any(is_shifted(self._losses(arm, on_val=True), self._losses(arm, on_val=False)) for arm in (0, best))

    def near_zero(self) -> Tensor | None:
        """Return for each arm the share of kernel weights below 1% of the unpenalised kernels' rms, (arms,)."""
        if not self.kernels.shape[2]:
            return None
        return (self.kernels.abs() < self.threshold).float().mean((1, 2))

    @property
    def threshold(self) -> Tensor:
        """Below this a weight is about zero: 1% of the rms without a penalty."""
        return 0.01 * self.kernels[0].square().mean().sqrt()

    def dropped(self, arm: int) -> tuple[int, ...]:
        """Return the inputs all of whose weights are about zero in most replicas."""
        if self.inputs is None:
            return ()
        largest = self.inputs[arm].median(0).values
        return tuple((largest < self.threshold).nonzero().flatten().tolist())

    def squared_norm(self) -> Tensor:
        """Return for each arm the sum of squares of the kernels, (arms,)."""
        return self.kernels.square().sum(2).mean(1)

    def _losses(self, arm: int, *, on_val: bool) -> Tensor:
        import torch

        chosen = [each[arm] for each, split in zip(self.losses, self.splits, strict=True) if split.on_val is on_val]
        return torch.cat(chosen) if chosen else self.losses[0][0, :0]


def _reference(arms: Sequence[Arm], rows: Tensor) -> int:
    """Return the arm that the others are held against: the best; L1 and L2 at once only where that is no chance."""
    means = rows.mean(1).tolist()
    ranked = sorted(range(len(arms)), key=means.__getitem__)
    single = next(i for i in ranked if arms[i].strength_l2 is None)
    lead = rows[single] - rows[ranked[0]]
    return ranked[0] if float(lead.mean()) > _NORMAL_95 * _standard_error(lead) else single


def _ratio(values: Tensor, arm: int) -> float | None:
    """Return a value over that of no penalty, the first arm; None where either is out of range."""
    ratio = float(values[arm] / values[0]) if values[0] > 0 else math.inf
    return ratio if math.isfinite(ratio) else None


def _finite(losses: Tensor) -> Tensor:
    return losses.nan_to_num(nan=_DIVERGED, posinf=_DIVERGED).clamp(max=_DIVERGED)


_DIVERGED = 1e9  # the loss of a training that left the finite numbers


def _arm(response: Response) -> Arm:
    return Arm(site=response.site, norm=response.norm, strength=response.strength, strength_l2=response.strength_l2)


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


def _skipped(reason: str) -> Probed:
    return Probed(skips=(Skip(layer="", measure="response", reason=reason),))


RESPONSE = Probe(name="response", needs_labels=True, needs_gradients=True, run=respond)
