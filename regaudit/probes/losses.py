"""Losses on outputs and labels, one number for each example; their mean is the data loss.

A loss is fitted to the shapes of the model's output and of the labels once, before anything is measured: nothing is
broadcast, and a wrong shape is an error that names both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.config import LOSSES
from regaudit.errors import ConfigError
from regaudit.probes.base import Loss
from regaudit.probes.user_code import UserCode, find

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.probes.base import Data, Session, Tensor

IGNORED = -100  # torch's `ignore_index`: positions with this label count in no loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """What a loss has to fit: the model's output on some examples, and whether the model takes token ids."""

    output: tuple[int, ...]
    takes_ids: bool = False


def fitted(name: str, shapes: Shapes, data: Data) -> tuple[Loss, Data, tuple[str, ...]]:
    """Return a loss for outputs of a shape, the data with labels as the loss takes them, and what was assumed.

    Args:
        name: mse, cross_entropy, bce, or the user's `module:function`.
        shapes: Of the model's output.
        data: With labels.

    Raises:
        ConfigError: The labels do not fit the output, or are out of range.
    """
    if name not in LOSSES:
        return _users(name), data, ()
    if name == "cross_entropy":
        return _classes(shapes, data)
    labels = _like_output(name, shapes.output, data)
    if name == "bce" and not bool(((labels >= 0) & (labels <= 1)).all()):
        raise ConfigError(f"{data.source}: labels for bce must lie between 0 and 1; found {_range(labels)}")
    per_example = squared_error if name == "mse" else binary_cross_entropy
    return Loss(name=name, per_example=per_example), replace(data, labels=labels), ()


def tried(loss: Loss, session: Session) -> tuple[str, ...]:
    """Return what is to be said of the loss, after a first look at its value on two examples.

    Raises:
        ConfigError: It is no finite number.
    """
    import torch

    name = loss.name
    inputs, labels = next(session.train.batches(2))
    with torch.no_grad():
        outputs = session.runner(inputs)
        value = loss.per_example(outputs, labels)
        if not bool(torch.isfinite(value).all()):
            raise ConfigError(f"--loss {name}: is NaN or infinite on the first examples of {session.train.source}")
        if (
            name in LOSSES
            or len(outputs) == 1
            or _gives_rows(_called(name, find(name, "--loss"), outputs, labels), outputs)
        ):
            return ()
    return (f"The loss {name} gives one number for a batch: it was called with one example at a time.",)


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return each example's mean of (f(x) - y)² over its output's elements; both of one shape (B, …)."""
    return _per_example((outputs - labels).square())


def binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return each example's mean of -y·log σ(f) - (1 - y)·log(1 - σ(f)); outputs f are logits, of the labels' shape."""
    from torch.nn.functional import binary_cross_entropy_with_logits as loss

    return _per_example(loss(outputs, labels, reduction="none"))


def cross_entropy(outputs: Tensor, labels: Tensor, axis: int = 1) -> Tensor:
    """Return each example's mean of -log softmax(f)[y] over its positions with a label.

    Args:
        outputs: Logits, (B, classes), (B, classes, …), or with `axis` -1 (B, …, classes).
        labels: Class numbers, of the outputs' shape without classes; `IGNORED` where there is none.
        axis: Where the classes are.
    """
    from torch.nn.functional import cross_entropy as loss

    each = loss(outputs.movedim(axis, 1), labels, reduction="none", ignore_index=IGNORED)
    counted = (labels != IGNORED).reshape(len(labels), -1).sum(1).clamp(min=1)
    return each.reshape(len(labels), -1).sum(1) / counted


def _per_example(each: Tensor) -> Tensor:
    return each.reshape(len(each), -1).mean(1)


def _like_output(name: str, output: tuple[int, ...], data: Data) -> Tensor:
    """Return float labels of exactly the output's shape: axes of length 1 may be missing or too many.

    Raises:
        ConfigError: Their shape is another one.
    """
    labels: Tensor = data.labels
    have, want = tuple(labels.shape[1:]), output[1:]
    if [n for n in have if n != 1] != [n for n in want if n != 1]:
        hint = "; class numbers need --loss cross_entropy" if not have and not labels.is_floating_point() else ""
        raise ConfigError(
            f"{data.source}: labels for {name} need the shape of the model's output, {_shape(want)};"
            f" found {_shape(have)}{hint}"
        )
    return labels.float().reshape(len(labels), *want)


