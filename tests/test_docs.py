"""Docs are part of the work: generated pages are fresh, commands in the README run, doctests hold."""

import doctest
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from regaudit import rules
from regaudit.checkpoints import describe as limits
from regaudit.effects import describe as effects
from regaudit.penalties import describe as penalties
from regaudit.probes import describe as measures
from regaudit.settings import describe as settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "config.md": settings.describe,
    "effects.md": effects.describe,
    "limits.md": limits.describe,
    "measures.md": measures.describe,
    "penalties.md": penalties.describe,
    "rules.md": rules.describe,
}


@pytest.mark.parametrize("name", PAGES)
def test_generated_page_is_fresh(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


def readme_commands() -> list[str]:
    blocks = re.findall(r"```(?:console|sh)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("regaudit ") and "fixtures/" in line]


def test_readme_shows_commands():
    assert len(readme_commands()) >= 2


@pytest.mark.parametrize("command", readme_commands())
def test_readme_command_runs(command):
    arguments = shlex.split(command.split("#")[0])[1:]
    run = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-m", "regaudit", *arguments], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )
    assert run.returncode in {0, 1}, run.stderr
    assert run.stdout


SAMPLE = re.compile(r"<!-- sample: regaudit (.*?) -->\n```text\n(.*?)```", re.DOTALL)


def test_samples_in_the_readme_are_what_is_printed():
    """Every line stands in the output, in this order; a line of dots leaves some out."""
    samples = SAMPLE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert samples
    for command, shown in samples:
        run = subprocess.run(
            [sys.executable, "-m", "regaudit", *shlex.split(command)],
            cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"}, check=True,
        )  # fmt: skip
        printed = iter(run.stdout.splitlines())
        for line in shown.splitlines():
            assert line.strip() == "..." or line in printed, f"not printed: {line}"


def test_links_in_the_docs_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", ["README.md", "docs/probes.md"])
def test_python_in_the_docs_runs(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    code, *_ = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("module", ["regaudit.pipeline"])
def test_examples_in_docstrings_run(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert doctest.testmod(import_module(module)).failed == 0
