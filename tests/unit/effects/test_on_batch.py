"""Effects that need a model that was run: what fires, what is silent, and what nobody measured."""

import pytest

from regaudit.effects import EFFECTS, see
from regaudit.records import Measurement, ProbeRun, Role, Site

# What a healthy ReLU layer of 64 units shows on 1,000 rows.
PLAIN = {
    "activity.rows": 1000.0,
    "activity.dead_fraction": 0.0,
    "activity.saturated_fraction": 0.07,
    "activity.correlated_fraction": 0.05,
    "activity.effective_rank": 20.0,
    "activity.near_zero_fraction": 0.5,
    "activity.outlier_channels": 0.0,
    "activity.max_abs": 8.0,
    "activity.max_to_median": 40.0,
    "bias.share": 0.1,
    "bias.decided_fraction": 0.05,
}
SHOWS = {
    "units-dead": {"activity.dead_fraction": 0.25},
    "saturated": {"activity.saturated_fraction": 0.8, "activity.saturated_unit_fraction": 0.6},
    "bias-driven": {"bias.decided_fraction": 0.8, "bias.share": 0.9},
    "units-alike": {"activity.correlated_fraction": 0.9, "activity.effective_rank": 1.2},
    "sparse-activity": {"activity.near_zero_fraction": 0.97},
    "outlier-channels": {"activity.outlier_channels": 2.0},
}
HEALTHY_MODEL = {
    "model.activity_growth": 3.0,
    "model.activity_depth_correlation": 0.95,
    "input.ignored_fraction": 0.0,
    "model.noise_sensitivity": 1.3,
}
SHOWS_OF_THE_MODEL = {
    "activity-scale": {"model.activity_growth": 1e5},
    "inputs-unused": {"input.ignored_fraction": 0.4},
    "over-sensitive": {"model.noise_sensitivity": 12.0},
}


@pytest.fixture
def effects_of(make_layer, make_audit):
    def effects(values=(), *, model=(), data="train.npz", se=None, **layer):
        measured = tuple(
            Measurement(layer="", measure=name, value=value, se=se)
            for name, value in (HEALTHY_MODEL | dict(model)).items()
        )
        run = ProbeRun(runner="factory", model="net.py:build", data=data, examples=1000)
        return see(make_audit(make_layer(values=PLAIN | dict(values), **layer), model=measured, probe=run))

    return effects


def test_a_healthy_layer_shows_nothing(effects_of):
    assert effects_of() == ()


@pytest.mark.parametrize("name", SHOWS)
def test_shows(name, effects_of):
    (effect,) = effects_of(SHOWS[name])
    assert effect.effect == name
    assert effect.layer == "fc1"
    assert 0 < effect.confidence < 1
    assert effect.evidence
    assert effect.against
    assert effect.target is (Site.BIAS if name == "bias-driven" else Site.ACTIVITY)


@pytest.mark.parametrize("name", SHOWS_OF_THE_MODEL)
def test_shows_of_the_model(name, effects_of):
    (effect,) = effects_of(model=SHOWS_OF_THE_MODEL[name])
    assert (effect.effect, effect.layer) == (name, "")
    assert effect.evidence
    assert effect.against


def test_every_effect_on_a_batch_is_here():
    found = {each.effect for each in EFFECTS if each.see.__module__.endswith("function")}
    assert found == set(SHOWS_OF_THE_MODEL)
    assert set(SHOWS) <= {each.effect for each in EFFECTS}


@pytest.mark.parametrize("name", [*SHOWS, *SHOWS_OF_THE_MODEL])
def test_drawn_inputs_halve_the_confidence(name, effects_of):
    values, model = SHOWS.get(name, {}), SHOWS_OF_THE_MODEL.get(name, {})
    (given,) = effects_of(values, model=model)
    (drawn,) = effects_of(values, model=model, data="synthetic: normal")
    assert drawn.confidence == pytest.approx(given.confidence / 2, abs=1e-3)


@pytest.mark.parametrize("name", SHOWS)
def test_outputs_are_left_alone(name, effects_of):
    assert effects_of(SHOWS[name], is_output=True) == ()


@pytest.mark.parametrize(
    ("values", "layer"),
    [
        (SHOWS["bias-driven"], {"followed_by": "bn1"}),
        (SHOWS["bias-driven"], {"part": "key"}),
        (SHOWS["units-alike"], {"role": Role.EMBEDDING}),
        (SHOWS["units-dead"], {"role": Role.EMBEDDING}),
        (SHOWS["outlier-channels"], {"role": Role.POSITIONAL}),
        (SHOWS["units-alike"], {"shape": (64, 4)}),
        (SHOWS["units-alike"], {"shape": (6, 64)}),
        ({"activity.dead_fraction": 0.01}, {}),
        ({"activity.outlier_channels": 20.0}, {}),
        ({"activity.max_to_median": 5000.0}, {}),
        ({"activity.max_abs": 5000.0}, {}),
    ],
    ids=[
        "bias-before-a-norm",
        "bias-of-keys",
        "table",
        "table-of-one-row",
        "table-of-positions",
        "few-inputs",
        "few-units",
        "one-unit",
        "many-channels",
        "small-but-ratio",
        "large-all-over",
    ],
)
def test_silent(values, layer, effects_of):
    assert effects_of(values, **layer) == ()


@pytest.mark.parametrize(
    ("model", "se"),
    [
        ({"model.activity_growth": 1e5, "model.activity_depth_correlation": 0.3}, None),
        ({"model.noise_sensitivity": 4.0}, 1.0),
        ({"input.ignored_fraction": 0.02}, None),
    ],
    ids=["up-and-down", "within-the-error", "a-few-inputs"],
)
def test_the_model_is_silent(model, se, effects_of):
    assert effects_of(model=model, se=se) == ()


def test_vanishing_activations_shrink(effects_of):
    model = {"model.activity_growth": 1e-5, "model.activity_depth_correlation": -1.0}
    (effect,) = effects_of(model=model)
    assert "shrink by a factor of 1e-05" in effect.text


def test_more_rows_make_dead_units_surer(effects_of):
    few, many = (effects_of(SHOWS["units-dead"] | {"activity.rows": n})[0].confidence for n in (100.0, 1000.0))
    assert few < many


def test_massive_activations_are_told_as_such(effects_of):
    (effect,) = effects_of({"activity.max_abs": 400.0, "activity.max_to_median": 9000.0})
    assert effect.effect == "outlier-channels"
    assert "massive" in effect.text


def test_sparse_activity_proves_no_penalty(effects_of):
    (effect,) = effects_of(SHOWS["sparse-activity"])
    assert "does not prove an activity penalty" in effect.text
    assert effect.confidence <= 0.3


def test_a_model_that_was_not_run_shows_nothing_of_this(make_layer, make_audit):
    assert see(make_audit(make_layer(values={"bias.share": 1.0}))) == ()


def test_units_without_weights_are_told_once(effects_of):
    (effect,) = effects_of(SHOWS["units-dead"] | {"kernel.dead_out_count": 16.0})
    assert effect.effect == "units-collapsed"
