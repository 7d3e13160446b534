"""Every bundled checkpoint says what a second implementation said of it when it was made."""

import json
from pathlib import Path

import pytest

import regaudit

FOLDERS = sorted(p.parent for p in (Path(__file__).resolve().parent.parent / "fixtures").glob("*/expected.json"))
# bfloat16 and float32 files are exact in float64; the sums differ by the order of addition only.
RELATIVE = 1e-9


@pytest.fixture(params=FOLDERS, ids=lambda p: p.name, scope="module")
def case(request):
    expected = json.loads((request.param / "expected.json").read_text())
    return expected, regaudit.audit(request.param / expected["path"], regaudit.Options(tensors=True))


def test_tensors_agree(case):
    expected, audit = case
    found = {t.tensor.name: t for t in audit.tensors}
    assert set(found) == set(expected["tensors"])
    for name, want in expected["tensors"].items():
        assert list(found[name].tensor.shape) == want["shape"], name
        assert found[name].sum == pytest.approx(want["sum"], rel=RELATIVE, abs=1e-7), name
        assert found[name].fro_norm == pytest.approx(want["fro_norm"], rel=RELATIVE), name


def test_every_declared_penalty_is_reported(case):
    expected, audit = case
    for target, site, kind, value in expected["declared"]:
        matching = [
            d
            for d in audit.declared
            if d.target.startswith(target) and d.kind == kind and d.value == pytest.approx(value)
        ]
        assert matching, f"{target} {site} {kind} {value} not in {audit.declared}"


def test_findings_are_the_known_ones(case):
    expected, audit = case
    assert {(f.name, f.layer) for f in audit.findings} == {tuple(f) for f in expected["findings"]}


def test_normalizations_that_follow_are_seen(case):
    expected, audit = case
    followed = {each.layer.name: each.layer.followed_by for each in audit.layers}
    for layer, norm in expected.get("followed_by", {}).items():
        assert followed[layer] == norm


def test_coverage_is_whole(case):
    _, audit = case
    assert audit.coverage.status == "complete"
    assert audit.coverage.measured + len(audit.coverage.skipped) == audit.coverage.tensors
