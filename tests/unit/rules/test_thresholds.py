"""Thresholds: each has a word, is read where the rule runs, and the user's number holds for its rule alone."""

import ast
import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from regaudit import rules
from regaudit.rules import RULES, run
from regaudit.rules.base import Threshold, applied

FOLDER = Path(rules.__file__).parent


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_keys_are_words_and_unlike_each_other(rule):
    keys = [each.key for each in rule.thresholds]
    assert len(keys) == len(set(keys))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", key) and key != "level" for key in keys)


def test_every_threshold_that_can_be_set_is_read_somewhere():
    """One that is written out again where it is compared could not be set."""
    for path in FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text())
        module = import_module(f"regaudit.rules.{path.stem}")
        own = {
            node.targets[0].id
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(getattr(module, ast.unparse(node.targets[0]), None), Threshold)
        }
        uses = Counter(n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
        for name in own:
            in_tuple = path.stem != "batch"
            assert getattr(module, name).is_fixed or uses[name] > in_tuple, f"{path.name}: {name}"


def dead(model, audited, share):
    kernel = model.noise(64, 64)
    kernel[: int(share * 64)] = 0
    return audited(model.layer("l0", kernel))


def test_the_users_number_holds(model, audited):
    audit = dead(model, audited, 0.25)
    assert [each.rule for each in run(audit)] == ["RGA104"]
    (found,) = run(audit, {"RGA104": {"zero-units": 0.2}})
    assert (found.threshold, found.severity) == (0.2, "warn")
    (found,) = run(audit, {"RGA104": {"zero-units": 0.5, "small-units": 0.5}})
    assert found.severity == "info"


def test_it_holds_for_its_rule_alone(model, audited):
    audit = dead(model, audited, 0.25)
    others = {rule.code: {each.key: 1e9 for each in rule.thresholds} for rule in RULES if rule.code != "RGA104"}
    assert [each.rule for each in run(audit, others)] == ["RGA104"]


def test_it_holds_no_longer_than_it_should():
    number = Threshold("x", "x", 1.0, "", "choice")
    with applied({"x": 2.0}):
        assert number.value == 2.0
    assert number.value == 1.0


def test_fingerprints_do_not_depend_on_thresholds(model, audited):
    audit = dead(model, audited, 0.25)
    assert run(audit)[0].fingerprint == run(audit, {"RGA104": {"zero-units": 0.2}})[0].fingerprint


def test_what_a_rule_means_cannot_be_set(model, audited):
    kernel = np.full((8, 8), np.nan)
    (found,) = run(audited(model.layer("l0", kernel)), {"RGA101": {"nonfinite": 64.0}})
    assert found.threshold == 0
