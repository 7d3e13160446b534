"""One network as weights with its code, as a .pt2 program and as ONNX: the same layers, activations and sensitivities."""

import json
from pathlib import Path

import pytest

import regaudit
from regaudit import probes

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).resolve().parents[3] / "fixtures" / "three_ways"
WAYS = {
    "factory": ("model.safetensors", f"{FOLDER}/model.py:build"),
    "pt2": ("model.pt2", ""),
    "onnx": ("model.onnx", ""),
}


@pytest.fixture(scope="module")
def audits():
    """Each way probed on the same labelled data; without the trainings of a recommendation, which have their own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "PROBES", tuple(each for each in probes.PROBES if each.name != "response"))
        return {way: _audit(path, model) for way, (path, model) in WAYS.items()}


def _audit(path, model):
    probing = regaudit.Probing(
        model=model, probe=str(FOLDER / "train.npz"), val=str(FOLDER / "val.npz"), loss="cross_entropy"
    )
    return regaudit.audit(FOLDER / path, regaudit.Options(spectrum="off", probing=probing))


def test_each_way_has_a_runner_of_its_own(audits):
    assert {way: audit.probe.runner for way, audit in audits.items()} == {way: way for way in WAYS}


def test_losses_are_those_of_the_second_implementation(audits):
    expected = json.loads((FOLDER / "expected.json").read_text())["losses"]
    for audit in audits.values():
        found = {each.measure: each.value for each in audit.model}
        assert found["model.train_loss"] == pytest.approx(expected["train"], rel=1e-4)
        assert found["model.val_loss"] == pytest.approx(expected["val"], rel=1e-4)


@pytest.mark.parametrize("way", ["pt2", "onnx"])
def test_layers_and_measurements_agree(audits, way):
    reference, other = audits["factory"], audits[way]
    assert [each.layer.name for each in other.layers] == [each.layer.name for each in reference.layers]
    for one, two in zip(reference.layers, other.layers, strict=True):
        values = {each.measure: each.value for each in two.measurements}
        for each in one.measurements:
            tolerance = 1e-4 if "sensitivity" in each.measure or "gradient" in each.measure else 1e-5
            assert values[each.measure] == pytest.approx(each.value, rel=tolerance, abs=1e-7), each.measure


@pytest.mark.parametrize("way", ["pt2", "onnx"])
def test_sensitivities_agree(audits, way):
    values = {each.measure: each.value for each in audits[way].model}
    for each in audits["factory"].model:
        assert values[each.measure] == pytest.approx(each.value, rel=1e-4, abs=1e-7), each.measure


def test_nothing_was_refused_by_the_model(audits):
    for audit in audits.values():
        skips = [*audit.model_skips, *(skip for layer in audit.layers for skip in layer.skips)]
        assert not [each for each in skips if "does not allow" in each.reason]
