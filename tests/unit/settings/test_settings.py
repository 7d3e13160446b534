"""Configuration: what is misspelt is told with its line, and who set what is known."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from regaudit.config import LEVELS, PRESETS
from regaudit.errors import ConfigError
from regaudit.rules import RULES
from regaudit.settings import Given, apply, resolve
from regaudit.settings.keys import KEYS, TABLES
from regaudit.settings.lines import line_of
from regaudit.settings.reading import Source, settings_in
from regaudit.settings.schema import SCHEMA, document, render
from regaudit.settings.start import written

WHOLE = """\
preset = "publish"
fail-on = "warn"
select = ["RGA1", "kernel-rank-collapse"]
extend-select = ["RGA8"]
ignore = ["RGA105"]
baseline = "old.json"
fail-on-stale = true
require-waiver-expiry = false
spectrum = "off"

[rules.kernel-dead-units]
level = "error"
zero-units = 0.5
[rules]
RGA203 = "off"

[per-tensor]
"**.norm*.bias" = ["RGA2"]

[limits]
tensors = "2M"
members = 5

[[targets]]
name = "student"
path = "out/model.safetensors"

[[waivers]]
rule = "rga104"
tensors = ["lm_head.*"]
reason = "tied"
expires = 2027-03-01
max-value = 0.1
[[waivers]]
rule = "nonfinite-values"
reason = "known"
"""


@pytest.fixture
def project(tmp_path):
    """A repository; returns a function that writes its configuration and resolves in it."""
    (tmp_path / ".git").mkdir()

    def settle(text, *, name="regaudit.toml", environment=None, folder=None, inputs=(), **given):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return resolve(Given(**given), folder=folder or tmp_path, environment=environment or {}, inputs=list(inputs))

    return settle


def test_everything_that_can_be_set_is_read(project, tmp_path, monkeypatch):
    (tmp_path / "old.json").write_text('{"schema_version": "1.0", "findings": []}')
    monkeypatch.chdir(tmp_path)
    settings = project(WHOLE)
    policy = apply.policy(settings, None)
    assert (policy.preset, policy.fail_on, policy.fail_on_stale) == ("publish", "warn", True)
    assert policy.select == ("RGA1", "kernel-rank-collapse")
    assert policy.levels == {"RGA104": "error", "RGA203": "off", "RGA905": "error"}
    assert policy.per_tensor == {"**.norm*.bias": ("RGA2",)}
    assert [(each.rule, str(each.expires), each.max_value) for each in policy.waivers] == [
        ("RGA104", "2027-03-01", 0.1), ("nonfinite-values", "None", None)
    ]  # fmt: skip
    assert policy.waivers[0].where.endswith(f"regaudit.toml:{WHOLE.splitlines().index('[[waivers]]') + 1}")
    assert apply.thresholds(settings) == {"RGA104": {"zero-units": 0.5}}
    assert apply.limits(settings) == {"tensors": 2 << 20, "members": 5}
    assert [each.path for each in apply.targets(settings)] == ["out/model.safetensors"]


def test_the_whole_example_fits_the_schema_and_the_other_way_round(project):
    table = json.loads(json.dumps(tomllib.loads(WHOLE), default=str))
    Draft7Validator(document()).validate({**table, "waivers": [{**table["waivers"][0], "rule": "RGA104"}]})
    every_number = {
        rule.name: {each.key: each.default for each in rule.thresholds if not each.is_fixed} for rule in RULES
    }
    Draft7Validator(document()).validate({"rules": every_number})
    text = "".join(f"[rules.{n}]\n" + "".join(f"{k} = {v}\n" for k, v in t.items()) for n, t in every_number.items())
    assert len(apply.thresholds(project(text))) == sum(map(bool, every_number.values()))


def test_schema_is_fresh_and_of_draft_7():
    assert SCHEMA.read_text(encoding="utf-8") == render(), "run: make docs"
    Draft7Validator.check_schema(document())


@pytest.mark.parametrize(
    "table",
    [
        {"failon": "warn"},
        {"fail-on": "info"},
        {"rules": {"RGA104": {"zeros": 1}}},
        {"waivers": [{"rule": "RGA104"}]},
        {"rules": {"RGA104": {"zero-units": 5}}},
        {"rules": {"RGA104": {"min-fan-in": -1}}},
        {"per-tensor": {"a": []}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_reader_refuses(table):
    assert not Draft7Validator(document()).is_valid(table)


MISTAKES = [
    ('failon = "warn"', "toml:1: failon: there is no key 'failon'. Did you mean fail-on?"),
    ('\n\nfail-on = "info"', "toml:3: fail-on: cannot be 'info'; choose error, warn or never"),
    ("fail-on-stale = 1", "toml:1: fail-on-stale: is true or false, not 1"),
    ('select = ["RGA1", "RGA77"]', "toml:1: select: names no rule: 'RGA77'"),
    ('ignore = ["kernel-dead-unit"]', "Did you mean kernel-dead-units?"),
    ("ignore = 7", "is a list of texts, not 7"),
    ("baseline = \"\"", "toml:1: baseline: is empty"),
    ("[rules.RGA104]\n\nzero-unit = 1", "toml:3: rules.RGA104.zero-unit: there is no key 'zero-unit'. Did you mean zero-units?"),
    ("[rules]\nkernel-dead-unit = 'off'", "toml:2: rules.kernel-dead-unit: there is no key 'kernel-dead-unit'. Did you mean"),
    ("[rules.RGA104]\nlevel = 'warning'", "toml:2: rules.RGA104.level: cannot be 'warning'; choose off, info, warn or error"),
    ("[rules.RGA101]\nnonfinite = 5", "there is no key 'nonfinite'"),
    ("[rules.RGA104]\nzero-units = nan", "zero-units: is a number, not nan"),
    ("[rules.RGA104]\nzero-units = 50", "toml:2: rules.RGA104.zero-units: is a share of the units, from 0 to 1, not 50"),
    ("[rules.RGA104]\nmin-fan-in = -1", "min-fan-in: cannot be below 0"),
    (f"[rules.RGA104]\nmin-fan-in = 1{'0' * 400}", "min-fan-in: is a number, not 10000"),
    (f"[rules.RGA104]\nmin-fan-in = 1{'0' * 5000}", "no TOML: Exceeds the limit"),
    (f"select = {'[' * 3000}", "no TOML: maximum recursion"),
    ("[per-tensor]\n'a.*' = []", "toml:2: per-tensor.a.*: is an empty list"),
    ("[[waivers]]\nrule='RGA104'\nreason='x'\ntensors=[]", "toml:4: waivers[1].tensors: is an empty list"),
    ("[[waivers]]\nrule='RGA104'\nreason='x'\ninputs=[]", "toml:4: waivers[1].inputs: is an empty list"),
    ("[rules.RGA104]\nlevel='off'\n[rules.kernel-dead-units]\nlevel='off'", "toml:3: rules.kernel-dead-units: kernel-dead-units is the rule RGA104"),
    ("[per-tensor]\n'a.*' = ['RGA77']", "toml:2: per-tensor.a.*: names no rule"),
    ("[limits]\ntensor = 5", "toml:2: limits.tensor: there is no limit 'tensor'. Did you mean tensors?"),
    ("[limits]\nrank = 5", "toml:2: limits.rank: the limit rank is fixed"),
    ("[[targets]]\nname = 'a'", "toml:1: targets[1]: needs path"),
    ("[[targets]]\nname='a'\npath='b'\n[[targets]]\nname='a'\npath='c'", "toml:5: targets[2].name: two targets are named 'a'"),
    ("[[waivers]]\nrule='RGA104'", "toml:1: waivers[1]: needs reason"),
    ("[[waivers]]\nrule='RGA104'\nreason='x'\nexpires='soon'", "toml:4: waivers[1].expires: is a day, as in 2027-03-01"),
    ("[[waivers]]\nrule='RGA104'\nreason='x'\nexpire=2027-03-01", "Did you mean expires?"),
    ("[[waivers]]\nrule='RGA104'\nreason='x'", "toml:1: the waiver of RGA104 needs expires = YYYY-MM-DD"),
    ("waivers = 3", "toml:1: waivers: is an array of tables, not 3"),
    ("rules = 3", "toml:1: rules: is a table, not 3"),
    ("fail-on = ", "no TOML: Invalid value"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[text[:60] for text, _ in MISTAKES])
def test_a_mistake_is_told_with_its_line(project, text, message):
    with pytest.raises(ConfigError) as error:
        project(text)
    assert message in str(error.value)


def test_several_mistakes_are_counted(project):
    with pytest.raises(ConfigError, match=r"and 1 more: regaudit config validate"):
        project("failon = 1\nspectrums = 2")


def test_stale_entries_of_no_baseline_cannot_fail(project):
    with pytest.raises(ConfigError, match=r"toml:1\) needs a baseline"):
        apply.policy(project("fail-on-stale = true"), None)


@pytest.mark.parametrize("name", ["tool.regaudits", "tool.regaudt", "tools.regaudit", "regaudit"])
def test_a_table_that_is_nearly_ours_is_named(project, name):
    (note,) = project(f'[{name}]\nfail-on = "warn"', name="pyproject.toml").notices
    assert "is [tool.regaudit] meant?" in note


@pytest.mark.parametrize("name", ["tool.ruff", "project", "tool.reports", "tools"])
def test_tables_of_others_are_not_named(project, name):
    assert project(f'[{name}]\nx = "warn"', name="pyproject.toml").notices == ()


def test_a_second_configuration_in_the_folder_is_named(project, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.regaudit]\nfail-on = "warn"')
    settings = project('fail-on = "error"')
    assert settings.value("fail-on") == "error"
    assert settings.notices == (f"{tmp_path / 'pyproject.toml'} is not used: regaudit.toml beside it goes first",)


def test_a_broken_file_that_does_not_hold_breaks_nothing(project, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.regaudit")
    assert project('fail-on = "warn"').value("fail-on") == "warn"


def test_lines_of_a_pyproject(project):
    text = (
        '[project]\nname = """\nfail-on = 1\n"""\n[tool.regaudit]\nselect = [\n  "RGA1",\n]\n# fail-on = 2\nfail-on = 3'
    )
    with pytest.raises(ConfigError, match=r"pyproject.toml:10: fail-on"):
        project(text, name="pyproject.toml")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 1),
        (("t", "b c"), 3),
        (("t", "u", "x"), 4),
        (("l", 1, "k"), 8),
        (("l", 1, "gone"), 7),
        (("l", 0), 5),
        (("z",), 1),
    ],
)
def test_line_of(path, line):
    text = "a = 1\n[t]\n'b c' = 2\nu.x = 3\n[[l]]\nk = 1\n[[l]]\nk = 2\n"
    assert line_of(text, path) == line


class TestPrecedence:
    def test_option_over_environment_over_file_over_default(self, project):
        text = "fail-on = 'never'"
        environment = {"REGAUDIT_FAIL_ON": "warn"}
        found = [
            project("").values["fail-on"],
            project(text).values["fail-on"],
            project(text, environment=environment).values["fail-on"],
            project(text, environment=environment, words={"fail-on": "error"}).values["fail-on"],
        ]
        assert [each.value for each in found] == ["error", "never", "warn", "error"]
        assert [each.origin.rpartition("/")[2] for each in found] == [
            "default", "regaudit.toml:1", "REGAUDIT_FAIL_ON", "--fail-on"
        ]  # fmt: skip

    def test_lists_and_flags_in_the_environment(self, project):
        settings = project(
            "", environment={"REGAUDIT_IGNORE": "RGA1, kernel-constant", "REGAUDIT_FAIL_ON_STALE": "yes"}
        )
        assert settings.value("ignore") == ("RGA1", "kernel-constant")
        assert settings.value("fail-on-stale") is True

    def test_empty_variables_say_nothing(self, project):
        assert project("fail-on = 'warn'", environment={"REGAUDIT_FAIL_ON": ""}).value("fail-on") == "warn"

    @pytest.mark.parametrize("name", ["REGAUDIT_FAILON", "REGAUDIT_X"])
    def test_unknown_variables_are_said(self, project, name):
        (notice,) = project("", environment={name: "1"}).notices
        assert name in notice

    def test_the_variables_of_the_github_action_are_its_own(self, project):
        assert project("", environment={"REGAUDIT_ACTION_INPUTS": "x"}).notices == ()

    @pytest.mark.parametrize(
        ("name", "value"), [("REGAUDIT_PRESET", "al"), ("REGAUDIT_FAIL_ON_STALE", "maybe"), ("REGAUDIT_NO_CONFIG", "x")]
    )
    def test_wrong_variables_are_refused(self, project, name, value):
        with pytest.raises(ConfigError, match=name):
            project("", environment={name: value})

    def test_limits_of_the_command_line_win(self, project):
        assert apply.limits(project("[limits]\ntensors = 5", limits={"tensors": 7})) == {"tensors": 7}


class TestDiscovery:
    def test_the_nearest_file_up_to_the_repository_holds(self, project, tmp_path):
        below = tmp_path / "a" / "b"
        below.mkdir(parents=True)
        assert project("fail-on = 'warn'", folder=below).value("fail-on") == "warn"
        (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
        assert project("fail-on = 'warn'", folder=below).value("fail-on") == "warn"
        (tmp_path / "a" / "pyproject.toml").write_text("[tool.regaudit]\nfail-on = 'never'\n")
        assert project("fail-on = 'warn'", folder=below).value("fail-on") == "never"

    def test_nothing_above_the_repository_holds(self, project, tmp_path):
        inner = tmp_path / "inner"
        (inner / ".git").mkdir(parents=True)
        assert project("fail-on = 'warn'", folder=inner).source is None

    def test_a_hidden_file_goes_before_the_others(self, project, tmp_path):
        (tmp_path / ".regaudit.toml").write_text("fail-on = 'never'")
        assert project("fail-on = 'warn'").value("fail-on") == "never"

    @pytest.mark.parametrize("given", ["m", "m/model.pt", "m/*.pt", "."])
    def test_a_model_never_judges_itself(self, project, tmp_path, monkeypatch, given):
        """Also not where the working directory is the model's folder."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "model.pt").write_bytes(b"")
        (tmp_path / "m" / "regaudit.toml").write_text("fail-on = 'never'")
        settings = project("fail-on = 'warn'", folder=tmp_path / "m", inputs=[given])
        assert settings.value("fail-on") == ("error" if given == "." else "warn")
        assert any("must not judge itself" in each for each in settings.notices)

    def test_a_broken_file_in_the_models_folder_breaks_nothing(self, project, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "regaudit.toml").write_text("= =")
        assert project("fail-on = 'warn'", folder=tmp_path / "m", inputs=["m"]).value("fail-on") == "warn"

    def test_a_chosen_file_holds_wherever_it_is(self, project, tmp_path):
        (tmp_path / "other.toml").write_text("fail-on = 'never'")
        settings = project("fail-on = 'warn'", config="other.toml", inputs=[str(tmp_path)])
        assert settings.value("fail-on") == "never"
        assert project("", environment={"REGAUDIT_CONFIG": "other.toml"}).value("fail-on") == "never"
        assert project("fail-on = 'warn'", no_config=True).value("fail-on") == "error"

    @pytest.mark.parametrize(
        "given", [{"config": "gone.toml"}, {"config": "pyproject.toml"}, {"config": "x", "no_config": True}]
    )
    def test_what_cannot_hold_is_refused(self, project, tmp_path, given):
        (tmp_path / "pyproject.toml").write_text("[project]\n")
        with pytest.raises(ConfigError):
            project("", **given)


