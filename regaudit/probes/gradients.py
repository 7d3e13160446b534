"""The probe of labelled data: losses and their gap, margins, and what the data want of each kernel and bias."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from regaudit.measures.base import Measure, NotMeasurable
from regaudit.measures.taking import Taken
from regaudit.probes import data_gradient, generalization
from regaudit.probes.base import Probe, Probed
from regaudit.probes.curvature import diagonal
from regaudit.probes.data_gradient import DataGradient
from regaudit.probes.labelled import fit
from regaudit.probes.per_example import PerExample, canonical, mean_gradient, names_of
from regaudit.probes.sampling import sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from regaudit.networks.places import Place
    from regaudit.probes.base import Data, Session, Tensor
    from regaudit.records import Array

FAMILIES: Final[tuple[tuple[str, tuple[Measure[Any], ...]], ...]] = (
    ("Fit to labelled data", generalization.MEASURES),
    ("Gradient of the data loss", data_gradient.OF_MODEL),
    ("Gradient of the data loss by kernels", data_gradient.OF_KERNEL),
    ("Gradient of the data loss by biases", data_gradient.OF_BIAS),
)
NO_GRADIENTS: Final = "needs gradients, which the runner does not give"
ELEMENTS: Final = 1 << 31  # examples times parameters: their gradients take about a minute on one core
FEWEST: Final = 32
BLOCK: Final = 1 << 20  # weights that are held in double precision at once
BATCH: Final = 1 << 27  # examples times parameters: what a backward pass keeps of each example grows with the model


def run(session: Session) -> Probed:
    """Measure fit and gap on all labelled examples, and the gradients on as many as a minute allows.

    Args:
        session: With a loss and training labels.

    Returns:
        A measurement or a skip for each measure of the model, and for each kernel and bias in the network.
    """
    of_model = Taken("")
    of_model.take(generalization.MEASURES, fit(session))
    if not session.runner.is_differentiable:
        of_model.skip(data_gradient.OF_MODEL, NO_GRADIENTS)
        return _probed([of_model])
    collected = _collect(session)
    of_model.take(data_gradient.OF_MODEL, collected.whole())
    return _probed([of_model, *_of_layers(session, collected)])


@dataclass(slots=True)
class Piece:
    """Part of a parameter: all of it, or the units of one part of a fused layer."""

    name: str
    axis: int = 0
    start: int = 0
    stop: int | None = None

    def of(self, tensor: Tensor, batch_axes: int = 0) -> Tensor:
        """Return the piece of a parameter, or of many of its gradients."""
        if self.stop is None:
            return tensor
        return tensor.narrow(self.axis + batch_axes, self.start, self.stop - self.start)


@dataclass(slots=True)
class _Collected:
    """Products of each example's gradient with the mean gradient and the weights, by piece."""

    values: Mapping[str, Tensor]
    mean: Mapping[str, Tensor]
    curvature: Mapping[str, Tensor]
    no_curvature: str
    products: dict[tuple[str, int, int | None], list[Array]] = field(default_factory=lambda: defaultdict(list))

    def add(self, gradients: Mapping[str, Tensor], pieces: tuple[Piece, ...]) -> None:
        """Take in the gradients of some examples."""
        for piece in pieces:
            rows = piece.of(gradients[piece.name], 1).flatten(1)
            mean, w = (piece.of(each[piece.name]).flatten() for each in (self.mean, self.values))
            found = [rows.square().sum(1), rows @ mean, -(rows @ w)]
            self.products[_key(piece)].append(np.stack([each.cpu().double().numpy() for each in found], 1))

    def of(self, piece: Piece) -> DataGradient:
        """Return what is known of one piece."""
        found = self._sums(piece)
        if self.no_curvature:
            return replace(found, no_curvature=self.no_curvature)
        mean, w, h = (_numbers(piece.of(each[piece.name])) for each in (self.mean, self.values, self.curvature))
        thresholds = np.abs(h * w - mean)
        thresholds.sort()
        return replace(found, thresholds=thresholds, curvature=float(h.mean(dtype=np.float64)))

    def _sums(self, piece: Piece) -> DataGradient:
        """Return what is known of one piece, but for what belongs to single weights."""
        mean, w = (_numbers(piece.of(each[piece.name])) for each in (self.mean, self.values))
        products = np.concatenate(self.products[_key(piece)])
        mean_square = _product(mean, mean)
        return DataGradient(
            size=mean.size,
            mean_square=mean_square,
            squares=products[:, 0],
            along_mean=_centred(products[:, 1], mean_square),
            along_weight=_centred(products[:, 2], -_product(mean, w)),
            weight_square=_product(w, w),
            thresholds=np.zeros(0),
        )

    def whole(self) -> DataGradient:
        """Return what is known of all parameters together."""
        parts = [self._sums(Piece(name)) for name in self.values]
        return DataGradient(
            size=sum(each.size for each in parts),
            mean_square=sum(each.mean_square for each in parts),
            squares=np.sum([each.squares for each in parts], 0),
            along_mean=np.sum([each.along_mean for each in parts], 0),
            along_weight=np.sum([each.along_weight for each in parts], 0),
            weight_square=sum(each.weight_square for each in parts),
            thresholds=np.zeros(0),
        )


