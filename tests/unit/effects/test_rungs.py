"""The ladder: which rung decides, what contradicts it, and how it fits what the file declares."""

from dataclasses import replace

import pytest

from regaudit.effects import detect
from regaudit.effects.detected import RUNGS, _deciding
from regaudit.effects.rungs import RungVerdict
from regaudit.records import Adam, Agreement, Declared, LayerAudit, Measurement, Norm, Role, Site

DECLARED = {"target": "", "site": "parameters", "where": "optimizer", "unit": "torch.AdamW"}


def decay(value, **fields):
    return Declared(kind="decoupled_weight_decay", value=value, **{**DECLARED, **fields})


@pytest.fixture
def exposed(make_layer):
    """Return a layer whose weights without a gradient show an exposure."""

    def make(value, low, high, **fields):
        layer = make_layer(**fields)
        found = Measurement(
            layer=layer.layer.name,
            measure="kernel.decay_exposure",
            value=value,
            low=low,
            high=high,
            detail="inputs 0-3",
        )
        return replace(layer, measurements=(*layer.measurements, found))

    return make


def test_every_rung_says_when_it_holds():
    assert len({each.name for each in RUNGS}) == len(RUNGS)
    assert all(each.conditions.endswith(".") for each in RUNGS)


def test_nothing_is_told_from_nothing(make_audit, make_layer):
    assert detect(make_audit(make_layer())) is None


@pytest.mark.parametrize(("interval", "site"), [
    ((0.36, 0.32, 0.40), Site.KERNEL),
    ((0.01, 0.0, 0.03), Site.NONE),
    ((0.03, 0.0, 0.09), None),
    ((0.06, 0.04, 0.09), None),
], ids=["decay", "no decay", "wide", "inert or not"])  # fmt: skip
def test_an_exposure_decides_where_its_interval_does(make_audit, exposed, interval, site):
    found = detect(make_audit(exposed(*interval)))
    assert (found.site if found else None) is site
    assert found is None or found.rung == "dosimeters"


@pytest.mark.parametrize(("interval", "declared", "expected"), [
    ((0.36, 0.32, 0.40), (), None),
    ((0.36, 0.32, 0.40), (decay(0.1),), Agreement.AGREE),
    ((0.36, 0.32, 0.40), (decay(0.0),), Agreement.DISAGREE),
    ((0.01, 0.0, 0.03), (decay(0.0),), Agreement.AGREE),
    ((0.01, 0.0, 0.03), (decay(0.1),), Agreement.CANNOT_TELL),
    ((0.36, 0.32, 0.40), (Declared(target="fc1", site="activity", kind="l2", value=0.1, where="x"),), Agreement.CANNOT_TELL),
], ids=["nothing declared", "decay", "no decay declared", "none", "may have been too weak", "another site"])  # fmt: skip
def test_what_is_declared_is_compared(make_audit, exposed, interval, declared, expected):
    assert detect(make_audit(exposed(*interval), declared=declared)).agreement is expected


def test_declared_decay_that_should_have_shown_disagrees(make_audit, exposed):
    """0.1 · 1e-3 · 20,000 steps = 2: no dosimeter could miss it."""
    layer = exposed(0.01, 0.0, 0.03)
    kernel = layer.layer.parameters[0]
    trained = replace(layer.layer, adam=Adam(first=kernel, second=kernel, step=20_000))
    audit = make_audit(replace(layer, layer=trained), declared=(decay(0.1, learning_rate=1e-3),))
    assert detect(audit).agreement is Agreement.DISAGREE


def test_another_rung_that_says_otherwise_is_told_and_costs_confidence(make_audit, exposed):
    values = {"kernel.vanished_in_count": 4.0, "kernel.near_zero_fraction": 0.4}
    alone = detect(make_audit(exposed(0.36, 0.32, 0.40)))
    both = detect(make_audit(exposed(0.36, 0.32, 0.40, values=values)))
    assert both.contradictions
    assert both.contradictions[0].startswith("vanished inputs: ")
    assert both.confidence < alone.confidence
    assert alone.contradictions == ()


@pytest.mark.parametrize(("near", "norm", "coupling"), [(0.05, Norm.L2, "coupled"), (0.4, Norm.L1, "")])
def test_vanished_inputs_are_l1_where_other_weights_are_tiny_too(make_audit, make_layer, near, norm, coupling):
    values = {"kernel.vanished_in_count": 4.0, "kernel.near_zero_fraction": near, "kernel.ignored_in_fraction": 4 / 128}
    found = detect(make_audit(make_layer(values=values | {"kernel.vanished_scale": 1e-9})))
    assert (found.norm, found.coupling) == (norm, coupling)


def test_inputs_that_have_not_gone_far_tell_nothing(make_audit, make_layer):
    """The steps of L1 under Adam leave a size; L2 may be on its way."""
    values = {"kernel.vanished_in_count": 4.0, "kernel.vanished_scale": 1e-4, "kernel.near_zero_fraction": 0.05}
    assert detect(make_audit(make_layer(values=values))) is None


@pytest.mark.parametrize(("growth", "fires"), [(1.3, True), (8.0, False)])
def test_balance_that_growth_alone_explains_is_no_evidence(make_audit, make_layer, growth, fires):
    """Without a penalty SGD keeps ‖in‖² - ‖out‖² while both grow: 8² times less of them is no balance of L2."""
    values = {
        "model.unit_balance": 0.05,
        "model.unit_balance_to_chance": 0.1,
        "model.unit_balance_l1": 0.8,
        "model.growth_median": growth,
    }
    model = tuple(Measurement(layer="", measure=name, value=value) for name, value in values.items())
    assert (detect(make_audit(make_layer(), model=model)) is not None) is fires


