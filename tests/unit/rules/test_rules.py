"""What every rule must say of itself, and how findings are put together."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from regaudit.errors import ConfigError
from regaudit.records import Confidence, Remark, Severity
from regaudit.rules import RULES, describe, explain, find, run
from regaudit.rules.base import Cost
from regaudit.rules.pages import COSTS, escape

TESTS = [
    path.read_text()
    for folder in ("rules", "policy", "../cli")
    for path in (Path(__file__).parents[1] / folder).glob("*.py")
]
NAMES = {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
class TestEveryRule:
    def test_code_and_name(self, rule):
        assert re.fullmatch(r"RGA[1-9]\d\d", rule.code)
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.name)

    def test_module_has_its_name(self, rule):
        module = __import__(f"regaudit.rules.{rule.name.replace('-', '_')}", fromlist=["RULE"])
        assert module.RULE is rule
        assert rule.page == module.__doc__

    def test_page_is_whole(self, rule):
        assert rule.summary.endswith(".")
        assert all([rule.why, rule.how, rule.fix, rule.silent_on, rule.example])

    def test_cost_is_what_it_reads(self, rule):
        """A rule that names a measure of data or of a spectrum must say that it needs them."""
        source = Path(import_module(f"regaudit.rules.{rule.name.replace('-', '_')}").__file__).read_text()
        code = source.replace(rule.page, "")
        needed = {
            Cost.LABELS: r'"model\.val_loss|generalization_gap',
            Cost.PROBE: r'"activity\.|"input\.|noise_sensitivity|activity_growth',
            Cost.SPECTRUM: r'"kernel\.effective_rank"|untouched',
        }
        found = next((cost for cost, pattern in needed.items() if re.search(pattern, code)), None)
        assert found is None or rule.cost is found
        assert f"\nNeeds\n  {COSTS[rule.cost]}" in explain(rule)

    def test_it_is_tested(self, rule):
        assert any(f'"{rule.name}"' in text or rule.code in text for text in TESTS)

    def test_thresholds_have_a_source(self, rule):
        assert all(each.name and each.source for each in rule.thresholds)

    def test_what_it_supersedes_exists(self, rule):
        assert set(rule.supersedes) <= NAMES - {rule.name}

    def test_explanation_fits_a_terminal(self, rule):
        text = explain(rule)
        assert max(map(len, text.splitlines())) <= 88
        assert rule.code in text
        assert rule.name in text

    def test_found_by_code_and_name(self, rule):
        assert find(rule.code.lower()) is rule
        assert find(f" {rule.name.upper()} ") is rule


def test_codes_and_names_are_unique_and_ordered():
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))
    assert len(NAMES) == len(RULES)


def test_no_two_rules_supersede_each_other():
    pairs = {(rule.name, other) for rule in RULES for other in rule.supersedes}
    assert not {(b, a) for a, b in pairs} & pairs


@pytest.mark.parametrize(
    ("word", "hint"),
    [("kernel-dead-unit", "kernel-dead-units"), ("RGA10", "RGA10"), ("zzzz", "lists them all")],
    ids=["typo", "code", "nothing near"],
)
def test_unknown_rule_names_the_nearest(word, hint):
    with pytest.raises(ConfigError, match=hint):
        find(word)


def test_the_page_of_docs_has_every_rule_and_closed_tables():
    page = describe()
    for rule in RULES:
        assert f"## {rule.code} {rule.name}\n" in page
        assert f"(#{rule.code.lower()}-{rule.name})" in page
    for line in page.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in {4, 5}, line


def test_markdown_is_escaped():
    assert escape("|w_j| <b> [x](y) `z`") == r"\|w\_j\| \<b\> \[x\](y) \`z\`"


class TestRun:
    def test_worst_first_then_layer_order(self, model, audited):
        def dead(arrays):
            return arrays | {"kernel": np.concatenate([arrays["kernel"][:32], np.zeros((32, 64))])}

        layers = model.like_four(dead, width=64, position=1)
        broken = model.layer("l9", np.full((8, 8), np.nan))
        note = Remark(kind="optimizer-state", where="m.pt", text="State.")
        found = run(audited(*layers, broken, remarks=(note,)))
        assert [f.severity for f in found] == [Severity.ERROR, Severity.WARN, Severity.INFO]

    def test_findings_about_the_file_come_before_those_about_layers(self, model, audited):
        layer = model.layer("l0", np.concatenate([model.noise(60, 64), np.zeros((4, 64))]))
        remark = Remark(kind="dangling-index-entry", where="index", text="Gone.")
        found = run(audited(layer, remarks=(remark,)))
        assert [f.name for f in found] == ["file-dangling-index", "kernel-dead-units"]

    def test_a_note_never_hides_a_warning(self, model, findings):
        """A few repeated units do not explain that the biases dominate."""
        kernel = model.noise(256, 256)
        kernel[:2] = kernel[2:4]
        layers = model.like_four(lambda a: a | {"kernel": kernel, "bias": a["bias"] * 0 + 20})
        assert ("bias-dominance", "l1", "warn") in findings(*layers)

    def test_fingerprint_ignores_values(self, model, audited):
        def share(zeros):
            kernel = model.noise(64, 64)
            kernel[:zeros] = 0
            return kernel

        prints = {run(audited(model.layer("l0", share(zeros))))[0].fingerprint for zeros in (10, 40)}
        assert len(prints) == 1
        assert re.fullmatch(r"rga1:[0-9a-f]{32}", prints.pop())

    def test_fingerprints_are_unique(self, model, audited):
        layers = [model.layer(f"l{i}", np.full((8, 8), np.nan), bias=np.full(8, np.inf)) for i in range(2)]
        twice = Remark(kind="unsafe-global", where="m.pt: data.pkl", text="It wants to call posix.system.")
        found = run(audited(*layers, remarks=(twice, twice)))
        assert len({f.fingerprint for f in found}) == len(found) == 6

    def test_hostile_names_do_no_harm(self, model, audited):
        (found,) = run(audited(model.layer("a\x1b[31m\n\ud800", np.full((8, 8), np.nan))))
        assert found.confidence is Confidence.HIGH

    def test_an_empty_audit_is_silent(self, audited):
        assert run(audited()) == ()
