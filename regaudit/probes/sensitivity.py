"""The probe of input sensitivity: how far the output moves when an input does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from regaudit.measures.base import Measure, NotMeasurable, plural
from regaudit.measures.taking import Taken
from regaudit.probes import ignored_inputs, jacobian, layer_sensitivity, lipschitz, noise
from regaudit.probes.base import Probe, Probed
from regaudit.probes.coordinates import find
from regaudit.probes.differentiable import differentiable
from regaudit.probes.sampling import sample

if TYPE_CHECKING:
    from regaudit.probes.base import Data, Session, Tensor
    from regaudit.probes.coordinates import Coordinates
    from regaudit.probes.jacobian import Jacobians

FAMILIES: Final[tuple[tuple[str, tuple[Measure[Any], ...]], ...]] = (
    ("Sensitivity to the input", (*jacobian.MEASURES, *lipschitz.MEASURES)),
    ("Response to noise", noise.MEASURES),
    ("Inputs in use", ignored_inputs.MEASURES),
    ("Sensitivity through layers", layer_sensitivity.MEASURES),
)
_OF_JACOBIANS: Final[tuple[Measure[Any], ...]] = (*jacobian.MEASURES, *ignored_inputs.MEASURES)
_OF_MODEL: Final[tuple[Measure[Any], ...]] = (*_OF_JACOBIANS, *noise.MEASURES)

EXAMPLES: Final = 256  # the standard error of a mean is then a sixteenth of the spread over examples
FEWEST: Final = 8
NUMBERS: Final = 1 << 19  # examples times coordinates: wide inputs mean large models, and cost that much more


def run(session: Session) -> Probed:
    """Measure how sensitive the model and each layer is, on at most 256 examples of the probe batch.

    Args:
        session: Inputs suffice; without gradients only noise and, for few inputs, differences are taken.

    Returns:
        A measurement or a skip for each measure of the model, and for each layer that was observed.
    """
    of_model = Taken("")
    of_layers: list[Taken] = []
    try:
        coordinates = find(session.runner, session.train)
    except NotMeasurable as reason:
        of_model.skip(_OF_MODEL, str(reason))
    else:
        view = _view(session, coordinates)
        _take_model(of_model, view)
        if session.runner.is_differentiable:
            of_layers = layer_sensitivity.layer_sensitivities(
                coordinates, view.data, seed=session.seed, batch_size=session.batch_size
            )
    _take_bound(of_model, session)
    taken = (of_model, *of_layers)
    return Probed(
        measurements=tuple(m for each in taken for m in each.measurements),
        skips=tuple(s for each in taken for s in each.skips),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _View:
    """The examples that are looked at, with the standard deviation of each coordinate."""

    session: Session
    coordinates: Coordinates
    data: Data
    scale: Tensor


def _view(session: Session, coordinates: Coordinates) -> _View:
    import torch

    size = sum(each.size for each in coordinates.pieces)
    data = sample(session.train, max(FEWEST, min(EXAMPLES, NUMBERS // max(size, 1))), session.seed)
    with torch.no_grad():
        rows = [coordinates.around(batch).start for batch, _ in data.batches(session.batch_size)]
        return _View(session=session, coordinates=coordinates, data=data, scale=coordinates.scale(torch.cat(rows)))


def _take_model(taken: Taken, view: _View) -> None:
    session, coordinates = view.session, view.coordinates
    scale: np.ndarray[Any, np.dtype[Any]] = view.scale.cpu().double().numpy()
    linear = None
    try:
        found = _jacobians(view)
    except NotMeasurable as reason:
        taken.skip(_OF_JACOBIANS, str(reason))
    else:
        taken.take(jacobian.MEASURES, found)
        taken.take(ignored_inputs.MEASURES, ignored_inputs.inputs(coordinates, found, scale))
        linear = float(found.squares.sum(0) @ np.square(scale) / found.counts.sum())
    try:
        response = noise.respond(
            coordinates, view.data, scale=view.scale, linear=linear, seed=session.seed, batch_size=session.batch_size
        )
    except NotMeasurable as reason:
        taken.skip(noise.MEASURES, str(reason))
    else:
        taken.take(noise.MEASURES, response)


def _jacobians(view: _View) -> Jacobians:
    session = view.session
    found = jacobian.jacobians(
        view.coordinates, view.data, scale=view.scale, seed=session.seed, batch_size=session.batch_size
    )
    if not np.isfinite(found.squared_fro).all():
        count = int((~np.isfinite(found.squared_fro)).sum())
        raise NotMeasurable(f"the Jacobian of {plural(count, 'example')} is not finite")
    return found


def _take_bound(taken: Taken, session: Session) -> None:
    if not session.runner.is_differentiable:
        taken.skip(lipschitz.MEASURES, "needs the layers, which the runner does not show")
        return
    try:
        with differentiable(session.runner.network):
            found = lipschitz.chain(session.runner, session.train)
    except NotMeasurable as reason:
        taken.skip(lipschitz.MEASURES, str(reason))
    else:
        taken.take(lipschitz.MEASURES, found)


SENSITIVITY: Final = Probe(name="sensitivity", run=run)
