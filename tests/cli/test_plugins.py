"""Plugins of other packages: they play their part, or the run says which one is broken, and why."""

import importlib
import json
import sys
import tomllib
from contextvars import copy_context
from pathlib import Path

import pytest

from regaudit.__main__ import run

ROOT = Path(__file__).resolve().parents[2]
ACME = ROOT / "tests" / "plugins" / "acme"
MODEL = ROOT / "fixtures" / "mlp_plain" / "model.safetensors"
TEXT = "ACME1\nfc1.weight 3 4:1 2 3 4 -1 -2 -3 -4.1 1 2.1 3 4\nfc2.weight 2 3:.1 .5 -.2 .3 -.1 .7\n"


def install(target: Path, name: str, groups: dict[str, dict[str, str]], version="1.2.0") -> None:
    """Write what pip leaves of a package: its metadata beside its modules."""
    info = target / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{k} = {v}" for k, v in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    importlib.invalidate_caches()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return an empty folder on sys.path; what is imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def acme(site):
    project = tomllib.loads((ACME / "pyproject.toml").read_text())["project"]
    (site / "regaudit_acme.py").write_text((ACME / "regaudit_acme.py").read_text())
    install(site, project["name"], project["entry-points"], project["version"])
    model = site / "model.acme"
    model.write_text(TEXT)
    return str(model)


@pytest.fixture
def regaudit(capsys):
    """Return exit code, stdout and stderr of a run of the program."""

    def build(*arguments):
        code = copy_context().run(run, [str(each) for each in arguments])
        return code, *capsys.readouterr()

    return build


class TestExample:
    def test_all_four_play_together(self, acme, regaudit):
        code, out, _ = regaudit("check", acme, "--fail-on", "warn", "-f", "acme")
        assert (code, out) == (1, f"{acme}: exit code 1\nwarn ACME101 fc1\n")

    def test_the_measure_is_in_the_report(self, acme, regaudit):
        code, out, _ = regaudit("inspect", acme, "-f", "json")
        layers = {each["name"]: each for each in json.loads(out)["layers"]}
        assert code == 0
        assert layers["fc1"]["measurements"]["kernel.alternation"] == pytest.approx(1, abs=1e-3)

    def test_sarif_has_its_rule_in_an_extension(self, acme, regaudit):
        log = json.loads(regaudit("check", acme, "-f", "sarif")[1])["runs"][0]
        (extension,) = log["tool"]["extensions"]
        (result,) = log["results"]
        assert (extension["name"], extension["version"]) == ("regaudit-acme", "1.2.0")
        assert log["tool"]["driver"]["rules"] == []
        assert result["rule"] == {"id": "ACME101", "index": 0, "toolComponent": {"name": "regaudit-acme", "index": 0}}
        assert extension["rules"][0]["id"] == result["ruleId"] == "ACME101"

    def test_sarif_is_valid(self, acme, regaudit):
        jsonschema = pytest.importorskip("jsonschema")
        schema = ROOT / "tests" / "unit" / "reports" / "schemas" / "sarif-2.1.0-rtm.5.json"
        jsonschema.validate(json.loads(regaudit("check", acme, "-f", "sarif")[1]), json.loads(schema.read_text()))

    @pytest.mark.parametrize("word", ["ACME101", "acme101", "kernel-checkerboard"])
    def test_rule_explains_it(self, word, acme, regaudit):
        code, out, _ = regaudit("rule", word)
        assert code == 0
        assert "ACME101 kernel-checkerboard (warning, medium confidence, since 1.2.0)" in out
        assert "opposite signs cancel" in out

    def test_rule_lists_it_last(self, acme, regaudit):
        assert "ACME101" in regaudit("rule")[1].splitlines()[-3]

    @pytest.mark.parametrize(
        "words", [["--select", "ACME"], ["--select", "acme1"], ["--select", "kernel-checkerboard"]]
    )
    def test_select(self, words, acme, regaudit):
        assert "warn ACME101 fc1" in regaudit("check", acme, "-f", "acme", *words)[1]

    def test_ignore(self, acme, regaudit):
        assert regaudit("check", acme, "-f", "acme", "--ignore", "ACME101")[1].count("\n") == 1

    def test_a_configuration_sets_level_and_threshold(self, acme, regaudit, tmp_path):
        config = tmp_path / "regaudit.toml"
        config.write_text('[rules.ACME101]\nlevel = "error"\nalternation = 0.5\n')
        assert regaudit("check", acme, "--config", config, "-q")[0] == 1
        config.write_text("[rules.kernel-checkerboard]\nalternation = 1.5\n")
        assert "ACME101" not in regaudit("check", acme, "--config", config, "-f", "acme")[1]

    def test_suffix_of_a_report(self, acme, regaudit, tmp_path):
        file = tmp_path / "x.acme-report"
        assert regaudit("inspect", acme, "-q", "-o", file)[0] == 0
        assert "warn ACME101 fc1" in file.read_text()

    def test_doctor_lists_them(self, acme, regaudit):
        code, out, _ = regaudit("doctor", "-f", "json")
        found = {
            (p["kind"], p["name"], p["distribution"], p["version"], p["error"]) for p in json.loads(out)["plugins"]
        }
        assert code == 0
        assert found == {
            ("rules", "kernel-checkerboard", "regaudit-acme", "1.2.0", ""),
            ("measures", "kernel.alternation", "regaudit-acme", "1.2.0", ""),
            ("formats", "acme-text", "regaudit-acme", "1.2.0", ""),
            ("reports", "acme", "regaudit-acme", "1.2.0", ""),
        }  # fmt: skip
        assert "rules, regaudit-acme 1.2.0" in regaudit("doctor")[1]

    def test_a_saved_report_needs_no_plugin(self, acme, regaudit, tmp_path):
        saved = tmp_path / "run.json"
        regaudit("check", acme, "-q", "-o", saved)
        code, out, _ = regaudit("report", saved, "-f", "sarif", "--no-plugins")
        (result,) = json.loads(out)["runs"][0]["results"]
        assert (code, result["ruleId"]) == (0, "ACME101")
        assert "rule" not in result