def _collect(session: Session) -> _Collected:
    """Return the products of all examples, run forward and back together and one by one."""
    assert session.loss is not None
    runner, names = session.runner, names_of(session.runner)
    values = {name: each.detach() for name, each in runner.network.named_parameters() if name in names}
    size = max(1, sum(each.numel() for each in values.values()))
    data = sample(session.train, max(FEWEST, ELEMENTS // size), session.seed)
    gradients = PerExample(runner, names)
    curvature, why_not = _curvature(session, gradients, data)
    collected = _Collected(
        values=values,
        mean=mean_gradient(
            runner, data, session.loss, names=names, batch_size=max(1, min(session.batch_size, BATCH // size))
        ),
        curvature=curvature,
        no_curvature=why_not,
    )
    pieces = tuple({_key(each): each for each in (*map(Piece, names), *_pieces(session))}.values())
    for batch, labels in data.batches(min(session.batch_size, gradients.rows)):
        collected.add(gradients.of_loss(session.loss, batch, labels), pieces)
    return collected


def _curvature(session: Session, gradients: PerExample, data: Data) -> tuple[dict[str, Tensor], str]:
    assert session.loss is not None
    try:
        return diagonal(gradients, data, session.loss, seed=session.seed, batch_size=session.batch_size), ""
    except NotMeasurable as reason:
        return {}, str(reason)


def _pieces(session: Session) -> Iterator[Piece]:
    for place in session.runner.places:
        for piece, _ in of_place(session, place):
            yield piece


def of_place(session: Session, place: Place) -> Iterator[tuple[Piece, tuple[Measure[DataGradient], ...]]]:
    """Yield the kernel and the bias of a layer, each with its measures."""
    names, parameters = canonical(session.runner), dict(session.runner.network.named_parameters())
    for name, measures in ((place.kernel, data_gradient.OF_KERNEL), (place.bias, data_gradient.OF_BIAS)):
        if name in names:
            own = names[name]
            yield _piece(own, parameters[own], place, session.runner.places), measures


def _piece(name: str, parameter: Tensor, place: Place, places: tuple[Place, ...]) -> Piece:
    """Return a layer's part of a parameter; the units of a fused layer lie on the axis that is as long as all parts."""
    if place.columns is None:
        return Piece(name)
    units = max(each.columns[1] for each in places if each.module == place.module and each.columns is not None)
    axis = 0 if parameter.shape[0] == units else parameter.ndim - 1
    return Piece(name, axis, *place.columns)


def _of_layers(session: Session, collected: _Collected) -> list[Taken]:
    found = []
    for place in session.runner.places:
        taken = Taken(place.layer)
        for piece, measures in of_place(session, place):
            taken.take(measures, collected.of(piece))
        found.append(taken)
    return found


def _probed(parts: list[Taken]) -> Probed:
    return Probed(
        measurements=tuple(m for each in parts for m in each.measurements),
        skips=tuple(s for each in parts for s in each.skips),
    )


def _key(piece: Piece) -> tuple[str, int, int | None]:
    return piece.name, piece.start, piece.stop


def _centred(values: Array, mean: float) -> Array:
    """Return values with the mean that they have up to rounding: the products of examples that cancel lose digits."""
    centred: Array = values + (mean - values.mean())
    return centred


def _numbers(tensor: Tensor) -> Array:
    """Return a tensor's numbers in its own precision: of a large model, doubles would be most of the memory."""
    found: Array = tensor.detach().cpu().numpy().ravel()
    return found


def _product(a: Array, b: Array) -> float:
    """Return Σ a·b in double precision."""
    blocks = range(0, len(a), BLOCK)
    return sum(float(a[i : i + BLOCK].astype(np.float64) @ b[i : i + BLOCK].astype(np.float64)) for i in blocks)


GRADIENTS: Final = Probe(name="gradients", needs_labels=True, run=run)
