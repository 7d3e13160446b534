"""The probe of explanations: what the data pull at in one layer, and what each penalty would do to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from regaudit.measures.base import NotMeasurable
from regaudit.measures.explained import NO_LABELS, NOTHING, explained, pulls
from regaudit.probes.base import Probe, Probed
from regaudit.probes.layer_at import At
from regaudit.probes.local_layer import Local

if TYPE_CHECKING:
    from regaudit.networks.places import Place
    from regaudit.probes.base import Session
    from regaudit.records import Explanation, Layer

NOT_FOUND: Final = "The layer was not found in the network that ran."
TOO_LARGE: Final = "Penalties on the activity: the network is too large to be run for each many times."
NO_CURVATURE: Final = "The curvature of the loss: {reason}."
NO_GRADIENTS: Final = "The {kind} runner gives no gradients, so that what the data pull at is not known."


def run(session: Session) -> Probed:
    """Explain the layers that the user named.

    Args:
        session: With their names; with labels and a loss for what penalties would do.

    Returns:
        An explanation of each.
    """
    layers = {each.name: each for each in session.layers}
    places = {each.layer: each for each in session.runner.places}
    return Probed(
        explanations=tuple(
            _explained(session, layers[name], places.get(name)) for name in session.explain if name in layers
        )
    )


def _explained(session: Session, layer: Layer, place: Place | None) -> Explanation:
    found = explained(layer)
    if found.reason == NOTHING:
        return found
    if place is None:
        return replace(found, reason=NOT_FOUND)
    at = At(session, layer, place)
    found = replace(found, present=at.predicted(at.theta))
    if not session.runner.is_differentiable or session.loss is None:
        return replace(
            found, reason=NO_LABELS if session.loss is None else NO_GRADIENTS.format(kind=session.runner.kind)
        )
    if not at.parts:
        return replace(found, reason=NOTHING)
    return _with_labels(at, found)


def _with_labels(at: At, found: Explanation) -> Explanation:
    u = at.pull()
    quantiles = tuple(pulls(use, at.of(at.theta, use), at.of(u, use)) for use in at.parts)
    found = replace(found, pulls=quantiles, reason="")
    try:
        hessian = at.curvature()
    except NotMeasurable as reason:
        return replace(found, reason=NO_CURVATURE.format(reason=reason))
    local = Local(theta=at.theta, pull=u, hessian=hessian)
    return replace(
        found,
        predictions=tuple(at.predictions(local)),
        model="single" if hessian.ndim == 1 else "joint",
        reason="" if at.is_watched else TOO_LARGE,
    )


EXPLANATION: Final = Probe(name="explanation", run=run)
