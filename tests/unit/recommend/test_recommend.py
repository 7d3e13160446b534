import dataclasses
import json

import pytest

from regaudit.effects import see
from regaudit.recommend import recommend
from regaudit.records import Action, Declared, Norm, Role, Site, TensorSkip

PLAIN = {
    "kernel.growth": 1.3,
    "kernel.fro_norm": 9.0,
    "kernel.zero_fraction": 0.0,
    "kernel.dead_out_count": 0.0,
    "kernel.excess_kurtosis": 0.4,
}


def declared(value=0.01, *, site="kernel", kind="l2", unit="keras", target="fc1"):
    return Declared(target=target, site=site, kind=kind, value=value, where="config.json", unit=unit)


def decay(value, unit="torch.AdamW"):
    kind = "decoupled_weight_decay" if unit.endswith("AdamW") else "weight_decay"
    return declared(value, site="parameters", kind=kind, unit=unit, target="")


@pytest.fixture
def recommended(make_layer, make_audit):
    def of(*layers, entries=(), **values):
        layers = layers or (make_layer(values=PLAIN | {n.replace("__", "."): v for n, v in values.items()}),)
        audit = make_audit(*layers, declared=tuple(entries))
        return recommend(dataclasses.replace(audit, effects=see(audit)))

    return of


@pytest.fixture
def large(make_layer):
    def of(*roles):
        return tuple(make_layer(f"l{i}", (1024, 1024), role=role, values=PLAIN) for i, role in enumerate(roles))

    return of


def test_nothing_known_gives_the_prior_with_little_confidence(recommended):
    answer = recommended()
    assert (answer.action, answer.site, answer.norm, answer.strength) == (Action.ADD, Site.KERNEL, Norm.L2, 0.01)
    assert answer.strength_low <= answer.strength / 3
    assert answer.strength_high >= answer.strength * 3
    assert answer.basis == "default"
    assert answer.confidence <= 0.35
    assert (answer.estimand, answer.objective) == ("retrain", "validation loss")


@pytest.mark.parametrize(
    ("roles", "strength"),
    [
        ([Role.CONV, Role.DENSE], 1e-4),
        ([Role.ATTENTION, Role.DENSE], 1e-5),
        ([Role.RECURRENT], 6e-7),
        ([Role.DENSE], 1e-4),
        ([Role.CONV, Role.CONV, Role.RECURRENT], 1e-4),
    ],
    ids=["conv", "transformer", "recurrent", "dense", "mostly-conv"],
)
def test_large_models_take_the_default_of_their_kind(roles, strength, recommended, large):
    assert recommended(*large(*roles)).strength == strength


def test_transformers_are_told_in_adamw(recommended, large):
    answer = recommended(*large(Role.ATTENTION))
    assert "AdamW" in answer.apply["pytorch"]
    assert "weight_decay=0.01" in answer.apply["keras"]
    assert any("no L2 penalty" in r.text for r in answer.rationale)


