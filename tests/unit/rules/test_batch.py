"""Rules that need a model that was run: the right one fires, and healthy or unmeasured layers are silent."""

import numpy as np
import pytest

from regaudit.records import Measurement, ProbeRun, Role
from regaudit.rules import RULES, run

HEALTHY = {
    "activity__rows": 2000.0,
    "activity__nonfinite_count": 0.0,
    "activity__dead_fraction": 0.05,
    "activity__saturated_fraction": 0.1,
    "activity__saturated_unit_fraction": 0.0,
    "activity__correlated_fraction": 0.4,
    "activity__effective_rank": 9.0,
    "activity__max_abs": 20.0,
    "activity__max_to_median": 60.0,
    "bias__decided_fraction": 0.1,
    "bias__share": 0.2,
}
FIRES = {
    "activity-nonfinite": ({"activity__nonfinite_count": 3.0}, "error"),
    "activity-dead-units": ({"activity__dead_fraction": 0.95}, "warn"),
    "activity-saturated": ({"activity__saturated_fraction": 0.9, "activity__saturated_unit_fraction": 0.7}, "warn"),
    "activity-bias-driven": ({"bias__decided_fraction": 0.9}, "info"),
    "activity-duplicate-units": ({"activity__correlated_fraction": 0.9}, "info"),
    "activity-massive": ({"activity__max_abs": 300.0, "activity__max_to_median": 2000.0}, "info"),
}
HEALTHY_MODEL = {
    "model.activity_growth": 50.0,
    "model.activity_depth_correlation": 1.0,
    "input.ignored_fraction": 0.1,
    "model.noise_sensitivity": 2.0,
}
FIRES_ON_THE_MODEL = {
    "activity-unstable-scale": ({"model.activity_growth": 1e6}, "warn"),
    "input-ignored": ({"input.ignored_fraction": 0.5}, "info"),
    "model-over-sensitive": ({"model.noise_sensitivity": 30.0}, "info"),
}

# Losses of a healthy model: (value, standard error).
HEALTHY_LOSSES = {
    "train_loss": (0.30, 0.02),
    "train_null_loss": (0.69, 0.01),
    "val_loss": (0.35, 0.03),
    "val_null_loss": (0.69, 0.01),
    "generalization_gap": (0.05, 0.03),
}
FIRES_ON_LABELS = {
    "model-worse-than-constant": ({"val_loss": (0.80, 0.04)}, "warn"),
    "model-overfits": ({"generalization_gap": (0.30, 0.03)}, "info"),
}


@pytest.fixture
def labelled(model, findings):
    """Return what the rules find in a model with these losses."""

    def build(losses=(), *, rows=500):
        measured = tuple(
            Measurement(layer="", measure=f"model.{name}", value=value, se=se)
            for name, (value, se) in (HEALTHY_LOSSES | dict(losses)).items()
        )
        probe = ProbeRun(runner="factory", model="net.py:build", data="train.npz", examples=500, val_examples=rows)
        return findings(*model.like_four(width=64), model=measured, probe=probe)

    return build


@pytest.fixture
def found(model, with_values, audited):
    """Return what the rules find as (name, layer, severity), in a model whose second layer has these values."""

    def build(values=(), *, of_model=(), data="train.npz", se=None, width=64, examples=2000, **changes):
        layers = model.like_four(width=width, **changes)
        layers[1] = with_values(layers[1], **HEALTHY | dict(values))
        measured = tuple(
            Measurement(layer="", measure=name, value=value, se=se, detail="over 6 hidden layers")
            for name, value in (HEALTHY_MODEL | dict(of_model)).items()
        )
        probe = ProbeRun(runner="factory", model="net.py:build", data=data, examples=examples)
        return [(f.name, f.layer, str(f.severity)) for f in run(audited(*layers, model=measured, probe=probe))]

    return build


def test_a_healthy_model_is_silent(found):
    assert found() == []


@pytest.mark.parametrize("name", FIRES)
def test_fires(name, found):
    values, severity = FIRES[name]
    assert found(values) == [(name, "l1", severity)]


@pytest.mark.parametrize("name", FIRES_ON_THE_MODEL)
def test_fires_on_the_model(name, found):
    values, severity = FIRES_ON_THE_MODEL[name]
    assert found(of_model=values) == [(name, "", severity)]


def test_every_rule_of_the_family_is_here():
    here = {*FIRES, *FIRES_ON_THE_MODEL, *FIRES_ON_LABELS}
    assert {r.name for r in RULES if r.code.startswith("RGA7")} == here


@pytest.mark.parametrize("name", ["activity-dead-units", "activity-saturated"])
def test_few_rows_or_examples_make_a_note(name, found):
    assert found(FIRES[name][0] | {"activity__rows": 200.0}) == [(name, "l1", "info")]
    assert found(FIRES[name][0], examples=4) == [(name, "l1", "info")]


