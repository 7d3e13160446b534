"""Rules on what the file declares, against what the weights show or what the model has."""

from dataclasses import replace

import numpy as np
import pytest

from regaudit.records import Agreement, Declared, Detected, Norm, Role, Site, Use

DECAY = Declared(target="", site="parameters", kind="decoupled_weight_decay", value=0.1, where="m.pt", unit="adamw")


def norm(model, name="ln"):
    return model.layer(name, role=Role.NORM, more=[(Use.SCALE, np.linspace(0.9, 1.1, 32)), (Use.OFFSET, np.zeros(32))])


def table(model):
    return model.layer("embed", model.noise(32, 100), role=Role.EMBEDDING)


def detected(**changes):
    found = Detected(
        site=Site.NONE, norm=None, strength=None, strength_low=None, strength_high=None, confidence=0.95,
        basis="weights", agreement=Agreement.DISAGREE,
    )  # fmt: skip
    return replace(found, **changes)


class TestContradicted:
    def test_fires(self, model, findings):
        found = findings(*model.like_four(width=32), detected=detected())
        assert found == [("declared-penalty-contradicted", "", "info")]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({}, "no penalty on kernels, confidence 0.95"),
            ({"site": Site.KERNEL, "norm": Norm.L1, "strength": 0.0123}, "kernel L1 0.0123"),
            ({"site": Site.KERNEL, "norm": Norm.L2}, "kernel L2, confidence"),
        ],
        ids=["none", "with strength", "without"],
    )
    def test_says_which(self, changes, words, model, audited):
        from regaudit.rules import run

        (found,) = run(audited(*model.like_four(width=32), detected=detected(**changes)))
        assert words in found.message

    @pytest.mark.parametrize(
        "changes",
        [
            {"agreement": None},
            {"agreement": Agreement.AGREE},
            {"agreement": Agreement.CANNOT_TELL},
            {"confidence": 0.79},
        ],
        ids=["nothing declared", "agrees", "cannot tell", "unsure"],
    )
    def test_silent(self, changes, model, findings):
        assert findings(*model.like_four(width=32), detected=detected(**changes)) == []


class TestDecayOnEverything:
    def test_fires_on_normalizations_and_tables(self, model, audited):
        from regaudit.rules import run

        (found,) = run(audited(*model.like_four(width=32), norm(model), table(model), declared=(DECAY,)))
        assert found.name == "declared-decay-on-everything"
        assert "also on 1 normalization and 1 table of embeddings." in found.message

    @pytest.mark.parametrize(
        "declared",
        [
            (),
            (replace(DECAY, value=0.0),),
            (DECAY, replace(DECAY, target="group 1", value=0.0)),
            (DECAY, replace(DECAY, target="group 1", value=0.01)),
            (replace(DECAY, site="kernel", target="l1", kind="l2", unit="keras"),),
        ],
        ids=["nothing", "no decay", "two groups", "two decays", "a layer's own"],
    )
    def test_silent_on(self, declared, model, findings):
        assert findings(*model.like_four(width=32), norm(model), declared=declared) == []

    def test_silent_on_plain_kernels_and_biases(self, model, findings):
        assert findings(*model.like_four(width=32), declared=(DECAY,)) == []
