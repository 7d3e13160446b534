"""What every layer does to one batch: its pre-activation z, and the activation that is applied to z directly.

Modules are watched by forward hooks, kernels that a function uses by a `TorchFunctionMode`. Everything stays in the
graph. A hook hands on a copy of z, so that an in-place activation cannot change what was seen.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from regaudit.networks.watching import Sighting, Watch, alone, watching
from regaudit.probes.base import Observation
from regaudit.records import Skip

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from regaudit.networks.places import Place
    from regaudit.probes.base import Runner, Tensor

# Bytes of z and y that one pass may hold: what a forward pass and its gradients need besides is a few times that.
BUDGET = 256 << 20
NOT_CALLED = "the model's forward pass did not call it"


def observe(
    runner: Runner, batch: Mapping[str, Tensor], parameters: Mapping[str, Tensor] | None = None
) -> tuple[Tensor, dict[str, Observation]]:
    """Run the model on a batch and return its output and what each layer did.

    A layer that is called several times in one pass (shared weights) has its calls joined on the batch axis, so that
    Σy² / B is the sum of Keras' activity penalties of the calls.

    Args:
        runner: The executable model.
        batch: For each input an array with axis 0 over examples.
        parameters: Values to use in place of `network.named_parameters()`, as in `torch.func.functional_call`.

    Returns:
        The output, and an `Observation` for each layer that was called; `unobserved` gives the others.
    """
    watch = Watch(runner.network, runner.places, parameters or {})
    with ExitStack() as stack:
        stack.enter_context(alone())
        watch.hook(stack)
        stack.enter_context(watching(watch))
        output = run(runner, batch, parameters)
    examples = len(next(iter(batch.values())))
    seen = {place.layer: _observation(place, calls, examples) for place, calls in watch.calls() if calls}
    return output, seen


def run(runner: Runner, batch: Mapping[str, Tensor], parameters: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return the model's output on a batch, with other parameters where they are given.

    Args:
        runner: The executable model.
        batch: For each input an array with axis 0 over examples.
        parameters: Values to use in place of `network.named_parameters()`; those left out stay.
    """
    if not parameters:
        return runner(batch)
    from torch.func import functional_call

    values = {f"network.{name}": value for name, value in parameters.items()}
    return functional_call(_wrapper(runner), values, (batch,))


def unobserved(runner: Runner, seen: Collection[str]) -> tuple[Skip, ...]:
    """Return why layers are not among the observations: those the runner knows of, and those never called."""
    rest = (place.layer for place in runner.places if place.layer not in seen)
    return (*runner.skips, *(Skip(layer=name, measure="activity", reason=NOT_CALLED) for name in rest))


def affordable(runner: Runner, batch: Mapping[str, Tensor], size: int) -> int:
    """Return how many examples can be observed at once within `BUDGET`, at least 1 and at most `size`.

    Args:
        runner: The model; it runs once.
        batch: A few examples, of the length of all.
        size: How many are wanted.
    """
    import torch

    if not runner.places:
        return size
    with torch.no_grad():
        _, seen = observe(runner, batch)
    kept = {id(t): t.nbytes for each in seen.values() for t in (each.linear, each.activity)}
    per_example = sum(kept.values()) / max(1, len(next(iter(batch.values()))))
    return max(1, min(size, int(BUDGET / max(1.0, per_example))))


def _wrapper(runner: Runner) -> Any:  # noqa: ANN401
    """Return a module whose forward pass is the runner's call, so that parameters can be replaced in it."""
    from torch import nn

    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = runner.network

        def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
            return runner.call(self.network, batch)

    return Called().eval()


def _observation(place: Place, calls: Sequence[Sighting], examples: int) -> Observation:
    parts = [_part(place, call) for call in calls]
    axis = place.channel_axis
    return Observation(
        place=place,
        inputs=_inputs([call.inputs for call in calls]),
        linear=_joined([linear for linear, _ in parts], axis),
        activity=_joined([activity for _, activity in parts], axis),
        activation=calls[0].activation,
        examples=examples,
    )


def _part(place: Place, call: Sighting) -> tuple[Tensor, Tensor]:
    """Return z and y of one call, of the place's own units only."""
    activity = call.linear if call.activity is None else call.activity
    start, stop = place.columns or (0, call.linear.shape[place.channel_axis])
    if call.linear.shape[place.channel_axis] == stop - start:  # the whole, or a part that was computed alone
        return call.linear, activity
    linear, activity = (each.narrow(place.channel_axis, start, stop - start) for each in (call.linear, activity))
    return linear, activity


def _inputs(inputs: Sequence[Tensor | None]) -> Tensor | None:
    if any(each is None or each.shape[1:] != inputs[0].shape[1:] for each in inputs):  # type: ignore[union-attr]
        return None
    return _joined(inputs, -1)


def _joined(tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Return the calls of a layer joined on axis 0; as (positions, units) where they differ in more than that."""
    import torch

    if len(tensors) == 1:
        return tensors[0]
    if any(each.shape[1:] != tensors[0].shape[1:] for each in tensors):
        tensors = [each.movedim(axis, -1).reshape(-1, each.shape[axis]) for each in tensors]
    return torch.cat(list(tensors))