@pytest.mark.parametrize("name", FIRES)
def test_drawn_inputs_make_a_note(name, found):
    ((_, _, severity),) = found(FIRES[name][0], data="synthetic: normal")
    assert severity == ("warn" if name == "activity-nonfinite" else "info")


@pytest.mark.parametrize(
    ("name", "left"), [("activity-unstable-scale", 1), ("input-ignored", 0), ("model-over-sensitive", 0)]
)
def test_drawn_inputs_say_little_of_the_model(name, left, found):
    seen = found(of_model=FIRES_ON_THE_MODEL[name][0], data="synthetic: normal")
    assert seen == [(name, "", "info")] * left


@pytest.mark.parametrize("name", [name for name in FIRES if name != "activity-nonfinite"])
def test_outputs_are_left_alone(name, found):
    assert found(FIRES[name][0], is_output=True) == []


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        (FIRES["activity-bias-driven"][0], {"followed_by": "bn"}),
        (FIRES["activity-bias-driven"][0], {"part": "key"}),
        (FIRES["activity-duplicate-units"][0], {"role": Role.EMBEDDING}),
        (FIRES["activity-dead-units"][0], {"role": Role.EMBEDDING}),
        ({"activity__max_to_median": 1e6}, {}),
        ({"activity__saturated_unit_fraction": 0.9}, {}),
    ],
    ids=["before-a-norm", "keys", "table", "table-of-one-row", "small-but-ratio", "units-but-not-outputs"],
)
def test_silent(values, changes, found):
    assert found(values, **changes) == []


@pytest.mark.parametrize(
    ("of_model", "se"),
    [
        ({"model.activity_growth": 1e6, "model.activity_depth_correlation": 0.5}, None),
        ({"model.noise_sensitivity": 11.0}, 1.0),
    ],
    ids=["up-and-down", "within-the-error"],
)
def test_silent_on_the_model(of_model, se, found):
    assert found(of_model=of_model, se=se) == []


def test_vanishing_activations_are_a_finding(found):
    seen = found(of_model={"model.activity_growth": 1e-7, "model.activity_depth_correlation": -1.0})
    assert seen == [("activity-unstable-scale", "", "warn")]


def test_dead_units_explain_a_bias(found):
    both = FIRES["activity-dead-units"][0] | FIRES["activity-bias-driven"][0]
    assert [name for name, _, _ in found(both)] == ["activity-dead-units"]


def test_only_the_first_layer_that_is_not_finite_is_named(model, with_values, findings):
    layers = [with_values(each, activity__nonfinite_count=5.0) for each in model.like_four(width=32)]
    assert findings(*layers) == [("activity-nonfinite", "l0", "error")]


def test_a_model_that_was_not_run_is_silent(model, findings):
    layers = model.like_four(width=32)
    assert findings(*layers) == []
    assert not any(np.isfinite(each.value("activity.rows") or np.nan) for each in layers)


def test_units_without_weights_are_told_once(found):
    seen = found({"activity__dead_fraction": 0.5, "kernel__dead_out_count": 32.0, "kernel__growth": 0.1})
    assert [name for name, _, _ in seen] == ["kernel-dead-units"]


class TestLabels:
    def test_a_healthy_model_is_silent(self, labelled):
        assert labelled() == []

    @pytest.mark.parametrize("name", FIRES_ON_LABELS)
    def test_fires(self, name, labelled):
        losses, severity = FIRES_ON_LABELS[name]
        assert labelled(losses) == [(name, "", severity)]

    @pytest.mark.parametrize(
        ("losses", "rows"),
        [
            ({"val_loss": (0.80, 0.04)}, 29),
            ({"val_loss": (0.80, 0.06)}, 500),
            ({"val_loss": (0.70, 0.0), "val_null_loss": (0.69, 0.006)}, 500),
            ({"generalization_gap": (0.30, 0.16)}, 500),
            ({"generalization_gap": (0.19, 0.001)}, 500),
            ({"train_loss": (0.75, 0.02), "generalization_gap": (0.5, 0.03)}, 500),
        ],
        ids=[
            "few rows",
            "loss in its noise",
            "constant in its noise",
            "gap in its noise",
            "small gap",
            "learnt nothing",
        ],
    )
    def test_silent(self, losses, rows, labelled):
        assert labelled(losses, rows=rows) == []

    def test_both_fire_where_rows_were_learnt_by_heart(self, labelled):
        losses = {"train_loss": (0.002, 0.001), "val_loss": (2.0, 0.1), "generalization_gap": (2.0, 0.1)}
        assert [name for name, _, _ in labelled(losses)] == ["model-worse-than-constant", "model-overfits"]

    def test_losses_of_training_rows_alone_say_nothing(self, model, findings):
        measured = tuple(
            Measurement(layer="", measure=f"model.{name}", value=value)
            for name, value in (("train_loss", 0.9), ("train_null_loss", 0.7))
        )
        assert findings(*model.like_four(width=64), model=measured) == []
