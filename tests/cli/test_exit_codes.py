"""Every way to end has its exit code; none but a failed gate is 1."""

import subprocess
import sys

import pytest

from regaudit import pipeline
from regaudit.errors import CheckpointError


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("inspect", "model.safetensors"), 0),
        (("check", "model.safetensors"), 0),
        (("inspect", "broken.safetensors"), 0),
        (("check", "broken.safetensors"), 1),
        (("check", "broken.safetensors", "--fail-on", "warn", "-f", "json"), 1),
        (("check", "broken.safetensors", "--fail-on", "never"), 0),
        (("inspect", "missing.safetensors"), 3),
        (("inspect", "model.safetensors", "--limit", "header-bytes=9"), 3),
        (("check", "model.safetensors", "--limit", "tensors=9", "--limit", "header-bytes=1K"), 0),
        (("check", "missing.safetensors", "--fail-on", "never"), 3),
        ((), 2),
        (("--help",), 0),
        (("inspect", "-h"), 0),
        (("--version",), 0),
        (("inspect",), 2),
        (("rule", "RGA101"), 0),
        (("schema",), 0),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else str(each),
)
def test_exit_code(program, model, broken, arguments, code):
    assert program(*arguments).returncode == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspct", "x"), "Did you mean"),
        (("inspect", "x", "--tensor"), "--tensors"),
        (("inspect", "x", "-f", "jsn"), "--format cannot be 'jsn'; choose text, json"),
        (("inspect", "x", "--color", "allways"), "Did you mean always?"),
        (("inspect", "x", "--spectrum", "ful"), "Did you mean full?"),
        (("check", "x", "--fail-on", "info"), "choose error, warn or never"),
        (("inspect", "x", "-o", "report.pdf"), "no format ends like this"),
        (("inspect", "x", "-o", "jsn=report"), "--output cannot be 'jsn'"),
        (("inspect", "x", "-o", "missing/report.json"), "does not exist"),
        (("inspect", "x", "-o", "a.json", "-o", "./a.json"), "twice"),
        (("inspect", "x", "-o", "json=-"), "needs the name of a file"),
        (("inspect", "x", "-o", "json=/dev/null"), "not a regular file"),
        (("inspect", "x", "-o", "."), "is a directory; give the name of a file in it"),
        (("inspect", "x", "-o", f"{'x' * 300}.json"), "File name too long"),
        (("inspect", "x", "--limit", "tensor=5"), "Did you mean tensors? Limits that can be set: header-bytes"),
        (("check", "x", "--limit", "tensors=2M", "--limit", "rank=64"), "the limit rank is fixed"),
        (("inspect", "x", "--limit", "tensors"), "--limit takes NAME=VALUE"),
        (("inspect", ""), "INPUT is empty"),
        (("inspect", "model.safetensors", "-o", "json=model.safetensors"), "would replace a file of the input"),
        (("inspect", ".", "-o", "json=model.safetensors"), "would replace a file of the input"),
        (("rule", "RGA999"), "RGA999"),
        (("rule", "-f", "yaml"), "choose text or json"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_wrong_usage_is_2_and_says_what_to_do(called, model, monkeypatch, arguments, message):
    monkeypatch.chdir(model.parent)
    before = model.read_bytes()
    code, out, err = called(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert model.read_bytes() == before
    assert [each.name for each in model.parent.iterdir()] == [model.name]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("boom\x1b[2J"), 4),
        (EOFError(), 4),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 3),
        (CheckpointError("x", "y"), 3),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_goes_wrong_in_the_audit(called, model, monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pipeline, "audit", fail)
    found, out, err = called("inspect", model)
    assert (found, out) == (code, "")
    assert ("bug in regaudit" in err) == (code == 4)
    assert ("Traceback" in err) == (code == 4)
    assert "\x1b" not in err


def test_error_names_the_file_and_escapes_it(program):
    run = program("inspect", "no\x1b[31m\nsuch")
    assert run.returncode == 3
    assert b"error: no\\x1b[31m\\nsuch" in run.stderr
    assert run.stdout == b""


def test_closed_pipe_is_no_error(model):
    command = f"{sys.executable} -m regaudit inspect {model} -v --tensors | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (0, b"")


def test_closed_stdout_is_no_error(model):
    run = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m regaudit inspect {model} >&-"], capture_output=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, b"")


def test_full_disk_is_incomplete(model):
    command = f"{sys.executable} -m regaudit inspect {model} > /dev/full"
    run = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert run.returncode == 3
    assert b"cannot be written" in run.stderr


def test_screen_without_unicode_gets_ascii(program, model):
    run = program("inspect", model, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert run.returncode == 0
    assert run.stdout.isascii()
    assert b"32x48" in run.stdout
