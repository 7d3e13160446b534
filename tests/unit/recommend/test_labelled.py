"""The choice between responses, and the recommendation that is made of it."""

import dataclasses
import math

import pytest

from regaudit.recommend import recommend
from regaudit.recommend.choice import choose, rows_needed
from regaudit.records import Action, Detected, Norm, ProbeRun, Response, Site, Skip
from regaudit.reports.sections import in_brief

KERNEL_L2 = (Site.KERNEL, Norm.L2)
KERNEL_L1 = (Site.KERNEL, Norm.L1)
PROBE = ProbeRun(runner="factory", model="m.py:build", data="train.npz", examples=80, val="val.npz", val_examples=40)


def response(
    penalty, strength, loss, *, gain=0.2, gain_se=0.05, behind=0.0, behind_se=0.02, method="retrained", **more
):
    site, norm = penalty
    return Response(
        site=site,
        norm=norm,
        strength=strength,
        estimand="retrain",
        loss=loss,
        gain=gain,
        gain_se=gain_se,
        behind=behind,
        behind_se=behind_se,
        method=method,
        **more,
    )


NONE = response((Site.NONE, None), 0.0, 0.6, gain=0.0, behind=0.2)
BEST = response(KERNEL_L2, 0.04, 0.4, shrinkage=0.1, sensitivity=0.5)
FAR = response(KERNEL_L2, 0.01, 0.5, behind=0.1)


@pytest.fixture
def advised(make_layer, make_audit):
    def of(*responses, **fields):
        audit = make_audit(
            make_layer(values={"kernel.growth": 1.2}), responses=responses, evidence="labels", probe=PROBE
        )
        return recommend(dataclasses.replace(audit, **fields))

    return of


def test_a_clear_gain_is_recommended_with_its_error(advised):
    advice = advised(NONE, BEST, FAR)
    assert (advice.action, advice.site, advice.norm, advice.basis) == (Action.ADD, *KERNEL_L2, "estimated")
    assert (advice.expected_gain, advice.expected_gain_se) == (0.2, 0.05)
    assert advice.strength_low <= 0.02 < advice.strength < 0.08 <= advice.strength_high
    assert (advice.estimand, advice.objective) == ("retrain", "validation loss")
    assert advice.confidence == 0.9
    assert all(each.value is not None for each in advice.rationale)
    assert "weight_decay" in advice.apply["pytorch"]


def test_a_gain_within_its_error_keeps_what_is_in_use_and_says_how_many_rows_decide(advised):
    advice = advised(NONE, dataclasses.replace(BEST, gain=0.02, gain_se=0.05))
    assert advice.action is Action.KEEP
    assert advice.expected_gain is None
    assert advice.confidence < 0.9
    rows = math.ceil(40 * (1.959964 * 0.05 / 0.02) ** 2)
    assert any(f"{rows:,} validation rows" in each.text for each in advice.rationale)
    assert advice.apply == {}


def test_a_penalty_that_is_known_to_be_in_use_is_kept_by_name(advised):
    found = Detected(
        site=Site.KERNEL,
        norm=Norm.L1,
        strength=0.003,
        strength_low=None,
        strength_high=None,
        confidence=0.9,
        basis="stationarity",
    )
    advice = advised(NONE, dataclasses.replace(BEST, gain=-0.1), detected=found)
    assert (advice.action, advice.site, advice.norm, advice.strength) == (Action.KEEP, *KERNEL_L1, 0.003)


def test_less_of_what_is_in_use_is_a_reduction(advised):
    found = Detected(
        site=Site.KERNEL,
        norm=Norm.L2,
        strength=0.5,
        strength_low=None,
        strength_high=None,
        confidence=0.9,
        basis="stationarity",
    )
    assert advised(NONE, BEST, detected=found).action is Action.REDUCE


def test_no_penalty_can_be_the_best(advised):
    advice = advised(dataclasses.replace(NONE, loss=0.3, gain=0.3), BEST)
    assert (advice.action, advice.site, advice.norm) == (Action.NONE, Site.NONE, None)


def test_the_next_step_without_a_penalty_names_no_strengths(advised):
    assert "without a penalty" in advised(dataclasses.replace(NONE, loss=0.3, gain=0.3), BEST).next_step


def test_a_bias_penalty_comes_without_advice_to_spare_the_bias(make_layer, make_audit):
    bias = response((Site.BIAS, Norm.L2), 3.0, 0.3)

    def advised_with(best):
        audit = make_audit(make_layer(is_output=True), responses=(NONE, best), evidence="labels", probe=PROBE)
        return any("never the bias" in each.advice for each in recommend(audit).layers)

    assert advised_with(BEST)
    assert not advised_with(bias)


def test_the_strength_is_a_mean_weighted_by_support():
    near = response(KERNEL_L2, 0.08, 0.41, behind=0.01, behind_se=0.01)
    weight = math.exp(-0.5)
    expected = math.exp((math.log(0.04) + weight * math.log(0.08)) / (1 + weight))
    assert choose([BEST, near, NONE], "accuracy").strength == pytest.approx(expected, rel=0.03)
    assert choose([BEST, NONE], "accuracy").strength == 0.04


