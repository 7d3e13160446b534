"""How the output depends on what each layer gives, and how strongly each layer passes on what it takes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Measure, Value, plural, require
from regaudit.measures.taking import Taken
from regaudit.probes.differentiable import differentiable
from regaudit.probes.jackknife import root_mean
from regaudit.probes.jacobian import EXACT_OUTPUTS, PROJECTIONS
from regaudit.probes.observing import observe
from regaudit.probes.padding import silenced

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from regaudit.networks.places import Place
    from regaudit.probes.base import Data, Observation, Runner, Tensor
    from regaudit.probes.coordinates import Coordinates


@dataclass(slots=True)
class Through:
    """What passes through one layer, collected batch by batch.

    Args:
        output: ‖∂f/∂y‖_F² of each example, or an estimate.
        gain: ‖∂y/∂x‖_F²/size of y of each example, or an estimate.
        how: How the output's derivatives were taken.
        unreached: Why there are none.
    """

    output: list[Tensor] = field(default_factory=list)
    gain: list[Tensor] = field(default_factory=list)
    how: str = ""
    unreached: str = ""


def layer_sensitivities(coordinates: Coordinates, data: Data, *, seed: int, batch_size: int) -> list[Taken]:
    """Take the measures of every layer that was observed.

    Args:
        coordinates: What the model is a function of.
        data: The examples.
        seed: Of the projections.
        batch_size: Examples that are run at once.

    Returns:
        A measurement or a skip for each measure, layer by layer.
    """
    import torch

    runner = coordinates.runner
    whole = replace(runner, places=_whole(runner.places))
    found: dict[str, Through] = defaultdict(Through)
    generator = torch.Generator().manual_seed(seed)
    with differentiable(runner.network):
        for batch, _ in data.batches(batch_size):
            _add(found, whole, runner.places, batch, generator)
    return [_taken(name, each) for name, each in found.items()]


def _whole(places: tuple[Place, ...]) -> tuple[Place, ...]:
    """Return one place for each module: the parts of a fused layer share its output in the graph."""
    return tuple({(each.module, each.kernel): replace(each, columns=None) for each in places}.values())


def _add(
    found: dict[str, Through],
    runner: Runner,
    places: tuple[Place, ...],
    batch: Mapping[str, Tensor],
    generator: torch.Generator,
) -> None:
    import torch

    batch = {name: each.detach().requires_grad_() if each.is_floating_point() else each for name, each in batch.items()}
    output, seen = observe(runner, batch)
    output = silenced(output, batch)
    if not seen or not output.requires_grad:
        return
    by_module = {(each.place.module, each.place.kernel): each for each in seen.values()}
    activities = [each.activity for each in by_module.values()]
    squares: list[Tensor | None] = [None] * len(activities)
    weights, how = _weights(output, generator)
    for weight in weights:
        gradients = torch.autograd.grad((output * weight).sum(), activities, retain_graph=True, allow_unused=True)
        squares = [_plus(total, each) for total, each in zip(squares, gradients, strict=True)]
    square_of = dict(zip(by_module, squares, strict=True))
    for place in places:
        each = by_module.get((place.module, place.kernel))
        if each is not None:
            _add_layer(found[place.layer], place, each, square_of[place.module, place.kernel], how, generator)


def _weights(output: Tensor, generator: torch.Generator) -> tuple[list[Tensor], str]:
    """Return weights of the outputs whose squared products with J add up to Σ_k, exactly or in the mean."""
    import torch

    flat = output.reshape(len(output), -1)
    if flat.shape[1] <= EXACT_OUTPUTS:
        ones = torch.eye(flat.shape[1]).to(flat)
        return [row.expand(len(flat), -1).reshape(output.shape) for row in ones], "exact"
    signs = torch.randint(0, 2, (PROJECTIONS, *output.shape), generator=generator).to(output) * 2 - 1
    return list(signs / PROJECTIONS**0.5), f"{PROJECTIONS} random projections an example"


def _plus(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if gradient is None:
        return total
    return gradient.square() if total is None else total + gradient.square()


def _add_layer(
    through: Through, place: Place, seen: Observation, squares: Tensor | None, how: str, generator: torch.Generator
) -> None:
    through.how = how
    by_example = None if squares is None else _by_example(_own(squares, place), seen.examples)
    if by_example is None:
        through.unreached = "the output does not depend on it by a path that can be followed"
    else:
        through.output.append(by_example)
    gain = _gain(place, seen, generator)
    if gain is not None:
        through.gain.append(gain)


def _gain(place: Place, seen: Observation, generator: torch.Generator) -> Tensor | None:
    """Return ‖∂y/∂x‖_F²/size of y of each example by one random projection; None where x is no part of the graph."""
    import torch

    if seen.inputs is None or not seen.inputs.requires_grad or len(seen.inputs) != len(seen.activity):
        return None
    activity = _own(seen.activity, place)
    signs = torch.randint(0, 2, activity.shape, generator=generator).to(activity) * 2 - 1
    (gradient,) = torch.autograd.grad((activity * signs).sum(), seen.inputs, retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    by_example = _by_example(gradient.square(), seen.examples)
    return None if by_example is None else by_example / (activity.numel() / seen.examples)


def _own(tensor: Tensor, place: Place) -> Tensor:
    """Return the units of a place, of all that its module has."""
    if place.columns is None:
        return tensor
    start, stop = place.columns
    return tensor.narrow(place.channel_axis, start, stop - start)


def _by_example(squares: Tensor, examples: int) -> Tensor | None:
    """Return sums over all but the examples; None where axis 0 does not run over them, slowest first."""
    if not squares.ndim or len(squares) % examples:
        return None
    return squares.detach().reshape(examples, -1).sum(1)


def _taken(layer: str, through: Through) -> Taken:
    taken = Taken(layer)
    taken.take(MEASURES, through)
    return taken


def _root_mean(parts: list[Tensor], how: str) -> Value:
    import torch

    values = torch.cat(parts).cpu().double().numpy()
    require(bool(np.isfinite(values).all()), "a derivative is not finite")
    return root_mean(values, f"{how}, {plural(len(values), 'example')}")


def output_sensitivity(through: Through) -> Value:
    """Return √(E‖∂f/∂y‖_F²)."""
    require(not through.unreached and bool(through.output), through.unreached or "no gradient reaches it")
    return _root_mean(through.output, through.how)


def gain(through: Through) -> Value:
    """Return √(E‖∂y/∂x‖_F²/size of y)."""
    require(bool(through.gain), "what it takes has no gradient: ids, or several tensors")
    return _root_mean(through.gain, "1 random projection an example")


MEASURES: Final[tuple[Measure[Through], ...]] = (
    Measure(
        name="activity.output_sensitivity",
        formula="√(E_x‖∂f/∂y‖_F²), y the layer's output after its activation, f the model's",
        unit="f/y",
        range="≥ 0",
        tells="How far the output moves when small independent noise of variance 1 falls on what the layer gives.",
        trap="Grows as y shrinks: rescaling a ReLU unit against the next layer changes it without changing the model.",
        function=output_sensitivity,
    ),
    Measure(
        name="activity.gain",
        formula="√(E_x‖∂y/∂x‖_F²/size of y), x what the layer takes, y what it gives after its activation",
        unit="y/x",
        range="≥ 0",
        source="χ of Schoenholz et al. 2017",
        tells="Independent noise on what the layer takes comes out this many times as large; far from 1 over many layers, signals explode or vanish.",
        function=gain,
    ),
)