@pytest.mark.parametrize(
    ("entries", "values", "expected"),
    [
        ([declared(0.01)], {}, (Action.KEEP, Site.KERNEL, Norm.L2, 0.01)),
        ([declared(5.0)], {}, (Action.REDUCE, Site.KERNEL, Norm.L2, 0.01)),
        ([declared(1e-6)], {}, (Action.ADD, Site.KERNEL, Norm.L2, 0.01)),
        ([declared(0.05)], {"kernel__growth": 0.05}, (Action.REDUCE, Site.KERNEL, Norm.L2, 0.005)),
        ([declared(0.05)], {"kernel__dead_out_count": 40}, (Action.REDUCE, Site.KERNEL, Norm.L2, 0.005)),
        ([declared(0.03, kind="l1")], {}, (Action.KEEP, Site.KERNEL, Norm.L1, 0.03)),
        ([declared(0.03, site="activity")], {}, (Action.KEEP, Site.ACTIVITY, Norm.L2, 0.03)),
        ([declared(0.03, site="activity"), declared(0.02)], {}, (Action.KEEP, Site.KERNEL, Norm.L2, 0.02)),
        ([declared(0.0)], {}, (Action.ADD, Site.KERNEL, Norm.L2, 0.01)),
        ([decay(0.02, "torch.SGD")], {}, (Action.KEEP, Site.KERNEL, Norm.L2, 0.01)),
        ([decay(0.1)], {}, (Action.KEEP, Site.KERNEL, Norm.L2, 0.01)),
        ([declared(0.5, kind="dropout", unit="")], {}, (Action.ADD, Site.KERNEL, Norm.L2, 0.01)),
        ([], {"kernel__zero_fraction": 1.0}, (Action.NONE, Site.NONE, None, None)),
        ([], {"kernel__dead_out_count": 40}, (Action.ADD, Site.KERNEL, Norm.L2, 0.01)),
    ],
    ids=[
        "keep",
        "beyond-practice",
        "below-practice",
        "overshrunk",
        "dead-units",
        "l1",
        "activity",
        "kernel-first",
        "zero-is-none",
        "sgd",
        "adamw",
        "dropout-is-none",
        "all-zero",
        "dead-undeclared",
    ],
)
def test_the_action_is_relative_to_what_is_declared(entries, values, expected, recommended):
    answer = recommended(entries=entries, **values)
    assert (answer.action, answer.site, answer.norm, answer.strength) == expected
    if answer.strength is not None:
        assert answer.strength_low <= answer.strength <= answer.strength_high


def test_decoupled_decay_is_kept_as_it_is(recommended):
    answer = recommended(entries=[decay(0.1)])
    assert '"weight_decay": 0.1' in answer.apply["pytorch"]
    assert "no λ" in answer.rationale[0].text


def test_an_undeclared_collapse_lowers_the_confidence(recommended):
    answer = recommended(kernel__dead_out_count=40)
    assert answer.confidence == 0.25
    assert answer.rationale[0].text.startswith("62% of the units have no weights")


@pytest.mark.parametrize("role", [Role.NORM, Role.EMBEDDING, Role.UNKNOWN])
def test_without_kernels_nothing_is_penalised(role, make_layer, recommended):
    answer = recommended(make_layer(role=role))
    assert (answer.action, answer.strength) == (Action.NONE, None)
    assert answer.confidence <= 0.1


def test_adapters_take_no_decay(make_layer, recommended):
    answer = recommended(make_layer("q.lora", role=Role.ADAPTER, bias=False))
    assert answer.action is Action.NONE
    assert [h.advice for h in answer.layers] == ["no decay on A and B by default"]


def test_hints_name_the_layers_to_treat_differently(make_layer, recommended):
    layers = (
        make_layer("table", role=Role.EMBEDDING, bias=False),
        make_layer("conv1", followed_by="bn1", values=PLAIN),
        make_layer("bn1", role=Role.NORM),
        make_layer("head", is_output=True, values=PLAIN, tied_to=("table2",)),
    )
    told = {h.advice: h.layers for h in recommended(*layers).layers}
    assert told == {
        "exclude": ("bn1",),
        "decay only as a learning-rate schedule": ("conv1",),
        "penalise once, or exclude": ("head",),
        "penalise the kernel mildly, never the bias": ("head",),
    } | {"exclude": ("bn1",)}
    assert [h.layers for h in recommended(*layers).layers if h.advice == "exclude"] == [("table",), ("bn1",)]


@pytest.mark.parametrize("entries", [[], [declared(0.01)], [declared(5.0)], [decay(0.1)]], ids=str)
def test_the_rationale_is_sentences_with_numbers(entries, recommended):
    answer = recommended(entries=entries)
    assert 3 <= len(answer.rationale) <= 6
    for reason in answer.rationale:
        assert reason.text[0].isupper() or reason.text[0].isdigit()
        assert reason.text.endswith(".")
        assert reason.measure
        assert reason.value is not None
    json.dumps([r.value for r in answer.rationale], allow_nan=False)


