"""The GitHub Action: its steps run here as plain shell, as a runner would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {each["id"]: each for each in ACTION["runs"]["steps"] if "id" in each}
SHELL = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c"]  # as runners start `shell: bash`
DEFAULTS = {name: each["default"] for name, each in ACTION["inputs"].items()}


class Runner:
    """Runs single steps: expressions in `env` are looked up, outputs are collected, nothing else is known."""

    def __init__(self, folder, inputs):
        self.folder, self.inputs = folder, {**DEFAULTS, **inputs}
        self.steps = {"install": {"regaudit": str(Path(sys.executable).with_name("regaudit"))}}

    def value(self, expression):
        found = re.fullmatch(r"\$\{\{ (inputs|steps|github)\.([\w.-]+) \}\}", expression)
        assert found, f"{expression} is no plain look-up"
        kind, path = found.groups()
        if kind == "github":
            return str(ROOT)
        if kind == "inputs":
            return self.inputs[path]
        step, _, name = path.split(".")
        return self.steps[step].get(name, "")

    def run(self, step):
        output, summary = self.folder / f"{step}.output", self.folder / "summary.md"
        output.touch()
        environment = {
            "PATH": os.environ["PATH"],
            "RUNNER_TEMP": str(self.folder),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            **{name: self.value(each) for name, each in STEPS[step]["env"].items()},
        }
        done = subprocess.run(
            [*SHELL, STEPS[step]["run"]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        self.steps[step] = dict(line.split("=", 1) for line in output.read_text().splitlines())
        return done


def checked(folder, **inputs):
    runner = Runner(folder, {name.replace("_", "-"): each for name, each in inputs.items()})
    done = runner.run("check")
    assert done.returncode == 0, done.stderr
    return runner, done


def test_a_healthy_model_passes_with_all_reports(tmp_path):
    runner, _ = checked(tmp_path, inputs="fixtures/mlp_plain\n\nfixtures/cnn_batchnorm/model.pth\n")
    assert runner.steps["check"]["exit-code"] == "0"
    assert runner.steps["check"]["passed"] == "true"
    made = {each.name for each in Path(runner.steps["check"]["reports"]).iterdir()}
    expected = {"regaudit.json", "regaudit.sarif", "regaudit.html", "regaudit.md", "regaudit.xml", "annotations.txt"}
    assert made == expected
    assert runner.run("summary").returncode == 0
    assert "PASSED" in (tmp_path / "summary.md").read_text()
    assert runner.run("fail").returncode == 0


def test_a_gate_that_fails_shows_why_and_fails_last(tmp_path):
    config = tmp_path / "regaudit.toml"
    config.write_text('[rules.kernel-dead-units]\nlevel = "error"\n')
    runner, _ = checked(tmp_path, inputs="fixtures/mlp_l1", config=str(config))
    assert runner.steps["check"]["passed"] == "false"
    assert runner.run("annotations").stdout.startswith("::error ")
    assert runner.run("fail").returncode == 1


def test_what_cannot_be_read_is_3(tmp_path):
    runner, _ = checked(tmp_path, inputs="no/such/model.pt")
    assert runner.steps["check"]["exit-code"] == "3"
    assert runner.run("fail").returncode == 3


@pytest.mark.parametrize("hostile", ["$(touch pwned)", "`touch pwned`", '"; touch pwned; "', "--help", "-o x.json"])
def test_inputs_are_never_run_as_shell_or_options(tmp_path, hostile):
    runner, done = checked(tmp_path, inputs=hostile)
    assert runner.steps["check"]["exit-code"] == "3", done.stderr
    assert not (ROOT / "pwned").exists()


@pytest.mark.parametrize("wrong", [{"version": "1.0; touch x"}, {"extras": "keras]; touch x"}])
def test_what_is_installed_is_checked_first(tmp_path, wrong):
    done = Runner(tmp_path, wrong).run("install")
    assert done.returncode == 2
    assert "::error" in done.stdout


def test_no_expression_stands_in_a_script():
    """An input pasted into a script would run as shell."""
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_every_input_is_used_and_documented():
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text()))
    assert used == set(ACTION["inputs"])
    for name in ACTION["inputs"]:
        assert f"`{name}`" in (ROOT / "docs" / "ci.md").read_text()


def test_the_hook_matches_models_alone():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert re.search(hook["files"], "runs/model.safetensors")
    assert not re.search(hook["files"], "regaudit/model.py")
    program, command, *_ = hook["entry"].split()
    assert (program, command) == ("regaudit", "check")