@pytest.mark.parametrize("name", ["pyproject.toml", "regaudit_acme.py"])
def test_the_page_of_docs_has_the_example_as_it_is(name):
    page = (ROOT / "docs" / "plugins.md").read_text()
    assert f"`{name}`:\n\n```{'toml' if name.endswith('toml') else 'python'}\n{(ACME / name).read_text()}```\n" in page


class TestSwitchedOff:
    def test_by_the_option(self, acme, regaudit):
        code, _, err = regaudit("check", acme, "--no-plugins")
        assert code == 3
        assert "no model file that regaudit knows" in err

    def test_by_the_environment(self, acme, regaudit, monkeypatch):
        monkeypatch.setenv("REGAUDIT_NO_PLUGINS", "1")
        assert regaudit("rule", "ACME101")[0] == 2
        assert json.loads(regaudit("doctor", "-f", "json")[1])["plugins"] == []

    def test_by_the_configuration(self, acme, regaudit, tmp_path):
        config = tmp_path / "regaudit.toml"
        config.write_text("no-plugins = true\n")
        assert regaudit("check", acme, "--config", config)[0] == 3
        assert "no-plugins" in regaudit("config", "show", "--config", config)[1]

    def test_a_rule_that_is_off_cannot_be_selected(self, acme, regaudit):
        code, _, err = regaudit("check", MODEL, "--no-plugins", "--select", "ACME101")
        assert code == 2
        assert "Plugins are switched off" in err

    def test_the_working_directory_has_none(self, acme, regaudit, monkeypatch):
        """It may be a model's folder, and a model must not bring code along."""
        monkeypatch.chdir(Path(acme).parent)
        assert regaudit("rule", "ACME101")[0] == 2


