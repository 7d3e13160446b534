"""The record of a penalty, and how a report's recommendation becomes one."""

import json

import pytest

from regaudit.errors import ConfigError
from regaudit.penalties.penalty import Penalty, from_report
from regaudit.records import Role, Site


def report(**recommended):
    return {"recommendation": {"site": "kernel", "norm": "l2", "strength": 0.01, "layers": [], **recommended}}


def test_plain_words_become_records():
    penalty = Penalty(site="bias", l1=0.1, layers="head", except_layers=["a", "b"], roles=["conv"])
    assert penalty.site is Site.BIAS
    assert (penalty.layers, penalty.except_layers) == (("head",), ("a", "b"))
    assert penalty.roles == {Role.CONV}
    hash(penalty)


@pytest.mark.parametrize(
    "wrong",
    [
        {"site": "none"},
        {"site": "weights"},
        {"site": "kernel", "l1": -1.0},
        {"site": "kernel", "l2": float("nan")},
        {"site": "kernel", "l2": float("inf")},
        {"site": "kernel", "l2": "0.1"},
        {"site": "kernel", "l2": True},
        {"site": "kernel", "roles": ["heads"]},
    ],
)
def test_what_is_no_penalty_is_refused(wrong):
    with pytest.raises(ConfigError, match="penalty"):
        Penalty(**wrong)


@pytest.mark.parametrize(
    ("fields", "covered"),
    [
        ({}, True),
        ({"layers": "encoder.*"}, True),
        ({"layers": "*.weight"}, True),
        ({"layers": "head*"}, False),
        ({"except_layers": "encoder.fc1"}, False),
        ({"except_layers": "*.weight"}, False),
        ({"layers": ("head", "*fc1"), "except_layers": ("*fc2",)}, True),
        ({"roles": ["conv"]}, False),
    ],
)
def test_rules_by_name_and_role(fields, covered):
    penalty = Penalty(site="kernel", l2=1.0, **fields)
    assert penalty.covers("encoder.fc1", "encoder.fc1.weight", role=Role.DENSE) is covered


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_report_gives_its_recommendation(tmp_path, norm):
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(report(norm=norm)))
    (penalty,) = from_report(path)
    assert (penalty.site, penalty.l1, penalty.l2) == (Site.KERNEL, 0.01 * (norm == "l1"), 0.01 * (norm == "l2"))
    assert from_report(str(path)) == from_report(report(norm=norm)) == (penalty,)


def test_layers_that_the_report_excludes_are_left_out_by_their_exact_names():
    hints = [{"layers": ["emb[0]"], "advice": "exclude"}, {"layers": ["fc1"], "advice": "look at the initialisation"}]
    (penalty,) = from_report(report(layers=hints))
    assert not penalty.covers("emb[0]", role=Role.DENSE)
    assert not penalty.covers("model.emb[0]", role=Role.DENSE)
    assert penalty.covers("emb0", role=Role.DENSE)
    assert penalty.covers("fc1", role=Role.DENSE)


def test_both_norms_at_once_are_one_penalty():
    (penalty,) = from_report(report(norm=None, strength=0.01, strength_l2=0.03))
    assert (penalty.site, penalty.l1, penalty.l2) == (Site.KERNEL, 0.01, 0.03)


def test_no_penalty_is_no_penalty():
    assert from_report(report(site="none", norm=None, strength=None)) == ()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "no recommendation"),
        ({"recommendation": None}, "no recommendation"),
        (report(strength=None), "without a strength"),
        (report(strength="0.1"), "expected a number"),
        (report(site="weights"), "recommends weights"),
        (report(norm="l3"), "l3"),
    ],
)
def test_what_cannot_be_applied_is_said(document, words):
    with pytest.raises(ConfigError, match=words):
        from_report(document)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_file_that_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "audit.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"audit\.json"):
        from_report(path)
    with pytest.raises(ConfigError, match=r"absent\.json"):
        from_report(tmp_path / "absent.json")
