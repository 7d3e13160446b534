"""Numbers whose λ needs the number of training examples: they are declared, and stay in their own unit."""

import dataclasses

import pytest

from regaudit.effects import see
from regaudit.recommend import recommend
from regaudit.records import Action, Declared, Norm, Site

VALUES = {"kernel.growth": 1.3, "kernel.fro_norm": 9.0, "kernel.zero_fraction": 0.0, "kernel.dead_out_count": 0.0}
RIDGE = ("alpha", 2.0, "sklearn.Ridge")
LOGISTIC = ("C", 0.5, "sklearn.LogisticRegression")
HUBER = ("alpha", 0.1, "")


@pytest.fixture
def recommended(make_layer, make_audit):
    def of(key, value, unit, **values):
        entry = Declared(target="", site="kernel", kind="l2", value=value, where=f"model.skops: {key}", unit=unit)
        audit = make_audit(make_layer(values=VALUES | values), declared=(entry,))
        return recommend(dataclasses.replace(audit, effects=see(audit)))

    return of


@pytest.mark.parametrize("entry", [RIDGE, LOGISTIC, HUBER], ids=["ridge", "logistic", "unknown-unit"])
def test_what_is_declared_is_kept(recommended, entry):
    answer = recommended(*entry)
    assert (answer.action, answer.site, answer.norm, answer.strength) == (Action.KEEP, Site.KERNEL, Norm.L2, None)
    assert (answer.strength_low, answer.strength_high, answer.basis) == (None, None, "declared")
    assert not answer.apply
    texts = " ".join(reason.text for reason in answer.rationale)
    assert "declares no penalty" not in texts
    assert f"model.skops: {entry[0]}" in texts


@pytest.mark.parametrize(
    ("entry", "words"),
    [(RIDGE, "0.002 at N = 1,000, 2e-5 at N = 100,000"), (LOGISTIC, "0.001 at N = 1,000, 1e-5 at N = 100,000")],
)
def test_it_says_that_the_strength_needs_n_and_gives_examples(recommended, entry, words):
    texts = [reason.text for reason in recommended(*entry).rationale]
    assert "needs the number N of training examples" in texts[0]
    assert any(words in text for text in texts)


@pytest.mark.parametrize(("entry", "words"), [(RIDGE, "Take a tenth of"), (LOGISTIC, "Take ten times")])
def test_a_collapse_asks_for_less_in_the_unit_of_the_number(recommended, entry, words):
    answer = recommended(*entry, **{"kernel.dead_out_count": 40.0})
    assert (answer.action, answer.strength) == (Action.REDUCE, None)
    assert words in answer.rationale[0].text


def test_a_penalty_without_a_number_is_not_denied(recommended):
    answer = recommended("alpha", None, "sklearn.Ridge")
    assert "no penalty whose strength could be read" in answer.rationale[0].text
