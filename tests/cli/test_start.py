"""Starting is quick: nothing heavy is imported before it is needed."""

import subprocess
import sys

import pytest

LIGHT = "numpy rich torch h5py scipy pydantic"


def imported(code):
    probe = f"import sys; {code}; print(*[m for m in '{LIGHT}'.split() if m in sys.modules], file=sys.stderr)"
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stderr.split()


@pytest.mark.parametrize("module", ["regaudit.cli", "regaudit.cli.app", "regaudit.reports", "regaudit.__main__"])
def test_importing_it_is_light(module):
    assert imported(f"import {module}") == []


@pytest.mark.parametrize("arguments", ["--help", "inspect --help", "--version", "schema"])
def test_answers_without_a_model_are_light(arguments):
    assert imported(f"from regaudit.__main__ import run; run({arguments.split()})") == []


def test_json_of_a_safetensors_file_needs_numpy_only(model):
    assert imported(f"from regaudit.__main__ import run; run(['inspect', {str(model)!r}, '-f', 'json'])") == ["numpy"]
