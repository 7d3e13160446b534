"""The section that explains a layer: what is known at each level of evidence, and what would get the rest."""

from dataclasses import replace

import pytest

from regaudit.records import Explanation, Measurement, Norm, Prediction, Pulls, Site, Use
from regaudit.reports import Report
from regaudit.reports.json import render as as_json
from regaudit.reports.reading import read
from regaudit.reports.terminal import render

PRESENT = Prediction(site=Site.NONE, norm=None, strength=0.0, kernel_norm=2.0, bias_norm=0.5, zero_fraction=0.0)
PULLS = Pulls(use=Use.KERNEL, percents=(50, 100), weights=(0.1, 0.4))
BARE = Explanation(layer="head", pulls=(PULLS,), present=PRESENT, reason="It needs labels.")


@pytest.fixture
def report(reports):
    def make(explanation, *measurements, evidence="weights"):
        audit = reports["healthy"].audit
        layers = tuple(
            replace(each, measurements=(*each.measurements, *measurements)) if each.layer.name == "head" else each
            for each in audit.layers
        )
        return Report(audit=replace(audit, layers=layers, evidence=evidence, explanations=(explanation,)))

    return make


@pytest.fixture
def labelled(report):
    pulls = replace(PULLS, pulls=(0.01, 0.02), outward=(-0.01, 0.02))
    penalised = replace(
        PRESENT,
        site=Site.KERNEL,
        norm=Norm.L1,
        strength=0.01,
        kernel_norm=1.25,
        zero_fraction=0.75,
        dropped_inputs=(0, 3),
    )
    found = replace(BARE, pulls=(pulls,), predictions=(PRESENT, penalised), model="joint", reason="")
    values = {
        "l1_threshold_10": 0.003,
        "l1_threshold_50": 0.03,
        "l1_threshold_90": 0.3,
        "l2_equilibrium_strength": 0.07,
    }
    measured = [Measurement(layer="head", measure=f"kernel.{k}", value=v) for k, v in values.items()]
    return report(found, *measured, evidence="labels")


def test_weights_alone_say_what_is_missing_and_the_command_for_it(report):
    text = render(report(BARE))
    assert "Explained: head" in text
    assert "It needs labels." in text
    assert (
        "regaudit inspect model.safetensors --explain head --model FILE.py:build --probe train.npz --loss mse" in text
    )


def test_labels_show_thresholds_equilibrium_and_predictions(labelled):
    text = render(labelled)
    words = " ".join(text.split())
    assert "L1 zeroes 10% from 0.0030, 50% from 0.030, 90% from 0.30" in words
    assert "w = u/(2λ) with λ = 0.070" in words
    (row,) = (line.split() for line in text.splitlines() if "kernel L1" in line)
    assert row == ["kernel", "L1", "0.01", "1.25", "0.50", "75%", "2"]
    assert "--explain head" not in text


def test_it_comes_back_from_a_saved_report(labelled):
    raw = as_json(labelled)
    again = read(raw, "run.json")
    assert again.audit.explanations == labelled.audit.explanations
    assert as_json(again) == raw


def test_weights_that_the_data_want_smaller_have_no_equilibrium(report):
    measured = Measurement(layer="head", measure="kernel.l2_equilibrium_strength", value=-0.01)
    assert "No L2 holds it" in render(report(BARE, measured, evidence="labels"))
