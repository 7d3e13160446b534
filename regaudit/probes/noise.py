"""How far the output moves when noise falls on the input, against the size of the noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Measure, Value, plural, require
from regaudit.probes.jackknife import estimate, root_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.probes.base import Data, Tensor
    from regaudit.probes.coordinates import Coordinates
    from regaudit.records import Array

SIZES: Final = (0.01, 0.03, 0.1, 0.3)  # of each input's standard deviation
DRAWS: Final = 4  # of noise for each example; the same at every size, so that the slope is not noise
USUAL: Final = SIZES.index(0.1)
SMALL: Final = 0
CONSTANT_OUTPUT: Final = "the output does not vary over the examples"
UNMOVED: Final = "the output does not move under noise"
CONSTANT_INPUT: Final = "no input varies over the examples"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """Squared moves of the output, per example.

    Args:
        moves: Mean over draws of ‖f(x + σ·s∘ε) - f(x)‖², s the inputs' standard deviations; shape (examples, sizes).
        spread: ‖f(x) - mean f‖²; shape (examples,).
        linear: Σ_i s_i²·Σ_k (∂f_k/∂x_i)², the mean over examples; None where it was not taken.
    """

    moves: Array
    spread: Array
    linear: float | None


def respond(
    coordinates: Coordinates, data: Data, *, scale: Tensor, linear: float | None, seed: int, batch_size: int
) -> Noise:
    """Add noise to the examples and see how far the output moves.

    Args:
        coordinates: What the model is a function of.
        data: The examples.
        scale: Standard deviation of each coordinate; a constant one gets no noise.
        linear: What the Jacobian predicts for σ = 1.
        seed: Of the noise.
        batch_size: Examples that are run at once.

    Returns:
        The squared moves of every example at every size of noise.

    Raises:
        NotMeasurable: No input varies.
    """
    import torch

    require(bool((scale > 0).any()), CONSTANT_INPUT)
    generator = torch.Generator().manual_seed(seed)
    moves, outputs = [], []
    with torch.no_grad():
        for batch, _ in data.batches(batch_size):
            around = coordinates.around(batch)
            clean = around.function(around.start)
            noise = [torch.randn(around.start.shape, generator=generator).to(scale) * scale for _ in range(DRAWS)]
            moved = [_moves(around.function, around.start, clean, [size * each for each in noise]) for size in SIZES]
            moves.append(torch.stack(moved, 1).cpu().double().numpy())
            outputs.append(clean.cpu().double().numpy())
    whole = np.concatenate(outputs)
    return Noise(moves=np.concatenate(moves), spread=np.square(whole - whole.mean(0)).sum(1), linear=linear)


def _moves(function: Callable[[Tensor], Tensor], start: Tensor, clean: Tensor, noise: list[Tensor]) -> Tensor:
    """Return ‖f(x + noise) - f(x)‖² of each example, the mean over draws."""
    squares = [(function(start + each) - clean).square().sum(1) for each in noise]
    return sum(squares[1:], squares[0]) / len(squares)


def noise_sensitivity(noise: Noise) -> Value:
    """Return the move under noise of 10%, relative to 10% of the output's own spread."""
    require(bool(noise.spread.sum() > 0), CONSTANT_OUTPUT)
    values = np.stack([noise.moves[:, USUAL], noise.spread], 1)
    return estimate(values, lambda means: np.sqrt(means[:, 0] / means[:, 1]) / SIZES[USUAL], _detail(noise))


def noise_slope(noise: Noise) -> Value:
    """Return the slope of ln(move) over ln σ, by least squares over the four sizes."""
    require(bool((noise.moves.sum(0) > 0).all()), UNMOVED)
    x = np.log(SIZES) - np.log(SIZES).mean()
    return estimate(noise.moves, lambda means: np.log(means) @ x / (2 * x @ x), _detail(noise))


def noise_to_jacobian(noise: Noise) -> Value:
    """Return the move under noise of 1%, relative to what the Jacobian predicts."""
    require(noise.linear is not None, "the Jacobian was not taken")
    linear = noise.linear or 0.0
    require(linear > 0, "the Jacobian is 0 at every example")
    return estimate(noise.moves[:, SMALL], lambda means: np.sqrt(means / linear) / SIZES[SMALL], _detail(noise))


def _response(index: int) -> Callable[[Noise], Value]:
    """Return the measure √(E‖f(x + σ·s∘ε) - f(x)‖²) at one size."""

    def response(noise: Noise) -> Value:
        return root_mean(noise.moves[:, index], _detail(noise))

    return response


def _detail(noise: Noise) -> str:
    return f"{plural(len(noise.moves), 'example')}, {DRAWS} draws each"


MEASURES: Final[tuple[Measure[Noise], ...]] = (
    Measure(
        name="model.noise_sensitivity",
        formula="√(E‖f(x + σ·s∘ε) - f(x)‖²) / (σ·√(E‖f(x) - E f‖²)), σ = 0.1, ε ~ N(0, I), s the inputs' standard deviations",
        range="≥ 0",
        tells="1 for a linear model on independent inputs; above 1 the output follows noise more than the data.",
        trap="Inputs that move together make it differ from 1 in a linear model too.",
        function=noise_sensitivity,
    ),
    *(
        Measure(
            name=f"model.noise_response_{size:.0%}".replace("%", "pct"),
            formula=f"√(E‖f(x + σ·s∘ε) - f(x)‖²), σ = {size:g}, ε ~ N(0, I), s the inputs' standard deviations",
            unit="f",
            range="≥ 0",
            tells=f"How far noise of {size:.0%} of every input's own spread moves the output.",
            function=_response(index),
        )
        for index, size in enumerate(SIZES)
    ),
    Measure(
        name="model.noise_slope",
        formula="least-squares slope of ln√(E‖f(x + σ·s∘ε) - f(x)‖²) over ln σ, σ ∈ {0.01, 0.03, 0.1, 0.3}",
        range="any",
        tells="1 where the model is linear at these sizes; below 1 it saturates, above 1 it is curved or has thresholds.",
        function=noise_slope,
    ),
    Measure(
        name="model.noise_to_jacobian",
        formula="√(E‖f(x + σ·s∘ε) - f(x)‖²) / (σ·√(E Σ_i s_i²·‖∂f/∂x_i‖²)), σ = 0.01",
        range="≥ 0",
        tells="1 where the Jacobian tells what small noise does; far from 1 the surface is rough below 1% of the spread.",
        function=noise_to_jacobian,
    ),
)
