"""The gate as a user meets it: configuration, baselines, waivers, saved reports, ratchets; on files, through the program."""

import json
import tomllib
from datetime import UTC, datetime, timedelta

import pytest
from jsonschema import Draft7Validator

WAIVER = """
[[waivers]]
rule = "nonfinite-values"
tensors = ["fc1.**"]
reason = "known"
expires = {}
"""


@pytest.fixture
def project(tmp_path, monkeypatch, model, broken):
    """A project: its models in a folder, its configuration above."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "models").mkdir()
    for each in (model, broken):
        each.rename(tmp_path / "models" / each.name)
    monkeypatch.chdir(tmp_path)
    for name in ("REGAUDIT_CONFIG", "REGAUDIT_FAIL_ON"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def day(offset):
    return (datetime.now(UTC) + timedelta(days=offset)).date().isoformat()


class TestCheck:
    def test_a_waiver_holds_and_is_shown(self, project, called, called_json):
        (project / "regaudit.toml").write_text(WAIVER.format(day(1)))
        code, found = called_json("check", "models/broken.safetensors", "-f", "json")
        assert (code, found["findings"][0]["status"]) == (0, "waived")
        assert "known (regaudit.toml:2)" in found["findings"][0]["note"]
        code, out, _ = called("check", "models/broken.safetensors")
        assert "1 waived" in out
        assert "Known, and not counted" in out

    def test_without_waivers_it_counts(self, project, called_json):
        (project / "regaudit.toml").write_text(WAIVER.format(day(1)))
        code, found = called_json("check", "models/broken.safetensors", "-f", "json", "--no-waivers")
        assert (code, [each["rule"] for each in found["findings"]]) == (1, ["RGA101"])

    def test_an_expired_waiver_fails_again(self, project, called_json):
        (project / "regaudit.toml").write_text(WAIVER.format(day(-2)))
        code, found = called_json("check", "models/broken.safetensors", "-f", "json")
        assert (code, [each["rule"] for each in found["findings"]]) == (1, ["RGA101", "RGA903"])

    def test_an_unused_waiver_is_told_once_in_a_run(self, project, called_json):
        (project / "regaudit.toml").write_text(WAIVER.format(day(1)) + WAIVER.format(day(1)).replace("fc1", "fcl"))
        code, found = called_json("check", "models/model.safetensors", "models/broken.safetensors", "-f", "json")
        assert (code, [each["rule"] for each in found["findings"]]) == (0, ["RGA902", "RGA101"])

    def test_options_win(self, project, called_json, monkeypatch):
        (project / "regaudit.toml").write_text("fail-on = 'error'")
        monkeypatch.setenv("REGAUDIT_FAIL_ON", "warn")
        assert called_json("check", "models/broken.safetensors", "-f", "json")[1]["gate"]["fail_on"] == "warn"
        assert called_json("check", "models/broken.safetensors", "-f", "json", "--fail-on", "never")[0] == 0

    @pytest.mark.parametrize(
        ("option", "code"), [(("--ignore", "RGA1"), 0), (("--select", "RGA2,RGA3"), 0), (("--select", "RGA1"), 1)]
    )
    def test_rules_can_be_chosen(self, project, called, option, code):
        assert called("check", "models/broken.safetensors", "-q", *option)[0] == code

    def test_targets_stand_for_no_input(self, project, called_json):
        targets = ("student", "model"), ("teacher", "broken")
        text = "".join(f"[[targets]]\nname = '{n}'\npath = 'models/{p}.safetensors'\n" for n, p in targets)
        (project / "regaudit.toml").write_text(text)
        code, found = called_json("check", "-f", "json")
        assert (code, len(found["inputs"])) == (1, 2)
        assert called_json("check", "student", "-f", "json")[0] == 0

    def test_no_input_and_no_target_is_wrong_usage(self, project, called):
        code, _, err = called("check")
        assert code == 2
        assert "[[targets]]" in err

    def test_thresholds_and_limits_of_the_file_hold(self, project, called):
        (project / "regaudit.toml").write_text("[limits]\ntensors = 1")
        code, _, err = called("inspect", "models/model.safetensors")
        assert code == 3
        assert "the limit tensors is 1" in err

    def test_a_model_brings_no_policy_of_its_own(self, project, called, monkeypatch):
        (project / "models" / "regaudit.toml").write_text("fail-on = 'never'")
        monkeypatch.chdir(project / "models")
        code, _, err = called("check", "broken.safetensors", "-q")
        assert code == 1
        assert "must not judge itself" in err
        assert called("check", "broken.safetensors", "-q", "--config", "regaudit.toml")[0] == 0

    @pytest.mark.parametrize("command", [("check",), ("inspect",)])
    def test_a_mistake_is_exit_2_and_nothing_is_read(self, project, called, command):
        (project / "pyproject.toml").write_text("[tool.regaudit]\n\nfailon = 'warn'")
        code, out, err = called(*command, "models/gone.safetensors")
        assert (code, out) == (2, "")
        assert "pyproject.toml:3: failon: there is no key 'failon'. Did you mean fail-on?" in err


class TestBaseline:
    def test_written_then_kept_then_stale(self, project, called, called_json):
        bad = "models/broken.safetensors"
        assert called("check", bad, "-q", "--baseline", "old.json", "--write-baseline", "old.json")[0] == 1
        assert called("check", bad, "-q", "--baseline", "old.json")[0] == 0
        code, out, _ = called("check", bad, "--baseline", "old.json", "--write-baseline", "old.json")
        assert (code, "1 in the baseline" in out) == (0, True)
        assert called("check", bad, "-q", "--baseline", "old.json")[0] == 0
        good = ("check", "models/model.safetensors", "-f", "json", "--baseline", "old.json")
        assert [(code, each["rule"]) for code, d in [called_json(*good)] for each in d["findings"]] == [(0, "RGA905")]
        assert called_json(*good, "--fail-on-stale")[0] == 1

    @pytest.mark.parametrize("content", [None, "{", "[]"])
    def test_an_unreadable_one_is_wrong_usage(self, project, called, content):
        if content is not None:
            (project / "old.json").write_text(content)
        code, _, err = called("check", "models/model.safetensors", "--baseline", "old.json")
        assert code == 2
        assert "old.json" in err

    def test_it_is_not_written_where_an_input_is_missing(self, project, called):
        code, _, err = called(
            "check", "models/broken.safetensors", "models/gone.pt", "-q", "--write-baseline", "old.json"
        )
        assert (code, (project / "old.json").exists()) == (3, False)
        assert "is not written" in err


class TestConfigCommand:
    def test_show_says_who_set_what(self, project, called, called_json, monkeypatch):
        (project / "regaudit.toml").write_text("fail-on = 'warn'\n[rules.RGA104]\nzero-units = 0.5")
        monkeypatch.setenv("REGAUDIT_PRESET", "publish")
        code, found = called_json("config", "show", "-f", "json")
        assert code == 0
        settings = found["settings"]
        assert settings["fail-on"] == {"value": "warn", "origin": "regaudit.toml:1"}
        assert settings["preset"] == {"value": "publish", "origin": "REGAUDIT_PRESET"}
        assert settings["rules.RGA104.zero-units"] == {"value": 0.5, "origin": "regaudit.toml:3"}
        assert settings["rules.RGA803.level"] == {"value": "warn", "origin": "preset publish"}
        assert settings["limits.tensors"]["origin"] == "default"
        _, out, _ = called("config", "show")
        assert all(name in out for name in settings)

    def test_init_then_validate(self, project, called):
        assert called("config", "init")[0] == 0
        assert called("config", "validate") == (0, f"{project}/regaudit.toml: valid\n", "")
        before = (project / "regaudit.toml").read_text()
        assert tomllib.loads(before) == {}
        code, _, err = called("config", "init")
        assert (code, (project / "regaudit.toml").read_text()) == (2, before)
        assert "not replaced" in err

    def test_validate_lists_every_mistake(self, project, called):
        (project / "x.toml").write_text("failon = 1\n[rules.RGA1004]\n")
        code, out, err = called("config", "validate", "x.toml")
        assert (code, out) == (2, "")
        assert "x.toml:1: failon" in err
        assert "x.toml:2: rules.RGA1004" in err

    def test_validate_without_a_file(self, project, called):
        assert called("config", "validate")[0] == 2

    def test_schema_is_the_committed_one(self, called_json):
        code, schema = called_json("config", "schema")
        Draft7Validator.check_schema(schema)
        assert (code, schema["$schema"]) == (0, "http://json-schema.org/draft-07/schema#")


class TestReport:
    @pytest.fixture
    def saved(self, project, called):
        called("check", "models/broken.safetensors", "models/model.safetensors", "-q", "-o", "run.json")
        return project / "run.json"

    def test_it_is_rendered_again_without_the_weights(self, saved, project, called, called_json):
        for each in (project / "models").iterdir():
            each.unlink()
        assert called_json("report", str(saved), "-f", "json") == (0, json.loads(saved.read_text()))
        code, out, _ = called("report", "run.json", "-f", "junit", "-o", "run.sarif")
        assert (code, "nonfinite-values" in out, (project / "run.sarif").exists()) == (0, True, True)

    def test_it_is_judged_anew_where_asked(self, saved, called, called_json):
        assert called("report", "run.json", "-q", "--fail-on", "error")[0] == 1
        assert called("report", "run.json", "-q", "--fail-on", "never")[0] == 0
        assert called("report", "run.json", "-q", "--ignore", "RGA101")[0] == 0
        assert called("report", "run.json", "-q", "--baseline", "run.json")[0] == 0
        code, found = called_json("report", "run.json", "-f", "json", "--fail-on", "error")
        assert code == 1
        assert found == json.loads(saved.read_text())

    def test_waivers_of_a_chosen_file_hold(self, saved, project, called):
        (project / "regaudit.toml").write_text(WAIVER.format(day(1)) + "[rules.RGA104]\nzero-units = 0.1\n")
        code, _, err = called("report", "run.json", "-q", "--config", "regaudit.toml")
        assert code == 0
        assert "do not run again" in err

    @pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\x89PNG"])
    def test_other_files_are_no_report(self, project, called, content):
        if content is not None:
            (project / "x.json").write_bytes(content)
        code, out, err = called("report", "x.json")
        assert (code, out) == (3, "")
        assert "x.json" in err


class TestCompare:
    def test_limits_decide(self, project, called):
        pair = ("models/model.safetensors", "models/broken.safetensors")
        assert called("compare", *pair)[0] == 0
        assert called("compare", *pair, "--fail-on", "fc2/kernel.fro_norm:+1%")[0] == 1
        assert called("compare", *pair, "--fail-on", "fc2/kernel.fro_norm:+1000%")[0] == 0
        assert called("compare", *pair, "--fail-on", "kernel.fro_norm:+1000%")[0] == 3
        assert called("compare", *pair, "--fail-on", "kernel.fro_nrm:+1%")[0] == 2
        assert called("compare", *pair, "--fail-on", "kernel.fro_norm")[0] == 2

    def test_a_report_stands_for_its_model(self, project, called, called_json):
        called("inspect", "models/model.safetensors", "-o", "old.json")
        code, found = called_json("compare", "old.json", "models/model.safetensors", "-f", "json")
        assert code == 0
        assert all(each["change"] in {0, None} or abs(each["change"]) < 1e-9 for each in found["layers"])

    def test_a_trajectory_is_in_the_order_of_its_numbers(self, project, called_json):
        raw = (project / "models" / "model.safetensors").read_bytes()
        for n in (1, 9, 10):
            (project / f"epoch_{n}.safetensors").write_bytes(raw)
        names = [f"epoch_{n}.safetensors" for n in (1, 9, 10)]
        for given in (["epoch_*.safetensors"], sorted(names)):
            code, found = called_json("compare", *given, "-f", "json")
            assert (code, [each["name"] for each in found["runs"]]) == (0, names)

    @pytest.mark.parametrize(
        ("given", "code"), [(("models/model.safetensors",), 2), (("*.none",), 3), (("a.pt", "b.pt"), 3)]
    )
    def test_what_cannot_be_compared(self, project, called, given, code):
        assert called("compare", *given)[0] == code

    @pytest.mark.parametrize("form", ["text", "json", "markdown"])
    def test_every_format(self, project, called, form):
        code, out, err = called("compare", "models/model.safetensors", "models/broken.safetensors", "-f", form)
        assert (code, err) == (0, "")
        assert "nonfinite-values" in out

    def test_files_of_every_format(self, project, called, called_json):
        pair = ("models/model.safetensors", "models/broken.safetensors")
        code, found = called_json("compare", *pair, "-f", "json", "-o", "a.json", "-o", "a.md", "-o", "text=a.log")
        assert code == 0
        assert json.loads((project / "a.json").read_text()) == found
        assert (project / "a.md").read_text().startswith("<!-- regaudit compare -->")
        assert "fc2" in (project / "a.log").read_text()

    @pytest.mark.parametrize("output", ["a.html", "", "json=", "json=models/model.safetensors", "no/such/a.json"])
    def test_files_that_cannot_be(self, project, called, output):
        code, out, _ = called("compare", "models/model.safetensors", "models/broken.safetensors", "-o", output)
        assert (code, out) == (2, "")

    def test_a_limit_on_the_distance(self, project, called):
        (project / "same.safetensors").write_bytes((project / "models" / "model.safetensors").read_bytes())
        pair = ("models/model.safetensors", "same.safetensors")
        assert called("compare", *pair, "--fail-on", "kernel.distance:0%")[0] == 0
        called("inspect", pair[0], "-o", "old.json")
        code, _, err = called("compare", "old.json", pair[1], "--fail-on", "kernel.distance:0%")
        assert code == 2
        assert "distances need the weights" in err

    def test_its_schema_is_printed(self, called):
        assert json.loads(called("schema", "comparison")[1])["$id"] == "comparison-1.0.schema.json"
        assert called("schema", "comparisons")[0] == 2


class TestMistakesInAPolicy:
    """None passes silently: what cannot be meant is exit code 2, what may be meant is said."""

    @pytest.mark.parametrize(
        "options",
        [
            ("--ignore", "RGA"),
            ("--select", "RGA1", "--ignore", "RGA1"),
            ("--fail-on-stale",),
            ("--baseline", "models"),
            ("--config", "models"),
            ("--select", "RGA99"),
            ("--config", "regaudit.toml", "--no-config"),
        ],
        ids=" ".join,
    )
    def test_what_cannot_be_meant(self, project, called, options):
        code, out, err = called("check", "models/model.safetensors", *options)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")

    def test_whoever_wants_everything_to_pass_may_say_so(self, project, called):
        assert called("check", "models/broken.safetensors", "--ignore", "RGA", "--fail-on", "never")[0] == 0

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            (WAIVER.format(day(1)).replace("fc1", "fcl"), "waiver-unused"),
            (WAIVER.format(day(-2)), "waiver-expired"),
            ("[per-tensor]\n'fcl.*' = ['RGA1']", "pattern-unmatched"),
        ],
        ids=["unused", "expired", "unmatched"],
    )
    def test_a_selection_of_rules_hides_none(self, project, called_json, text, name):
        (project / "regaudit.toml").write_text("select = ['RGA101']\n" + text)
        _, found = called_json("check", "models/broken.safetensors", "-f", "json")
        assert name in {each["name"] for each in found["findings"]}

    @pytest.mark.parametrize("text", ["select = ['RGA1']", "rules.RGA905 = 'info'", "ignore = ['RGA9']"])
    def test_stale_entries_fail_whatever_else_is_set(self, project, called, text):
        called("check", "models/broken.safetensors", "--write-baseline", "old.json")
        (project / "regaudit.toml").write_text(text)
        code, out, _ = called("check", "models/model.safetensors", "--baseline", "old.json", "--fail-on-stale")
        assert code == 1
        assert "baseline-stale" in out

    def test_a_baseline_on_other_inputs_is_told(self, project, called, called_json, monkeypatch):
        called("check", "models/broken.safetensors", "models/model.safetensors", "--write-baseline", "old.json")
        monkeypatch.chdir(project / "models")
        code, found = called_json("check", "broken.safetensors", "-f", "json", "--baseline", "../old.json")
        assert code == 1
        assert "is a report on other inputs" in found["findings"][-1]["message"]

    def test_inputs_of_a_waiver_are_seen_from_its_file(self, project, called_json, monkeypatch):
        (project / "regaudit.toml").write_text(WAIVER.format(day(1)) + 'inputs = ["models/*"]\n')
        for folder, path in ((".", "models/broken.safetensors"), ("models", "../models/broken.safetensors")):
            monkeypatch.chdir(project / folder)
            code, found = called_json("check", path, "-f", "json", "--config", str(project / "regaudit.toml"))
            assert (code, [each["status"] for each in found["findings"]]) == (0, ["waived"])


class TestTargets:
    TARGETS = "[[targets]]\nname = 'a'\npath = 'models/model.safetensors'\n[[targets]]\nname = 'b'\npath = 'models/broken.safetensors'\n"

    def test_findings_stand_on_the_line_that_names_the_model(self, project, called_json):
        (project / "regaudit.toml").write_text(self.TARGETS)
        (project / "models" / "config.json").write_text("{}")
        code, found = called_json("check", "-f", "sarif")
        (result, *_) = found["runs"][0]["results"]
        place = result["locations"][0]["physicalLocation"]
        assert (code, place["artifactLocation"]["uri"], place["region"]["startLine"]) == (1, "regaudit.toml", 4)
        assert (
            result["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "models/broken.safetensors"
        )

    def test_some_of_them_say_nothing_of_what_is_unused(self, project, called_json, called):
        """A hook on the files that changed must not fail for a waiver of another file."""
        (project / "regaudit.toml").write_text('fail-on = "warn"\n' + self.TARGETS + WAIVER.format(day(1)))
        code, found = called_json("check", "models/model.safetensors", "-f", "json")
        assert (code, found["findings"]) == (0, [])
        assert "not all targets are inputs (1 missing)" in called("check", "a")[2]
        (project / "regaudit.toml").write_text(
            'fail-on = "warn"\n' + self.TARGETS + WAIVER.format(day(1)).replace("fc1", "no")
        )
        code, found = called_json("check", "-f", "json")
        assert "waiver-unused" in {each["name"] for each in found["findings"]}

    def test_one_that_is_named_by_its_path_as_well(self, project, called_json):
        (project / "regaudit.toml").write_text(self.TARGETS)
        _, found = called_json("check", "models/broken.safetensors", "-f", "json")
        assert found["anchor"] == {"path": "regaudit.toml", "line": 4}

    def test_a_configuration_elsewhere_is_no_anchor(self, project, called_json, monkeypatch):
        (project / "regaudit.toml").write_text(self.TARGETS)
        (project / "models" / "config.json").write_text("{}")
        (project / "models" / ".git").mkdir()
        monkeypatch.chdir(project / "models")
        _, found = called_json("check", "b", "-f", "json", "--config", "../regaudit.toml")
        assert found["anchor"] == {"path": "config.json", "line": 1}
        assert found["inputs"][0]["path"] == "broken.safetensors"


def test_a_report_keeps_the_version_that_audited(project, called, called_json):
    called("inspect", "models/model.safetensors", "-o", "run.json")
    document = json.loads((project / "run.json").read_text())
    document["tool"]["version"] = "0.0.9"
    (project / "run.json").write_text(json.dumps(document))
    assert called_json("report", "run.json", "-f", "json")[1]["tool"]["version"] == "0.0.9"
    assert (
        called_json("report", "run.json", "-f", "sarif")[1]["runs"][0]["tool"]["driver"]["semanticVersion"] == "0.0.9"
    )


def test_a_name_beyond_every_system_is_one_of_several(project, called_json):
    code, found = called_json("check", "models/model.safetensors", "a" * 5000, "-f", "json")
    assert code == 3
    assert [each["exit_code"] for each in found["reports"]] == [0, 3]