def test_both_norms_at_once_are_recommended_only_where_every_single_one_is_clearly_behind(advised):
    both = response((Site.KERNEL, None), 0.02, 0.3, strength_l2=0.05, shrinkage=0.2, zero_fraction=0.5)
    advice = advised(NONE, dataclasses.replace(BEST, behind=0.1), both)
    assert (advice.site, advice.norm, advice.strength, advice.strength_l2) == (Site.KERNEL, None, 0.02, 0.05)
    assert (advice.strength_low, advice.strength_high) == (0.01, 0.04)
    assert "L1L2(l1=0.02, l2=0.05)" in advice.apply["keras"]
    assert any("kernel L1 0.02 and L2 0.05" in each.text for each in advice.rationale)
    assert in_brief(advice) == "add a kernel L1 and L2 penalty, strengths 0.02 and 0.05"

    advice = advised(NONE, dataclasses.replace(BEST, behind=0.03), both)
    assert (advice.norm, advice.strength_l2) == (Norm.L2, None)
    assert any("not clearly below the best of one alone" in each.text for each in advice.rationale)


def test_a_reduction_says_what_is_in_use(advised):
    found = Detected(
        site=Site.KERNEL,
        norm=Norm.L2,
        strength=0.4,
        strength_low=None,
        strength_high=None,
        confidence=0.9,
        basis="stationarity",
    )
    texts = [each.text for each in advised(NONE, BEST, detected=found).rationale]
    assert "Kernel L2 0.4 is in use (detected): 10 times as strong as what is recommended." in texts


def test_what_stays_without_being_known_is_no_advice_to_use_none(advised):
    advice = advised(NONE, dataclasses.replace(BEST, gain=0.02, gain_se=0.05))
    assert in_brief(advice) == "change nothing: train with what was used so far"


def test_rows_needed_fall_with_the_square_of_the_gain():
    assert rows_needed(response(KERNEL_L2, 0.1, 0.4, gain=0.1, gain_se=0.1), 100) == math.ceil(100 * 1.959964**2)
    assert rows_needed(response(KERNEL_L2, 0.1, 0.4, gain=0.0), 100) is None


def test_sparsity_takes_the_sparsest_l1_that_costs_nothing_clear(advised):
    sparse = response(KERNEL_L1, 0.1, 0.41, behind=0.01, zero_fraction=0.8)
    sparser = response(KERNEL_L1, 0.4, 0.9, behind=0.5, zero_fraction=0.99)
    advice = advised(NONE, BEST, sparse, sparser, objective="sparsity")
    assert (advice.site, advice.norm, advice.strength, advice.objective) == (*KERNEL_L1, 0.1, "sparsity")


def test_noise_takes_the_steadiest_that_costs_nothing_clear(advised):
    steady = response((Site.ACTIVITY, Norm.L2), 0.1, 0.41, behind=0.01, sensitivity=0.2)
    advice = advised(NONE, BEST, steady, objective="noise")
    assert (advice.site, advice.strength) == (Site.ACTIVITY, 0.1)


def test_what_was_only_screened_does_not_decide(advised):
    screened = response((Site.BIAS, Norm.L2), 3.0, 0.1, method="screened")
    advice = advised(NONE, BEST, screened)
    assert advice.site is Site.KERNEL
    assert any(each.site is Site.BIAS and "first, shorter" in each.why_not for each in advice.alternatives)


def test_the_rationale_names_the_inputs_that_l1_drops(advised):
    sparse = response(KERNEL_L1, 0.04, 0.4, shrinkage=0.25, zero_fraction=0.6, dropped_inputs=(2, 3, 4, 9))
    text = " ".join(each.text for each in advised(NONE, sparse).rationale)
    assert "drop inputs 2-4, 9 (4 in all" in text
    assert "0.5 times as large" in text
    assert "60% of them to about zero" in text


def test_the_last_layer_alone_is_a_hint_and_no_recommendation(advised):
    alone = dataclasses.replace(BEST, layer="fc1")
    advice = advised(dataclasses.replace(NONE, layer="fc1"), alone)
    assert advice.basis == "default"
    assert advice.expected_gain is None
    assert any("only its last layer, fc1" in each.text for each in advice.rationale)
    assert any(each.layers == ("fc1",) and "kernel L2 0.04" in each.advice for each in advice.layers)
    unclear = dataclasses.replace(alone, gain=0.01)
    assert not any("kernel L2 0.04" in each.advice for each in advised(unclear).layers)


def test_a_layer_that_the_strength_would_empty_is_named_where_another_is_spared(make_layer, make_audit):
    empty = {"kernel.curvature_mean": 1e-4, "kernel.growth": 1.0}
    spared = {"kernel.curvature_mean": 10.0, "kernel.growth": 1.0}

    def hinted(*values):
        layers = [make_layer(f"fc{i}", values=each) for i, each in enumerate(values)]
        advice = recommend(make_audit(*layers, responses=(NONE, BEST), evidence="labels", probe=PROBE))
        return [each.layers for each in advice.layers if "weaker" in each.advice]

    assert hinted(empty, spared) == [("fc0",)]
    assert hinted(empty, empty) == []
    assert hinted(spared, spared) == []


def test_without_responses_the_reason_is_told(advised):
    skip = Skip(layer="", measure="response", reason="needs at least 16 labelled rows, found 8")
    advice = advised(model_skips=(skip,))
    assert advice.basis == "default"
    assert any("16 labelled rows" in each.text for each in advice.rationale)


def test_a_kernel_that_something_holds_already_is_kept(make_layer, make_audit):
    held = make_layer("fc1", values={"kernel.growth": 0.3})
    grown = make_layer("fc2", values={"kernel.growth": 1.5})
    advice = recommend(make_audit(held, grown))
    assert (advice.action, advice.strength) == (Action.KEEP, None)
    assert advice.rationale[0].value == 0.3
