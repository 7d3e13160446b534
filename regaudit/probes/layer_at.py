"""One layer of a running network, its kernel and bias as one vector, and what penalties make of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.explained import input_axis, prediction
from regaudit.probes.curvature import diagonal, factors
from regaudit.probes.gradients import Piece, of_place
from regaudit.probes.observing import observe
from regaudit.probes.per_example import PerExample, canonical, mean_gradient
from regaudit.probes.sampling import sample
from regaudit.records import Norm, Prediction, Site, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from regaudit.networks.places import Place
    from regaudit.probes.base import Data, Session, Tensor
    from regaudit.probes.local_layer import Local
    from regaudit.records import Array, Layer

STRENGTHS: Final = (1e-4, 1e-3, 1e-2, 1e-1)
JOINT: Final = 1024  # weights of a layer whose whole curvature is kept: solved with in tens of milliseconds
EXAMPLES: Final = 1024  # that tell the curvature
WATCHED: Final = 256  # examples on which outputs are predicted
WORK: Final = 1 << 31  # parameters times examples times passes for one penalty on activities: seconds
SMOOTH: Final = 1e-3  # of the rms output: within it |y| is rounded off, so that L1 has a gradient
PASSES: Final = 80


@dataclass(slots=True)
class At:
    """One layer in the network, its kernel and bias as one vector θ.

    Args:
        session: What runs.
        layer: The audited layer.
        place: Where it is.
    """

    session: Session
    layer: Layer
    place: Place

    @property
    def parts(self) -> dict[Use, Piece]:
        """The layer's part of each of its parameters."""
        pieces = [piece for piece, _ in of_place(self.session, self.place)]
        names = canonical(self.session.runner)
        uses = [use for use, name in ((Use.KERNEL, self.place.kernel), (Use.BIAS, self.place.bias)) if name in names]
        return dict(zip(uses, pieces, strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """Of those parameters in the network."""
        return tuple(dict.fromkeys(each.name for each in self.parts.values()))

    @property
    def values(self) -> dict[str, Tensor]:
        """The parameters themselves."""
        parameters = dict(self.session.runner.network.named_parameters())
        return {name: parameters[name].detach() for name in self.names}

    @property
    def theta(self) -> Array:
        """The present kernel and bias, flat."""
        return self._flat(self.values)

    def of(self, flat: Array, use: Use) -> Array:
        """Return the kernel or the bias of a θ, in its shape."""
        shapes = {each: tuple(piece.of(self.values[piece.name]).shape) for each, piece in self.parts.items()}
        ends = np.cumsum([math.prod(each) for each in shapes.values()])
        pieces = dict(zip(shapes, np.split(flat, ends[:-1]), strict=True))
        found: Array = pieces[use].reshape(shapes[use])
        return found

    def pull(self) -> Array:
        """Return u = -∇L."""
        session = self.session
        assert session.loss is not None
        mean = mean_gradient(
            session.runner, session.train, session.loss, names=self.names, batch_size=session.batch_size
        )
        return -self._flat(mean)

    def curvature(self) -> Array:
        """Return the Gauss-Newton matrix of a small layer, its diagonal of another."""
        session = self.session
        assert session.loss is not None
        data = sample(session.train, EXAMPLES, session.seed)
        gradients = PerExample(session.runner, self.names)
        if len(self.theta) > JOINT:
            return self._flat(diagonal(gradients, data, session.loss, seed=session.seed, batch_size=session.batch_size))
        return self._joint(gradients, data)

    def predictions(self, local: Local) -> Iterator[Prediction]:
        """Yield the layer without a penalty, then under each site, norm and strength."""
        uses = np.concatenate([np.full(self.of(local.theta, use).size, use) for use in self.parts])
        yield self.predicted(local.least())
        for site, use in ((Site.KERNEL, Use.KERNEL), (Site.BIAS, Use.BIAS)):
            for norm in Norm if use in self.parts else ():
                for strength in STRENGTHS:
                    theta = local.least(norm, strength, uses == use)
                    yield self.predicted(theta, site=site, norm=norm, strength=strength)
        if self.is_watched:
            yield from self._on_activity(local)

    def predicted(self, theta: Array, **penalty: object) -> Prediction:
        """Return what θ makes of the layer."""
        kernel = self.of(theta, Use.KERNEL) if Use.KERNEL in self.parts else None
        bias = self.of(theta, Use.BIAS) if Use.BIAS in self.parts else None
        rms = None if kernel is None else float(np.sqrt(np.mean(self.of(self.theta, Use.KERNEL) ** 2)))
        found = prediction(kernel, bias, inputs=self._inputs(kernel), rms=rms, **penalty)
        return replace(found, activity_rms=self._rms(theta))

    @property
    def is_watched(self) -> bool:
        """Whether the outputs can be had, many times over."""
        parameters = sum(each.numel() for each in self.session.runner.network.parameters())
        work = parameters * min(WATCHED, len(self.session.train)) * PASSES
        return work <= WORK and self.present_rms is not None

    @property
    def present_rms(self) -> float | None:
        """The rms of y as it is."""
        return self._rms(self.theta)

    def _on_activity(self, local: Local) -> Iterator[Prediction]:
        for norm in Norm:
            for strength in STRENGTHS:
                theta = local.least_with(self._activity(norm), strength)
                yield self.predicted(theta, site=Site.ACTIVITY, norm=norm, strength=strength)

    def _activity(self, norm: Norm) -> Callable[[Array], tuple[float, Array]]:
        """Return Σ|y| or Σy² over the examples' number, as a function of θ, with its gradient."""
        import torch

        watched = self._watched()
        floor = SMOOTH * (self.present_rms or 1.0)

        def penalty(batch: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
            y = observe(self.session.runner, batch, values)[1][self.place.layer].activity
            return y.square().sum() if norm is Norm.L2 else ((y.square() + floor**2).sqrt() - floor).sum()

        def both(theta: Array) -> tuple[float, Array]:
            values = {name: each.requires_grad_() for name, each in self._values(theta).items()}
            total, gradient = 0.0, np.zeros(len(theta))
            for batch, _ in watched.batches(self.session.batch_size):
                value = penalty(batch, values)
                found = torch.autograd.grad(value, list(values.values()), allow_unused=True, materialize_grads=True)
                total += float(value.detach())
                gradient += self._flat(dict(zip(values, found, strict=True)))
            return total / len(watched), gradient / len(watched)

        return both

    def _joint(self, gradients: PerExample, data: Data) -> Array:
        assert self.session.loss is not None
        import torch

        generator = torch.Generator().manual_seed(self.session.seed)
        size = len(self.theta)
        total = np.zeros((size, size))
        for batch, labels in data.batches(min(self.session.batch_size, gradients.rows)):
            traced = gradients.traced(batch)
            for weights in factors(self.session.loss, traced.outputs.detach(), labels, generator):
                rows = self._rows(traced.products(weights))
                total += rows.T @ rows / len(data)
        return total

    def _rows(self, found: Mapping[str, Tensor]) -> Array:
        parts = [piece.of(found[piece.name], 1).flatten(1) for piece in self.parts.values()]
        return np.concatenate([each.detach().cpu().double().numpy() for each in parts], 1)

    def _flat(self, found: Mapping[str, Tensor]) -> Array:
        parts = [piece.of(found[piece.name]).flatten() for piece in self.parts.values()]
        return np.concatenate([each.detach().cpu().double().numpy() for each in parts] or [np.zeros(0)])

    def _values(self, theta: Array) -> dict[str, Tensor]:
        """Return the parameters with θ in their place."""
        import torch

        values = {name: each.clone() for name, each in self.values.items()}
        for use, piece in self.parts.items():
            place = piece.of(values[piece.name])
            place.copy_(torch.from_numpy(self.of(theta, use)).to(place))
        return values

    def _watched(self) -> Data:
        return sample(self.session.train, WATCHED, self.session.seed)

    def _rms(self, theta: Array) -> float | None:
        """Return the rms of y; None where the layer is not called."""
        import torch

        values, squares, count = self._values(theta), 0.0, 0
        with torch.no_grad():
            for batch, _ in self._watched().batches(self.session.batch_size):
                found = observe(self.session.runner, batch, values)[1].get(self.place.layer)
                if found is None:
                    return None
                squares += float(found.activity.double().square().sum())
                count += found.activity.numel()
        return math.sqrt(squares / count) if count else None

    def _inputs(self, kernel: Array | None) -> int | None:
        """Return the axis over inputs, where the network's kernel lies as the checkpoint's does or turned over."""
        stored, axis = self.layer.get(Use.KERNEL), input_axis(self.layer)
        if kernel is None or stored is None or axis is None:
            return None
        if kernel.shape == stored.shape:
            return axis
        return kernel.ndim - 1 - axis if kernel.shape == stored.shape[::-1] else None
