"""The gate: what passes, what fails, and with which exit code."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regaudit.config import FAIL_ON_CHOICES, Policy
from regaudit.policy import judge
from regaudit.records import Audit, Confidence, Coverage, Finding, Severity, TensorSkip

PACKED = TensorSkip(tensor="fc.qweight", reason="packed 4-bit integers", blocking=True)
MASK = TensorSkip(tensor="attn.mask", reason="a mask", blocking=False)


def finding(severity, status="new", layer="l1"):
    return Finding(
        rule="RGA101", name="nonfinite-values", severity=severity, confidence=Confidence.HIGH, status=status,
        message="1 of 4 values of the kernel is NaN or infinite.", layer=layer,
    )  # fmt: skip


def audit(*findings, skipped=()):
    return Audit(inputs=(), coverage=Coverage(tensors=4, measured=4, skipped=tuple(skipped)), findings=findings)


CASES = {
    "nothing": ((), "warn", True, 0),
    "error at error": ((Severity.ERROR,), "error", False, 1),
    "warning at error": ((Severity.WARN,), "error", True, 0),
    "warning at warn": ((Severity.WARN,), "warn", False, 1),
    "note at warn": ((Severity.INFO,), "warn", True, 0),
    "error at never": ((Severity.ERROR,), "never", True, 0),
    "both at warn": ((Severity.ERROR, Severity.WARN), "warn", False, 1),
}


@pytest.mark.parametrize(("severities", "fail_on", "passed", "code"), CASES.values(), ids=CASES)
def test_gate(severities, fail_on, passed, code):
    verdict = judge(audit(*map(finding, severities)), Policy(fail_on=fail_on))
    assert (verdict.passed, verdict.exit_code, verdict.fail_on) == (passed, code, fail_on)


@pytest.mark.parametrize("status", ["baseline", "waived"])
def test_known_findings_do_not_fail(status):
    assert judge(audit(finding(Severity.ERROR, status)), Policy()).exit_code == 0


@pytest.mark.parametrize("fail_on", FAIL_ON_CHOICES)
def test_incomplete_wins(fail_on):
    verdict = judge(audit(finding(Severity.ERROR), skipped=[PACKED, MASK]), Policy(fail_on=fail_on))
    assert verdict.exit_code == 3
    assert verdict.passed is (fail_on == "never")
    assert verdict.reasons[0] == (
        "Incomplete: 1 of 4 tensors could not be measured: fc.qweight (packed 4-bit integers)."
    )


def test_skipped_masks_are_complete():
    assert judge(audit(skipped=[MASK]), Policy()).exit_code == 0


def test_reasons_name_rule_place_and_fact():
    verdict = judge(audit(finding(Severity.ERROR)), Policy())
    assert verdict.reasons == ("Error nonfinite-values in l1: 1 of 4 values of the kernel is NaN or infinite.",)


def test_a_pass_counts_what_it_let_through():
    verdict = judge(audit(finding(Severity.WARN), finding(Severity.INFO), finding(Severity.INFO)), Policy())
    assert verdict.reasons == ("No finding is an error: 0 errors, 1 warning, 2 notes.",)


@given(
    st.lists(st.tuples(st.sampled_from(Severity), st.sampled_from(["new", "baseline", "waived"]))),
    st.lists(st.sampled_from([PACKED, MASK])),
)
def test_a_looser_policy_never_turns_pass_into_fail(drawn, skipped):
    seen = audit(*(finding(*each) for each in drawn), skipped=skipped)
    verdicts = [judge(seen, Policy(fail_on=fail_on)) for fail_on in ("warn", "error", "never")]
    for stricter, looser in itertools.pairwise(verdicts):
        assert looser.passed or not stricter.passed
        assert looser.exit_code <= stricter.exit_code


@given(st.lists(st.sampled_from(Severity), max_size=6), st.sampled_from(FAIL_ON_CHOICES))
def test_fewer_findings_never_turn_pass_into_fail(severities, fail_on):
    whole = audit(*map(finding, severities))
    fewer = replace(whole, findings=whole.findings[1:])
    assert judge(fewer, Policy(fail_on=fail_on)).passed or not judge(whole, Policy(fail_on=fail_on)).passed
