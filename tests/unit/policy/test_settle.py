"""What a policy makes of findings: levels, exceptions, waivers, baselines, and what is wrong with the policy itself."""

import json
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regaudit.config import Policy, Waiver
from regaudit.errors import ConfigError
from regaudit.policy import judge, settle, verdict
from regaudit.policy.baseline import read
from regaudit.records import (
    Audit,
    Axis,
    Confidence,
    Coverage,
    Finding,
    Input,
    Layer,
    LayerAudit,
    Parameter,
    Remark,
    Role,
    Severity,
    Use,
)
from regaudit.reports import Report
from regaudit.reports.json import render
from regaudit.reports.several import gather
from regaudit.rules import RULES, find, run

TODAY = date(2027, 3, 1)


def finding(rule="RGA104", layer="net.fc1", severity=None, value=0.5, metric="kernel.dead_out_fraction", op=">="):
    known = find(rule)
    return Finding(
        rule=known.code, name=known.name, severity=severity or known.severity, confidence=Confidence.HIGH, layer=layer,
        message="m", metric=metric, value=value, op=op, fingerprint=f"rga1:{known.code}{layer}",
    )  # fmt: skip


def layer(name):
    def parameter(use):
        return Parameter(
            use=use, tensors=(f"{name}.{'weight' if use is Use.KERNEL else 'bias'}",), dtype="F32", shape=(2,),
            axes=(Axis.OUT,), load=lambda _a, _b: None,
        )  # fmt: skip

    return LayerAudit(layer=Layer(name=name, role=Role.DENSE, parameters=(parameter(Use.KERNEL), parameter(Use.BIAS))))


def audit(*findings, path="runs/model.pt", layers=("net.fc1", "net.fc2")):
    source = Input(path=path, format="torch", bytes=1, tensors=1, parameters=1)
    return Audit(
        inputs=(source,), coverage=Coverage(tensors=1, measured=1), layers=tuple(map(layer, layers)), findings=findings
    )


def settled(policy, *findings, **more):
    return settle([audit(*findings, **more)], policy)[0].findings


def names(findings):
    return [(each.rule, str(each.severity), each.status) for each in findings]


class TestTriage:
    @pytest.mark.parametrize(
        ("policy", "kept"),
        [
            (Policy(), "101 104 203"),
            (Policy(select=("RGA1",)), "101 104"),
            (Policy(select=("RGA1",), ignore=("RGA104",)), "101"),
            (Policy(select=("RGA104",), ignore=("RGA1",)), "104"),
            (Policy(select=("RGA2",), extend_select=("nonfinite-values",)), "101 203"),
            (Policy(ignore=("RGA",)), ""),
            (Policy(ignore=("kernel-dead-units",)), "101 203"),
            (Policy(levels={"RGA101": "off"}), "104 203"),
            (Policy(ignore=("RGA1",), levels={"RGA104": "warn"}), "104 203"),
            (Policy(per_tensor={"net.*": ("RGA1",)}), "203"),
            (Policy(per_tensor={"*": ("RGA1",)}), "101 104 203"),
            (Policy(per_tensor={"**.weight": ("RGA104", "RGA203")}), "101 203"),
            (Policy(per_tensor={"**.bias": ("RGA2", "RGA104")}), "101 104"),
        ],
        ids=str,
    )
    def test_what_counts(self, policy, kept):
        found = settled(
            policy, finding("RGA101"), finding("RGA104"), finding("RGA203", metric="bias.dominant_fraction")
        )
        assert [each.rule.removeprefix("RGA") for each in found if each.rule < "RGA9"] == kept.split()

    def test_levels_change_the_severity_and_the_order(self):
        found = settled(Policy(levels={"RGA203": "error", "RGA101": "info"}), finding("RGA101"), finding("RGA203"))
        assert names(found) == [("RGA203", "error", "new"), ("RGA101", "info", "new")]

    def test_the_users_level_is_that_of_all_findings(self):
        mild = finding("RGA104", severity=Severity.INFO)
        assert names(settled(Policy(levels={"RGA104": "error"}), mild)) == [("RGA104", "error", "new")]

    def test_the_presets_level_leaves_milder_findings_milder(self):
        """A rule says `note` of its own where it is not sure."""
        mild = finding("RGA801", layer="", severity=Severity.INFO)
        assert names(settled(Policy(preset="publish"), mild)) == [("RGA801", "info", "new")]
        assert names(settled(Policy(preset="publish"), finding("RGA801", layer=""))) == [("RGA801", "error", "new")]

    def test_the_preset_publish_is_stricter_on_files(self):
        state = finding("RGA803", layer="")
        assert names(settled(Policy(), state)) == [("RGA803", "info", "new")]
        assert names(settled(Policy(preset="publish"), state)) == [("RGA803", "warn", "new")]

    def test_a_pattern_that_stands_for_nothing_is_told(self):
        (found,) = settled(Policy(per_tensor={"embd.**": ("RGA104",)}))
        assert found.name == "pattern-unmatched"
        assert "embd.**" in found.message

    def test_unknown_rules_of_other_versions_are_kept(self):
        other = replace(finding(), rule="RGA199", name="of-the-future")
        assert settled(Policy(), other) == (other,)


