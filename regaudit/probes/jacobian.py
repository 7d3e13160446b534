"""The Jacobian of the output by the input, at the examples of the probe batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import Estimate, Measure, NotMeasurable, Value, plural, require
from regaudit.probes.differentiable import differentiable
from regaudit.probes.jackknife import mean, root_mean
from regaudit.probes.power_iteration import STEPS, spectral_norms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch

    from regaudit.probes.base import Data, Tensor
    from regaudit.probes.coordinates import Around, Coordinates
    from regaudit.records import Array

EXACT_OUTPUTS: Final = 16  # outputs up to which the whole Jacobian costs no more than a good estimate of its norm
PROJECTIONS: Final = (
    8  # Hutchinson: relative standard deviation √(2/8) = 0.5 at worst for one example, far less for many
)
DIFFERENCED: Final = 64  # coordinates whose derivatives are worth two forward passes each
STEP: Final = 1e-2  # of a coordinate's standard deviation: rounding and curvature each cost about 1e-4
ELEMENTS: Final = 1 << 24  # of a batch of Jacobians held at once (64 MiB)
BLOCKS: Final = 16  # groups of examples for the jackknife


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Jacobians:
    """J(x), shape (outputs, coordinates), at every example.

    Args:
        squared_fro: ‖J‖_F² of each example, or an unbiased estimate of it.
        spectral: ‖J‖₂ of each example; None where an operation of the model has no second derivative.
        squares: Σ_k (∂f_k/∂x_i)², summed over the examples of a block; shape (blocks, coordinates).
        counts: Examples in each block.
        how: How they were taken, in words.
        how_spectral: How ‖J‖₂ was.
    """

    squared_fro: Array
    spectral: Array | None
    squares: Array
    counts: Array
    how: str
    how_spectral: str


def jacobians(coordinates: Coordinates, data: Data, *, scale: Tensor, seed: int, batch_size: int) -> Jacobians:
    """Take the Jacobian at every example: whole where the outputs are few, else by random projections.

    Args:
        coordinates: What the model is a function of.
        data: The examples.
        scale: Standard deviation of each coordinate, for the steps of finite differences.
        seed: Of projections and starting vectors.
        batch_size: Examples that are run at once.

    Returns:
        Norms of each example's Jacobian, and sums of squares by coordinate.

    Raises:
        NotMeasurable: The runner gives no gradients, and the coordinates are too many for differences.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    outputs = _outputs(coordinates, data)
    how, how_spectral, take = _method(coordinates, outputs, scale, generator)
    rows = max(1, min(batch_size, ELEMENTS // (max(1, min(outputs, EXACT_OUTPUTS)) * len(scale))))
    with differentiable(coordinates.runner.network) if coordinates.runner.is_differentiable else torch.no_grad():
        return _collected(
            (take(coordinates.around(batch)) for batch, _ in data.batches(rows)),
            examples=len(data),
            how=f"{how}, {plural(len(data), 'example')}",
            how_spectral=f"{how_spectral}, {plural(len(data), 'example')}",
        )


def _outputs(coordinates: Coordinates, data: Data) -> int:
    import torch

    batch, _ = next(data.batches(1))
    with torch.no_grad():
        around = coordinates.around(batch)
        return int(around.function(around.start).shape[1])


def _method(
    coordinates: Coordinates, outputs: int, scale: Tensor, generator: torch.Generator
) -> tuple[str, str, Callable[[Around], tuple[Tensor, Tensor, Tensor | None]]]:
    """Return how to take ‖J‖_F², ‖J‖₂ and the squares by coordinate on a batch, with a word on each."""
    if not coordinates.runner.is_differentiable:
        require(len(scale) <= DIFFERENCED, f"no gradients, and more than {DIFFERENCED} inputs to step through")
        return "central differences", "central differences", lambda a: _norms(_by_differences(a, scale))
    if outputs <= EXACT_OUTPUTS:
        return "exact", "exact", lambda a: _norms(_by_outputs(a))
    return (
        f"{PROJECTIONS} random projections an example",
        f"{STEPS} steps of power iteration",
        lambda a: (*_by_projections(a, generator), spectral_norms(a, generator)),
    )


def _norms(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ‖J‖_F², Σ_k J_ki² and ‖J‖₂ of whole Jacobians, shape (examples, outputs, coordinates)."""
    import torch

    squares = rows.square().sum(1)
    wide = rows if rows.shape[1] <= rows.shape[2] else rows.transpose(1, 2)
    wide = wide.double() if wide.device.type != "mps" else wide.cpu().double()
    largest = torch.linalg.eigvalsh(wide @ wide.transpose(1, 2))[:, -1]
    return squares.sum(1), squares, largest.clamp(min=0).sqrt()


def _by_outputs(around: Around) -> Tensor:
    """Return the Jacobians by one backward pass for each output."""
    import torch

    start = around.start.detach().requires_grad_()
    output = around.function(start)
    if not output.requires_grad:
        return torch.zeros(*output.shape, start.shape[1], device=start.device)
    rows = [_gradient(each.sum(), start) for each in output.unbind(1)]
    return torch.stack(rows, 1)


def _by_projections(around: Around, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return ‖J‖_F² and Σ_k J_ki² by (vᵀJ)² with random signs v: each coordinate is unbiased."""
    import torch

    start = around.start.detach().requires_grad_()
    output = around.function(start)
    squares = torch.zeros_like(start)
    for _ in range(PROJECTIONS if output.requires_grad else 0):
        signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
        squares += _gradient((output * signs).sum(), start).square() / PROJECTIONS
    squares = squares.detach()
    return squares.sum(1), squares


def _by_differences(around: Around, scale: Tensor) -> Tensor:
    """Return the Jacobians by central differences, one coordinate at a time; a constant coordinate steps by 1e-2."""
    import torch

    columns = []
    for i, spread in enumerate(scale.tolist()):
        step = torch.zeros_like(around.start)
        step[:, i] = STEP * (spread or 1.0)
        above, below = around.start + step, around.start - step
        width = (above - below)[:, i, None]
        columns.append((around.function(above) - around.function(below)) / width)
    return torch.stack(columns, 2)


def _gradient(scalar: Tensor, start: Tensor) -> Tensor:
    import torch

    (found,) = torch.autograd.grad(scalar, start, retain_graph=True, allow_unused=True, materialize_grads=True)
    return found


def _collected(
    parts: Iterable[tuple[Tensor, Tensor, Tensor | None]], *, examples: int, how: str, how_spectral: str
) -> Jacobians:
    """Return what was taken batch by batch as one; example i belongs to block i·blocks/examples."""
    blocks = min(BLOCKS, examples)
    block_of = np.arange(examples) * blocks // examples
    fro: list[Array] = []
    spectral: list[Array] = []
    squares: Array = np.zeros((blocks, 0))
    done = 0
    for squared_fro, by_coordinate, largest in parts:
        rows = by_coordinate.detach().cpu().double().numpy()
        squares = squares if done else np.zeros((blocks, rows.shape[1]))
        np.add.at(squares, block_of[done : done + len(rows)], rows)
        done += len(rows)
        fro.append(squared_fro.detach().cpu().double().numpy())
        if largest is not None:
            spectral.append(largest.detach().cpu().double().numpy())
    return Jacobians(
        squared_fro=np.concatenate(fro),
        spectral=np.concatenate(spectral) if spectral else None,
        squares=squares,
        counts=np.bincount(block_of),
        how=how,
        how_spectral=how_spectral,
    )


def jacobian_fro_norm(found: Jacobians) -> Value:
    """Return √(mean over examples of ‖J(x)‖_F²)."""
    return root_mean(found.squared_fro, found.how)


def local_lipschitz(found: Jacobians) -> Value:
    """Return the largest ‖J(x)‖₂ among the examples."""
    return Estimate(value=float(_spectral(found).max()), detail=found.how_spectral)


def local_lipschitz_mean(found: Jacobians) -> Value:
    """Return the mean of ‖J(x)‖₂ over examples."""
    return mean(_spectral(found), found.how_spectral)


def _spectral(found: Jacobians) -> Array:
    if found.spectral is None:
        raise NotMeasurable("an operation of the model has no second derivative")
    return found.spectral


MEASURES: Final[tuple[Measure[Jacobians], ...]] = (
    Measure(
        name="model.jacobian_fro_norm",
        formula="√(E_x‖J(x)‖_F²), J = ∂f/∂x, f the output as the model gives it, all elements",
        unit="f/x",
        range="≥ 0",
        source="Novak et al. 2018; projections: Hutchinson 1990",
        tells="How far the output moves when small independent noise of variance 1 falls on every input.",
        trap="Grows with the scale of the outputs: compare models of one task, or read model.noise_sensitivity.",
        function=jacobian_fro_norm,
    ),
    Measure(
        name="model.local_lipschitz",
        formula="max over probe examples of ‖J(x)‖₂",
        unit="f/x",
        range="≥ 0",
        tells="How steep the model is at the steepest example, in its steepest direction.",
        trap="Below the Lipschitz constant: other inputs may be steeper, and power iteration stops from below.",
        function=local_lipschitz,
    ),
    Measure(
        name="model.local_lipschitz_mean",
        formula="mean over probe examples of ‖J(x)‖₂",
        unit="f/x",
        range="≥ 0",
        tells="The same at the usual example.",
        function=local_lipschitz_mean,
    ),
)
