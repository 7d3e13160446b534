"""What the evidence says about single layers: where the recommended strength is out of proportion, and the last layer alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.recommend.choice import Choice, choose
from regaudit.recommend.words import counted, number
from regaudit.records import LayerHint, Norm, Reason, Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.recommend.model import Model
    from regaudit.records import Audit, Response

SCREENED = "screened"
# Of 2λ over the mean curvature: a lone weight keeps 1/(1 + 2λ/h) of its size, so 91% below the one and 9% above the other.
INERT = 0.1
CRUSHING = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How a penalty meets one layer, in the local model at the present weights."""

    layer: str
    spared: bool
    crushed: bool


def proportions(model: Model, norm: Norm | None, strength: float) -> tuple[LayerHint, ...]:
    """Return hints where a kernel penalty would spare some layers and empty others.

    One weight at a time, at the present weights: w·h/(h + 2λ) under L2; 0 under L1 where λ exceeds |u + h·w|.

    Args:
        model: With the data's gradients and curvature measured.
        norm: Of the recommended kernel penalty.
        strength: λ in Keras' unit.

    Source: Tibshirani, 1996; Krogh & Hertz, 1992 (shrinkage by curvature).
    """
    shares = [_share(name, values, norm, strength) for name, values in _values(model)]
    spared = tuple(each.layer for each in shares if each.spared)
    crushed = tuple(each.layer for each in shares if each.crushed)
    if not crushed or not spared:
        return ()
    those, others = counted(len(crushed), "kernel"), counted(len(spared), "other")
    if norm is Norm.L1:
        what = f"set over 90% of the weights of {those} to zero, and under 10% of {others}"
    else:
        what = f"shrink the weights of {those} to less than a tenth, and those of {others} by less than a tenth"
    text = f"At the present weights {number(strength)} would {what}; retraining shifts this, so look at these layers first."
    return (LayerHint(layers=crushed, advice="try a weaker penalty here first", reason=text),)


def last_layer_responses(audit: Audit) -> tuple[Response, ...]:
    """Return the responses of a last layer that was trained alone, those that decide."""
    return tuple(r for r in audit.responses if r.layer and r.method != SCREENED)


def last_layer(responses: Sequence[Response], rows: int) -> tuple[Reason, LayerHint | None]:
    """Return what the training of the last layer alone says, and what to do with that layer.

    Args:
        responses: At least one, of the same layer.
        rows: Validation rows.
    """
    choice, name = choose(responses, "accuracy"), responses[0].layer
    best = choice.response
    found = _found(choice)
    because = (
        f"The network is too large to train anew here, so only its last layer, {name}, was: on what the layers before it give, as "
        f"they are. With {found} the validation loss is predicted to be {abs(best.gain):.3g} {'below' if best.gain >= 0 else 'above'} that "
        f"of the model as it is (standard error {best.gain_se:.2g}, {rows:,} validation rows). This says nothing about the other layers."
    )
    reason = Reason(text=because, measure="response.gain", value=best.gain)
    if not choice.is_clear or best.site is Site.NONE:
        return reason, None
    advice = f"{found} if you fit this layer again with the others frozen"
    return reason, LayerHint(
        layers=(name,), advice=advice, reason=f"The validation loss is predicted to fall by {best.gain:.3g}."
    )


def _found(choice: Choice) -> str:
    best = choice.response
    if choice.strength_l2 is not None:
        return f"{best.site} L1 {number(choice.strength)} and L2 {number(choice.strength_l2)}"
    return f"{best.site} {best.norm.upper()} {number(choice.strength)}" if best.norm else "no penalty"


def _values(model: Model) -> list[tuple[str, dict[str, float]]]:
    found = [(s.name, dict(s.values)) for s in model.kernels]
    return [(name, values) for name, values in found if values.get("kernel.curvature_mean", 0.0) > 0]


def _share(name: str, values: dict[str, float], norm: Norm | None, strength: float) -> Share:
    if norm is Norm.L1:
        low, high = (values.get(f"kernel.l1_threshold_{percent}") for percent in (10, 90))
        spared, crushed = low is not None and strength < low, high is not None and strength > high
    else:
        ratio = 2 * strength / values["kernel.curvature_mean"]
        spared, crushed = ratio < INERT, ratio > CRUSHING
    return Share(layer=name, spared=spared, crushed=crushed)
