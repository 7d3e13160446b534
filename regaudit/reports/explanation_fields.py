"""An explanation of a layer as JSON, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from regaudit.records import Explanation, Norm, Prediction, Pulls, Site, Use

if TYPE_CHECKING:
    from regaudit.records import Audit
    from regaudit.reports.fields import Fields

    Object = dict[str, Any]

SHARES: Final = (10, 50, 90)  # percent of the weights that L1 zeroes


def written(explanation: Explanation, audit: Audit) -> Object:
    """Return an explanation as plain dictionaries and lists, with the layer's thresholds and equilibria."""
    return {
        "layer": explanation.layer,
        "pulls": [_pulls(each, explanation.layer, audit) for each in explanation.pulls],
        "present": _prediction(explanation.present),
        "predictions": [_prediction(each) for each in explanation.predictions],
        "model": explanation.model or None,
        "reason": explanation.reason or None,
    }


def read(f: Fields) -> Explanation:
    """Return the explanation that a report holds; thresholds and equilibria are among the layer's measurements."""
    return Explanation(
        layer=f.text("layer"),
        pulls=tuple(_read_pulls(each) for each in f.parts("pulls")),
        present=_read_prediction(f.part("present")),
        predictions=tuple(_read_prediction(each) for each in f.parts("predictions")),
        model=f.text("model"),
        reason=f.text("reason"),
    )


def thresholds(audit: Audit, layer: str, use: Use) -> list[float]:
    """Return the λ at which L1 zeroes 10, 50 and 90% of the weights, as far as they were measured."""
    found = [audit.layer(layer).value(f"{use}.l1_threshold_{each}") for each in SHARES]
    return [each for each in found if each is not None]


def _pulls(pulls: Pulls, layer: str, audit: Audit) -> Object:
    return {
        "use": pulls.use,
        "percents": pulls.percents,
        "weights": pulls.weights,
        "pulls": pulls.pulls,
        "outward": pulls.outward,
        "l1_thresholds": thresholds(audit, layer, pulls.use),
        "l2_equilibrium": audit.layer(layer).value(f"{pulls.use}.l2_equilibrium_strength"),
    }


def _read_pulls(f: Fields) -> Pulls:
    return Pulls(
        use=f.word("use", Use),
        percents=f.counts("percents"),
        weights=f.numbers("weights"),
        pulls=f.numbers("pulls"),
        outward=f.numbers("outward"),
    )


def _prediction(prediction: Prediction) -> Object:
    return {
        "site": prediction.site,
        "norm": prediction.norm,
        "strength": prediction.strength,
        "kernel_norm": prediction.kernel_norm,
        "bias_norm": prediction.bias_norm,
        "activity_rms": prediction.activity_rms,
        "zero_fraction": prediction.zero_fraction,
        "dropped_inputs": prediction.dropped_inputs,
    }


def _read_prediction(f: Fields) -> Prediction:
    return Prediction(
        site=f.word("site", Site),
        norm=f.maybe_word("norm", Norm),
        strength=f.number("strength"),
        kernel_norm=f.maybe("kernel_norm"),
        bias_norm=f.maybe("bias_norm"),
        activity_rms=f.maybe("activity_rms"),
        zero_fraction=f.maybe("zero_fraction"),
        dropped_inputs=f.counts("dropped_inputs"),
    )