def test_every_other_penalty_is_told_with_why_not(recommended):
    answer = recommended()
    considered = {(a.site, a.norm) for a in answer.alternatives}
    assert considered == {(Site.KERNEL, Norm.L1), (Site.BIAS, Norm.L2), (Site.ACTIVITY, Norm.L2), (Site.NONE, None)}
    assert all(a.why_not.endswith(".") for a in answer.alternatives)


def test_weights_that_are_not_finite_come_first(make_layer, recommended):
    answer = recommended(make_layer(values={"kernel.nonfinite_count": 3.0}))
    assert answer.rationale[1].text.startswith("3 weights not finite")
    assert "kernel.squared_fro_norm" not in {r.measure for r in answer.rationale}


def test_an_overflowing_norm_is_left_out(recommended):
    answer = recommended(kernel__fro_norm=1e300)
    assert "kernel.squared_fro_norm" not in {r.measure for r in answer.rationale}


@pytest.mark.parametrize("entries", [[], [decay(0.1)], [declared(0.1, site="bias")]], ids=["prior", "adamw", "bias"])
def test_the_lines_to_apply_compile(entries, recommended):
    answer = recommended(entries=entries)
    assert set(answer.apply) == {"keras", "pytorch", "adamw"}
    compile(answer.apply["keras"], "keras", "exec")
    compile(answer.apply["pytorch"], "pytorch", "exec")


def test_the_default_of_kernel_l2_does_not_explain_another_penalty(recommended):
    answer = recommended(entries=[declared(0.01, site="activity")])
    assert (answer.action, answer.site, answer.strength) == (Action.KEEP, Site.ACTIVITY, 0.01)
    assert not any("Keras' own L2" in reason.text for reason in answer.rationale)


def test_other_declared_penalties_are_named(recommended):
    answer = recommended(entries=[declared(), declared(1e-4, kind="l1", site="bias")])
    assert any("Also declared: L1 0.0001 on the bias" in reason.text for reason in answer.rationale)


def test_lines_say_where_a_partial_penalty_belongs(recommended, make_layer):
    layers = [make_layer(name, values=PLAIN) for name in ("fc1", "fc2")]
    assert "fc1" in recommended(*layers, entries=[declared()]).apply["keras"]
    assert "fc1" not in recommended(*layers, entries=[decay(0.02, "torch.SGD")]).apply["keras"]


def test_the_same_decay_in_two_places_is_one(recommended):
    group = dataclasses.replace(decay(0.02, "torch.SGD"), target="param group 0")
    answer = recommended(entries=[decay(0.02, "torch"), group])
    assert not any("Also declared" in reason.text for reason in answer.rationale)
    assert answer.strength == 0.01


def test_decay_before_normalizations_alone_is_kept(recommended, make_layer):
    layers = [make_layer(f"c{i}", role=Role.CONV, values=PLAIN, followed_by=f"bn{i}") for i in range(2)]
    answer = recommended(*layers, entries=[decay(1e-4, "torch.SGD")])
    assert (answer.action, answer.strength) == (Action.KEEP, 5e-5)


def test_a_small_recurrent_network_follows_its_own_practice(recommended, make_layer):
    layers = [make_layer(f"gate{i}", (64, 64), role=Role.RECURRENT, values=PLAIN) for i in range(8)]
    assert recommended(*layers).strength == 6e-7


def test_nothing_is_applied_where_nothing_was_measured(make_audit):
    skips = (TensorSkip(tensor="w", reason="packed", blocking=True),)
    audit = make_audit()
    answer = recommend(dataclasses.replace(audit, coverage=dataclasses.replace(audit.coverage, skipped=skips)))
    assert answer.apply == {}
    assert "nothing can be recommended" in answer.rationale[0].text