@pytest.mark.parametrize(("mean", "growth", "norm"), [(5e-4, 1.5, Norm.L2), (0.05, 1.5, None), (5e-3, 10.0, None)])
def test_a_class_mean_that_is_gone_is_l2(make_audit, make_layer, mean, growth, norm):
    values = {"kernel.class_mean": mean, "kernel.growth": growth, "kernel.l1_norm": 50.0, "kernel.fro_norm": 2.0}
    found = detect(make_audit(make_layer(shape=(10, 64), is_output=True, values=values)))
    assert (found.norm if found else None) is norm


def test_the_norm_of_adamw_at_equilibrium_fits_the_declared_rates(make_audit, make_layer):
    """√(1e-3 / 0.2) = 0.0707."""
    layers = [make_layer(name=f"fc{i}", values={"kernel.rms": 0.07 + 0.001 * i}) for i in range(3)]
    audit = make_audit(*layers, declared=(decay(0.1, learning_rate=1e-3),))
    assert detect(audit).rung == "norm equilibrium"
    assert detect(replace(audit, declared=(decay(0.1, learning_rate=1e-4),))) is None


def test_embeddings_may_tell_where_kernels_do_not(make_audit, exposed):
    audit = make_audit(exposed(1.6, 1.5, 1.7, name="embed", role=Role.EMBEDDING))
    assert isinstance(audit.layers[0], LayerAudit)
    assert detect(audit).exposure.layers == ("embed",)


@pytest.mark.parametrize(("share", "gone", "norm", "coupling"), [
    (0.12, 0.01, Norm.L1, ""),
    (0.12, 0.9, Norm.L2, "coupled"),
    (0.02, 0.9, Norm.L2, "coupled"),
    (0.12, 0.25, None, ""),
    (0.03, 0.01, None, ""),
], ids=["L1", "coupled L2", "few, but gone", "between", "chance or activity"])  # fmt: skip
def test_single_small_weights(make_audit, make_layer, share, gone, norm, coupling):
    values = {"kernel.scattered_small_fraction": share, "kernel.gone_fraction": gone}
    found = detect(make_audit(make_layer(shape=(40, 40), values=values)))
    assert (found.norm if found else None) is norm
    assert found is None or (found.rung, found.coupling) == ("small weights", coupling)


def test_a_few_small_weights_are_too_few(make_audit, make_layer):
    values = {"kernel.scattered_small_fraction": 0.2, "kernel.gone_fraction": 0.0}
    assert detect(make_audit(make_layer(shape=(5, 7), values=values))) is None


@pytest.mark.parametrize(("chance", "growth", "fires"), [(0.1, 1.2, True), (0.5, 1.2, False), (0.1, 8.0, False)])
def test_attention_in_balance(make_audit, make_layer, chance, growth, fires):
    values = {"model.factor_balance_to_chance": chance, "model.growth_median": growth}
    model = tuple(Measurement(layer="", measure=name, value=value) for name, value in values.items())
    found = detect(make_audit(make_layer(), model=model))
    assert (found is not None and found.rung == "factor balance") is fires


@pytest.mark.parametrize(("imbalance", "fires"), [(0.004, True), (0.9, False)])
def test_adapters_in_balance(make_audit, make_layer, imbalance, fires):
    layer = make_layer(role=Role.ADAPTER, values={"kernel.factor_imbalance": imbalance})
    assert (detect(make_audit(layer)) is not None) is fires


@pytest.mark.parametrize(("slope", "fires"), [(0.001, True), (0.2, False), (-0.5, True)])
def test_the_slope_of_adam_can_only_exclude_decay(make_audit, make_layer, slope, fires):
    """0.05 of exposure over 1,000 steps of 1e-3 is a decay of 0.05."""
    layer = make_layer()
    kernel = layer.layer.parameters[0]
    found = Measurement(layer=layer.layer.name, measure="kernel.decay_slope", value=slope, se=0.01)
    layer = replace(
        layer,
        layer=replace(layer.layer, adam=Adam(first=kernel, second=kernel, step=1000)),
        measurements=(*layer.measurements, found),
    )
    seen = detect(make_audit(layer, declared=(decay(0.0, learning_rate=1e-3),)))
    assert (seen is not None and (seen.site, seen.rung) == (Site.NONE, "decay slope")) is fires
    assert detect(make_audit(layer)) is None


def verdict(site, norm=None, confidence=0.9):
    return RungVerdict(site=site, norm=norm, confidence=confidence, basis="weights", rationale=("It shows.",))


@pytest.mark.parametrize(("sites", "chosen"), [
    ((Site.KERNEL, Site.BIAS), 0),
    ((Site.NONE, Site.BIAS), 1),
    ((Site.NONE, Site.KERNEL, Site.ACTIVITY), 2),
    ((Site.NONE, Site.KERNEL), 0),
    ((Site.NONE,), 0),
], ids=["first", "bias beside no decay", "activity beside no decay", "kernels are decided", "alone"])  # fmt: skip
def test_no_decay_of_kernels_leaves_biases_and_activities_open(sites, chosen):
    fired = [(rung, verdict(site)) for rung, site in zip(RUNGS, sites, strict=False)]
    assert _deciding(fired) is fired[chosen]