def _classes(shapes: Shapes, data: Data) -> tuple[Loss, Data, tuple[str, ...]]:
    """Return cross entropy with class numbers as labels.

    Raises:
        ConfigError: The output has no classes, or a label is none of them.
    """
    if len(shapes.output) < 2 or shapes.output[1:] == (1,):
        raise ConfigError(
            f"the model's output has the shape {_shape(shapes.output[1:])}: cross_entropy needs a logit for each of"
            " two or more classes; for a single logit take --loss bce"
        )
    labels = _numbers(data)
    axis, notes = _axis(shapes, labels, data.source)
    positions = list(shapes.output[1:])
    classes = positions.pop(axis - 1 if axis == 1 else -1)
    labels = labels.reshape(len(labels), *positions)
    wrong = ((labels < 0) | (labels >= classes)) & (labels != IGNORED)
    if bool(wrong.any()):
        raise ConfigError(
            f"{data.source}: labels must be class numbers 0 to {classes - 1}, for the model's output has"
            f" {classes} classes; found {_range(labels)}"
        )
    loss = Loss(name="cross_entropy", per_example=lambda outputs, y: cross_entropy(outputs, y, axis))
    return loss, replace(data, labels=labels), notes


def _numbers(data: Data) -> Tensor:
    labels: Tensor = data.labels
    if labels.is_floating_point() and bool((labels != labels.round()).any()):
        raise ConfigError(f"{data.source}: labels for cross_entropy must be class numbers; found fractions")
    return labels.long()


def _axis(shapes: Shapes, labels: Tensor, source: str) -> tuple[int, tuple[str, ...]]:
    """Return which axis of the output runs over classes: 1, as torch has it, or the last.

    Raises:
        ConfigError: The labels' shape fits neither.
    """
    have = [n for n in labels.shape[1:] if n != 1]
    orders = {1: shapes.output[2:], -1: shapes.output[1:-1]}
    fits = [axis for axis, left in orders.items() if have == [n for n in left if n != 1]]
    if not fits:
        raise ConfigError(
            f"{source}: labels for cross_entropy need the model's output shape without classes,"
            f" {_shape(orders[1])} or {_shape(orders[-1])} for {_shape(shapes.output[1:])}; found {_shape(labels.shape[1:])}"
        )
    if len(fits) == 1 or len(shapes.output) == 2:
        return fits[0], ()
    axis = -1 if shapes.takes_ids else 1
    place = "last" if axis == -1 else "second"
    return axis, (f"The {place} axis of the model's output, {_shape(shapes.output[1:])}, was taken for the classes.",)


def _users(name: str) -> Loss:
    call = find(name, "--loss")

    def per_example(outputs: Tensor, labels: Tensor) -> Tensor:
        value = _called(name, call, outputs, labels)
        if _gives_rows(value, outputs):
            return _per_example(value)
        return _one_by_one(name, call, outputs, labels)

    return Loss(name=name, per_example=per_example)


def _gives_rows(value: Tensor, outputs: Tensor) -> bool:
    return value.ndim > 0 and len(value) == len(outputs)


def _one_by_one(name: str, call: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, labels: Tensor) -> Tensor:
    """Return each example's loss from a function that gives a mean: the mean over one example is its loss."""
    import torch

    return torch.stack([
        _called(name, call, outputs[i : i + 1], labels[i : i + 1]).reshape(-1).mean() for i in range(len(outputs))
    ])  # fmt: skip


def _called(name: str, call: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, labels: Tensor) -> Tensor:
    import torch

    with UserCode(f"--loss {name}", f"It was called with {_seen(outputs)} outputs and {_seen(labels)} labels"):
        value = call(outputs, labels)
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value
    raise ConfigError(
        f"--loss {name}: returned {type(value).__name__}; a float tensor, one number for each example, was expected"
    )


def _seen(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(["N", *map(str, shape)])


def _range(labels: Tensor) -> str:
    return f"{labels.min().item():g} to {labels.max().item():g}"
