"""Losses, margins and the best constant output on labelled examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.probes.generalization import Fit, Rows
from regaudit.probes.losses import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.probes.base import Data, Loss, Session, Tensor
    from regaudit.records import Array

RAREST: Final = 0.5  # examples that a class without any is taken to have: its loss stays finite


def fit(session: Session) -> Fit:
    """Run the model on training and validation data.

    Args:
        session: With a loss and training labels.

    Returns:
        What it makes of both, or of training data alone where no others have labels.
    """
    assert session.loss is not None
    constant = best_constant(session.train, session.loss, _shape(session), batch_size=session.batch_size)
    train = _rows(session, session.train, session.loss, constant)
    val = session.val if session.val is not None and session.val.labels is not None else None
    return Fit(train=train, val=_rows(session, val, session.loss, constant) if val is not None else None)


def best_constant(data: Data, loss: Loss, shape: tuple[int, ...], *, batch_size: int) -> Tensor:
    """Return the output c, the same for all examples, with the least mean loss: optimal for mse, cross entropy and bce.

    Args:
        data: With labels.
        loss: One number for each example.
        shape: Of one example's output.
        batch_size: Examples whose loss is taken at once.

    Returns:
        Zeros, the mean label, its log-odds, or the log frequencies of the classes, whichever has the least loss.
    """
    candidates = list(_constants(data.labels, shape))
    return min(candidates, key=lambda c: _ordered(float(_constant_losses(data, loss, c, batch_size).mean())))


def _constants(labels: Tensor, shape: tuple[int, ...]) -> Iterator[Tensor]:
    import torch

    zeros = torch.zeros(shape, device=labels.device)
    yield zeros
    axis = _class_axis(zeros.expand(len(labels), *shape), labels)
    if axis is not None:
        counts = torch.bincount(labels[labels != IGNORED].flatten(), minlength=shape[axis - 1]).float()
        prior = counts.clamp(min=RAREST).log()
        yield zeros + prior.reshape([-1 if i == axis - 1 else 1 for i in range(len(shape))])
    elif tuple(labels.shape[1:]) == shape:
        mean = labels.float().mean(0)
        yield mean
        if bool(((mean >= 0) & (mean <= 1)).all()):
            yield mean.logit(RAREST / len(labels))


def _ordered(value: float) -> float:
    return math.inf if math.isnan(value) else value


def margins(outputs: Tensor, labels: Tensor, loss: Loss) -> Tensor | None:
    """Return how far the right logit leads, for each label; NaN where there is no label.

    Args:
        outputs: Logits, (B, classes, …) or (B, …, classes) for class numbers, any shape for labels between 0 and 1.
        labels: Class numbers without the axis of classes; 0 or 1 in the shape of the outputs for bce.
        loss: Tells what the labels are.

    Returns:
        The labels' shape; None where the labels are no classes.
    """
    if loss.name == "bce":
        is_hard = bool(((labels == 0) | (labels == 1)).all())
        return (2 * labels - 1) * outputs if is_hard and labels.shape == outputs.shape else None
    axis = _class_axis(outputs, labels)
    if axis is None:
        return None
    scores, wanted = outputs.movedim(axis, -1), labels.clamp(min=0).unsqueeze(-1)
    right = scores.gather(-1, wanted).squeeze(-1)
    rest = scores.scatter(-1, wanted, float("-inf")).amax(-1)
    return (right - rest).masked_fill(labels == IGNORED, float("nan"))


def _class_axis(outputs: Tensor, labels: Tensor) -> int | None:
    """Return the axis of the outputs that the labels lack, the second before the last; None where they do not fit."""
    if labels.is_floating_point() or labels.ndim != outputs.ndim - 1:
        return None
    for axis in (1, outputs.ndim - 1):
        rest = (*outputs.shape[:axis], *outputs.shape[axis + 1 :])
        if rest == tuple(labels.shape) and outputs.shape[axis] > 1:
            return axis
    return None


def _shape(session: Session) -> tuple[int, ...]:
    import torch

    batch, _ = next(session.train.batches(1))
    with torch.no_grad():
        return tuple(session.runner(batch).shape[1:])


def _constant_losses(data: Data, loss: Loss, constant: Tensor, batch_size: int) -> Tensor:
    import torch

    parts = [
        loss.per_example(constant.expand(len(labels), *constant.shape), labels)
        for _, labels in data.batches(batch_size)
        if labels is not None
    ]
    return torch.cat(parts)


def _rows(session: Session, data: Data, loss: Loss, constant: Tensor) -> Rows:
    import torch

    losses, found = [], []
    with torch.no_grad():
        for batch, labels in data.batches(session.batch_size):
            outputs = session.runner(batch)
            losses.append(loss.per_example(outputs, labels))
            margin = margins(outputs, labels, loss)
            if margin is not None:
                found.append(margin.reshape(len(outputs), -1))
        null = _array(_constant_losses(data, loss, constant, session.batch_size))
    by_example = _array(torch.cat(found)) if found else np.zeros((0, 0))
    return Rows(
        losses=_array(torch.cat(losses)),
        null_losses=null,
        margins=by_example[~np.isnan(by_example)],
        correct=_shares(by_example),
    )


def _shares(margins_of: Array) -> Array:
    """Return the share of correct labels of each example that has labels."""
    has = ~np.isnan(margins_of)
    some = has.any(1) if len(margins_of) else np.zeros(0, bool)
    shares: Array = ((margins_of > 0) & has)[some].sum(1) / has[some].sum(1)
    return shares


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().double().numpy()
    return found