BASE = """
from regaudit.checkpoints.base import Format
from regaudit.measures.base import Measure
from regaudit.records import Confidence, Finding, Severity
from regaudit.reports.base import Reporter
from regaudit.rules.base import Rule

PAGE = "It is.\\n\\nWhy:\\n    Why.\\n\\nHow:\\n    How.\\n\\nFix:\\n    Fix.\\n"

def rule(check=lambda audit: iter(()), code="BAD101", name="bad-rule", page=PAGE):
    return Rule(code=code, name=name, page=page, severity=Severity.WARN, confidence=Confidence.LOW, check=check)

def measure(function=lambda subject: 1.0, name="kernel.bad", tells="Nothing."):
    return Measure(name=name, formula="1", range="{1}", tells=tells, function=function)

def fail(*_):
    raise RuntimeError("out of luck")

def finding(**changes):
    fields = dict(rule="BAD101", name="bad-rule", severity=Severity.INFO, confidence=Confidence.LOW, message="m")
    return lambda audit: iter([Finding(**fields | changes)])
"""
BROKEN = {
    "import error": ("rules", "bad-rule", "import nowhere_to_be_found", "nowhere_to_be_found"),
    "import exits": ("rules", "bad-rule", "raise SystemExit(0)", "SystemExit"),
    "no such name": ("rules", "bad-rule", "OTHER = 1", "AttributeError"),
    "wrong type": ("rules", "bad-rule", "OBJECT = 7", "int; Rule was expected"),
    "other name": ("rules", "other-name", "OBJECT = rule()", "calls itself 'bad-rule'"),
    "name of ours": ("rules", "kernel-constant", "OBJECT = rule(name='kernel-constant')", "'kernel-constant' is taken"),
    "code of ours": ("rules", "bad-rule", "OBJECT = rule(code='RGA103')", "'RGA103' is taken"),
    "our codes": ("rules", "bad-rule", "OBJECT = rule(code='RGA999')", "its code is 'RGA999'"),
    "no code": ("rules", "bad-rule", "OBJECT = rule(code='b1')", "its code is 'b1'"),
    "one word": ("rules", "bad", "OBJECT = rule(name='bad')", "its name is 'bad'"),
    "no page": ("rules", "bad-rule", "OBJECT = rule(page='It is.')", "no why"),
    "rule raises": ("rules", "bad-rule", "OBJECT = rule(fail)", "RuntimeError: out of luck"),
    "rule gives text": ("rules", "bad-rule", "OBJECT = rule(lambda audit: iter(['x']))", "gave str"),
    "finding of ours": ("rules", "bad-rule", "OBJECT = rule(finding(rule='RGA101'))", "gave a finding of RGA101"),
    "finding not finite": ("rules", "bad-rule", "OBJECT = rule(finding(value=float('nan')))", "finite numbers"),
    "measure raises": ("measures", "kernel.bad", "OBJECT = measure(fail)", "RuntimeError: out of luck"),
    "measure gives text": ("measures", "kernel.bad", "OBJECT = measure(lambda s: 'x')", "a number was expected"),
    "measure of ours": ("measures", "kernel.rms", "OBJECT = measure(name='kernel.rms')", "'kernel.rms' is taken"),
    "measure of what": ("measures", "activity.bad", "OBJECT = measure(name='activity.bad')", "it must begin with kernel."),
    "measure says nothing": ("measures", "kernel.bad", "OBJECT = measure(tells='')", "does not say what it tells"),
    "model measure raises": ("measures", "model.bad", "OBJECT = measure(fail, name='model.bad')", "out of luck"),
    "format of ours": (
        "formats", "safetensors", "OBJECT = Format(name='safetensors', claims=fail, open=fail)", "'safetensors' is taken",
    ),
    "report of ours": ("reports", "json", "OBJECT = Reporter(name='json', suffixes=(), render=fail)", "'json' is taken"),
    "suffix of ours": ("reports", "bad", "OBJECT = Reporter(name='bad', suffixes=('.xml',), render=fail)", "'.xml' is taken"),
    "suffix without a dot": ("reports", "bad", "OBJECT = Reporter(name='bad', suffixes=('x',), render=fail)", "needs its dot"),
    "report is no word": ("reports", "b-d", "OBJECT = Reporter(name='b-d', suffixes=(), render=fail)", "'b-d'"),
}  # fmt: skip
RAISES_LATER = {name for name in BROKEN if "raises" in name or "gives" in name or name.startswith("finding")}