class TestWaivers:
    def waiver(self, **changes):
        return replace(
            Waiver(rule="RGA104", tensors=("net.fc1",), reason="tied", expires=TODAY, where="regaudit.toml:3"),
            **changes,
        )

    def status(self, waiver, found=None, today=TODAY, **more):
        policy = Policy(waivers=(waiver,), today=today)
        return [(each.rule, each.status) for each in settled(policy, found or finding(), **more)]

    def test_it_holds_through_the_whole_of_its_last_day(self):
        assert self.status(self.waiver()) == [("RGA104", "waived")]
        assert self.status(self.waiver(), today=TODAY + timedelta(days=1)) == [("RGA104", "new"), ("RGA903", "new")]

    def test_a_waived_finding_says_why(self):
        (found,) = settled(Policy(waivers=(self.waiver(),), today=TODAY), finding())
        assert found.note == "waived until 2027-03-01: tied (regaudit.toml:3)"

    def test_an_expired_one_says_what_counts_again(self):
        found = settled(Policy(waivers=(self.waiver(),), today=TODAY + timedelta(days=9)), finding())
        assert found[1].message == (
            "The waiver of RGA104 for net.fc1 (regaudit.toml:3) expired after 2027-03-01; 1 finding counts again (tied)."
        )
        assert "its waiver expired" in found[0].note

    @pytest.mark.parametrize(
        "changes",
        [{"tensors": ("net.fc3",)}, {"tensors": ("fc1",)}, {"rule": "RGA105"}, {"tensors": ("NET.fc1",)}],
        ids=str,
    )
    def test_an_unused_one_is_a_warning(self, changes):
        assert self.status(self.waiver(**changes)) == [("RGA104", "new"), ("RGA902", "new")]

    @pytest.mark.parametrize(
        "changes",
        [{"tensors": ()}, {"tensors": ("net.fc1.weight",)}, {"rule": "RGA1"}, {"inputs": ("runs/*.pt",)}],
        ids=str,
    )
    def test_what_it_covers(self, changes):
        assert self.status(self.waiver(**changes)) == [("RGA104", "waived")]

    def test_one_for_other_inputs_is_a_note(self):
        found = settled(Policy(waivers=(self.waiver(inputs=("other/*",)),), today=TODAY), finding())
        assert names(found) == [("RGA104", "warn", "new"), ("RGA902", "info", "new")]

    @pytest.mark.parametrize(
        ("op", "value", "status"),
        [(">=", 0.5, "waived"), (">=", 0.51, "new"), ("<", 0.5, "waived"), ("<", 0.49, "new"), ("", None, "new")],
    )
    def test_a_ceiling(self, op, value, status):
        found = settled(Policy(waivers=(self.waiver(max_value=0.5),), today=TODAY), finding(value=value, op=op))
        assert [each.status for each in found] == [status]

    def test_it_is_judged_over_all_inputs(self):
        policy = Policy(waivers=(self.waiver(),), today=TODAY)
        first, second = settle([audit(), audit(finding(), path="b.pt")], policy)
        assert first.findings == ()
        assert second.findings[0].status == "waived"

    def test_it_is_not_judged_where_an_input_is_missing(self):
        assert settle([audit()], Policy(waivers=(self.waiver(),), today=TODAY), is_whole=False)[0].findings == ()

    def test_the_day_has_to_be_known(self):
        with pytest.raises(ConfigError, match="today"):
            settle([audit(finding())], Policy(waivers=(self.waiver(),)))

    def test_one_that_need_not_expire_needs_no_day(self):
        assert self.status(self.waiver(expires=None), today=None) == [("RGA104", "waived")]


