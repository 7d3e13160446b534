"""Several reports as one."""

from dataclasses import replace

import pytest

from regaudit.records import Status, Verdict
from regaudit.reports.several import gather, light

PASSED = Verdict(passed=True, fail_on="error", reasons=("fine",), exit_code=0)
FAILED = Verdict(passed=False, fail_on="error", reasons=("NaN",), exit_code=1)
UNREAD = Verdict(passed=False, fail_on="error", reasons=("empty",), exit_code=3)


@pytest.mark.parametrize(
    ("verdicts", "code", "passed"),
    [
        ((PASSED, PASSED), 0, True),
        ((PASSED, FAILED), 1, False),
        ((UNREAD, FAILED), 3, False),
        ((FAILED, PASSED, UNREAD), 3, False),
        ((None, None), 0, None),
    ],
)
def test_the_worst_decides(reports, verdicts, code, passed):
    whole = gather([replace(reports["healthy"], verdict=each) for each in verdicts])
    assert whole.exit_code == code
    assert (whole.verdict and whole.verdict.passed) == passed
    assert len(whole.parts) == len(whole.audit.inputs) == len(verdicts)


def test_reasons_name_their_input(reports):
    healthy = reports["healthy"]
    whole = gather([replace(healthy, verdict=PASSED), replace(healthy, verdict=FAILED)])
    assert whole.verdict.reasons == (f"{healthy.name}: NaN",)


def test_one_that_could_not_be_read_makes_it_incomplete(reports):
    whole = gather([reports["healthy"], reports["unread"]])
    assert (whole.status, whole.exit_code) == (Status.INCOMPLETE, 3)
    assert whole.problems == reports["unread"].problems


def test_report_that_is_kept_reads_no_more(reports):
    kept = light(reports["healthy"])
    assert [each.measurements for each in kept.audit.layers] == [
        each.measurements for each in reports["healthy"].audit.layers
    ]
    with pytest.raises(ValueError, match="closed"):
        kept.audit.layers[0].layer.parameters[0].load(0, 1)