def bring(site, kind, name, source):
    module = f"bad_{len(list(site.iterdir()))}"
    (site / f"{module}.py").write_text(BASE + source + "\n")
    install(site, f"regaudit-{module}", {f"regaudit.{kind}": {name: f"{module}:OBJECT"}})


@pytest.mark.parametrize(("kind", "name", "source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_stops_the_run(site, regaudit, kind, name, source, reason):
    bring(site, kind, name, source)
    code, _, err = regaudit("check", MODEL)
    assert code == 3
    assert f"plugin {name} ({kind}, regaudit-bad_0 1.2.0)" in err
    assert reason in err
    assert "uninstall regaudit-bad_0, or run with --no-plugins" in err
    assert regaudit("check", MODEL, "--no-plugins")[0] == 0


@pytest.mark.parametrize("case", [name for name in BROKEN if name not in RAISES_LATER])
def test_doctor_says_what_is_broken(site, regaudit, case):
    kind, name, source, reason = BROKEN[case]
    bring(site, kind, name, source)
    code, out, _ = regaudit("doctor", "-f", "json")
    (found,) = json.loads(out)["plugins"]
    assert code == 3
    assert (found["name"], found["kind"]) == (name, kind)
    assert reason in found["error"]
    assert "broken" in regaudit("doctor")[1]


def test_a_report_that_raises(site, regaudit):
    bring(site, "reports", "bad", "OBJECT = Reporter(name='bad', suffixes=(), render=fail)")
    code, _, err = regaudit("check", MODEL, "-f", "bad")
    assert code == 3
    assert "plugin bad (reports" in err
    assert regaudit("check", MODEL, "-q")[0] == 0


@pytest.mark.parametrize(
    "source",
    [
        "OBJECT = Format(name='bad', claims=fail, open=fail)",
        "OBJECT = Format(name='bad', claims=lambda c: True, open=fail)",
        "OBJECT = Format(name='bad', claims=lambda c: True, open=lambda c: None)",
    ],
    ids=["claims", "open", "no checkpoint"],
)
def test_a_format_that_fails(site, regaudit, source, tmp_path):
    bring(site, "formats", "bad", source)
    file = tmp_path / "model.bad"
    file.write_text("what no other format knows")
    code, _, err = regaudit("check", file)
    assert code == 3
    assert "plugin bad (formats" in err


def test_two_plugins_cannot_share_a_code(site, regaudit):
    bring(site, "rules", "bad-rule", "OBJECT = rule()")
    bring(site, "rules", "worse-rule", "OBJECT = rule(name='worse-rule')")
    code, _, err = regaudit("rule")
    assert code == 3
    assert "'BAD101' is taken, by regaudit itself or by another plugin" in err


def test_what_a_plugin_prints_on_import_is_not_the_report(site, regaudit):
    bring(site, "rules", "bad-rule", "print('hello')\nOBJECT = rule()")
    code, out, err = regaudit("inspect", MODEL, "-f", "json")
    assert code == 0
    assert json.loads(out)["inputs"]
    assert "hello" in err


def test_no_plugin_is_asked_for_by_help():
    """Who has no plugin does not pay for them: the metadata of packages are slow to import."""
    import subprocess

    code = (
        "import sys; from regaudit.__main__ import run; run(['--help']); sys.exit('importlib.metadata' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