def test_a_file_to_begin_with_is_valid_and_changes_nothing(project):
    settings = project(written())
    assert {each.origin for each in settings.values.values()} == {"default"}
    uncommented = "\n".join(
        line.removeprefix("# ") for line in written().splitlines() if " = " in line or line.startswith("# [")
    )
    every = tomllib.loads(uncommented.replace('baseline = ""', ""))
    assert set(every) == {*(each.name for each in KEYS), *TABLES} - {"baseline"}
    assert project(uncommented.replace('baseline = ""', "")).value("preset") == "recommended"


def test_a_baseline_is_read_from_the_folder_of_the_file(project, tmp_path):
    (tmp_path / "old.json").write_text('{"schema_version": "1.0", "inputs": [], "findings": []}')
    assert apply.policy(project("baseline = 'old.json'"), None).baseline.entries == ()
    with pytest.raises(ConfigError, match="cannot be read"):
        apply.policy(project("baseline = 'gone.json'"), None)
    assert apply.policy(project("baseline = 'gone.json'"), None, written=str(tmp_path / "gone.json")).baseline is None


def test_words_of_the_schema_are_those_of_the_records():
    assert document()["properties"]["preset"]["enum"] == list(PRESETS)
    assert document()["properties"]["rules"]["properties"]["RGA101"]["oneOf"][0]["enum"] == list(LEVELS)


VALUES = st.recursive(
    st.one_of(
        st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.dates(), st.datetimes(), st.times(),
        st.sampled_from(["RGA104", "kernel-dead-units", "RGA", "off", "2M", "2027-03-01", "a.b", ""]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["RGA104", "kernel-dead-units", "level", "zero-units", "tensors", "rule", "reason", "expires", "max-value",
                         "inputs", "name", "path", "a", "", "fail-on"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*(each.name for each in KEYS), *TABLES, "x", ""]), VALUES, max_size=4))
def test_any_table_is_read_or_refused(table):
    """Nothing but a sentence with a place comes of what is no configuration."""
    source = Source(path=Path("regaudit.toml"), text="", table=table)
    found, problems = settings_in(source)
    assert all(each.startswith("regaudit.toml:1: ") for each in problems)
    assert all(each.origin == "regaudit.toml:1" for each in found)