class TestBaseline:
    def of(self, *audits):
        report = gather([Report(audit=each) for each in audits]) if len(audits) > 1 else Report(audit=audits[0])
        return read(render(report), "old.json")

    def test_known_findings_no_longer_fail(self):
        old = self.of(audit(finding()))
        found = settled(Policy(baseline=old), finding(value=0.9), finding(layer="net.fc2"))
        assert [(each.layer, each.status) for each in found] == [("net.fc1", "baseline"), ("net.fc2", "new")]
        assert judge(audit(finding()), Policy(baseline=old, fail_on="warn")).passed

    def test_a_baseline_of_one_model_serves_its_next_epoch(self):
        old = self.of(audit(finding(), path="epoch_3.pt"))
        assert settled(Policy(baseline=old), finding(), path="epoch_4.pt")[0].status == "baseline"

    def test_several_models_are_told_apart(self):
        old = self.of(audit(finding(), path="a.pt"), audit(path="b.pt"))
        found = settle([audit(finding(), path="a.pt"), audit(finding(), path="b.pt")], Policy(baseline=old))
        assert [each.findings[0].status for each in found] == ["baseline", "new"]

    def test_an_entry_covers_one_finding(self):
        old = self.of(audit(finding()))
        assert [each.status for each in settled(Policy(baseline=old), finding(), finding())] == ["baseline", "new"]

    @pytest.mark.parametrize(("fails", "severity", "passed"), [(False, "info", True), (True, "error", False)])
    def test_stale_entries_are_counted_and_fail_where_asked(self, fails, severity, passed):
        old = self.of(audit(finding(), finding(layer="net.fc2")))
        policy = Policy(baseline=old, fail_on_stale=fails)
        (after,) = settle([audit(finding())], policy)
        stale = next(each for each in after.findings if each.rule == "RGA905")
        assert stale.severity == severity
        assert stale.message == "1 of 2 entries of old.json match no finding: RGA104 in net.fc2."
        assert verdict(after, policy).passed is passed

    def test_rules_that_are_off_leave_no_stale_entries(self):
        old = self.of(audit(finding()))
        assert settled(Policy(baseline=old, ignore=("RGA104",)), finding()) == ()

    def test_waived_findings_are_no_part_of_it(self):
        old = self.of(audit(replace(finding(), status="waived")))
        assert settled(Policy(baseline=old), finding())[0].status == "new"

    @pytest.mark.parametrize(
        "raw",
        [b"", b"[]", b"{}", b'{"schema_version": "2.0", "findings": []}', b'{"schema_version": "1.0", "findings": [3]}',
         b'{"schema_version": "1.0", "findings": [{"fingerprint": 3}]}'],
    )  # fmt: skip
    def test_other_files_are_refused(self, raw):
        with pytest.raises(ConfigError, match=r"baseline old\.json"):
            read(raw, "old.json")

    def test_fingerprints_of_another_version_are_refused(self):
        document = {"schema_version": "1.0", "findings": [{"fingerprint": "rga2:abc"}]}
        with pytest.raises(ConfigError, match="of version rga2, this regaudit writes rga1"):
            read(json.dumps(document).encode(), "old.json")


@given(
    st.lists(st.tuples(st.sampled_from([rule.code for rule in RULES]), st.sampled_from(["net.fc1", "net.fc2", ""]))),
    st.sampled_from(["recommended", "publish", "all"]),
    st.dictionaries(st.sampled_from(["RGA101", "RGA104", "RGA803"]), st.sampled_from(["off", "info", "warn", "error"])),
    st.lists(st.sampled_from(["RGA1", "RGA104", "RGA8"]), max_size=2),
)
def test_to_settle_twice_changes_nothing_more(drawn, preset, levels, ignored):
    waiver = Waiver(rule="RGA1", tensors=("net.*",), reason="x", expires=TODAY)
    expired = replace(waiver, rule="RGA8", tensors=(), expires=TODAY - timedelta(days=1))
    policy = Policy(
        preset=preset,
        levels=levels,
        ignore=tuple(ignored),
        waivers=(waiver, expired),
        today=TODAY,
        per_tensor={"x": ("RGA1",)},
    )
    once = settle([audit(*(finding(code, layer=place) for code, place in drawn))], policy)
    assert {*settle(once, policy)[0].findings} == {*once[0].findings}


class TestFingerprints:
    def of(self, path, where, text):
        source = Input(path=path, format="torch", bytes=1, tensors=1, parameters=1)
        remark = Remark(kind="unsafe-global", where=where, text=text)
        return run(Audit(inputs=(source,), coverage=Coverage(tensors=0, measured=0), remarks=(remark,)))[0].fingerprint

    def test_the_name_of_the_file_and_of_its_archive_is_no_part(self):
        told = "It wants to call posix.system (byte {})."
        assert self.of("a/epoch_3.pt", "epoch_3.pt: epoch_3/data.pkl", told.format(7)) == self.of(
            "b/epoch_4.pt", "epoch_4.pt: epoch_4/data.pkl", told.format(1_024)
        )

    def test_another_function_in_the_same_place_is_another_finding(self):
        where = "m.pt: data.pkl"
        assert self.of("m.pt", where, "It wants to call posix.system.") != self.of(
            "m.pt", where, "It wants to call os.exec."
        )
