"""`--init`: what the weights were before training."""

import json
import shutil

import pytest


def audited(program, *arguments):
    run = program("inspect", "model.safetensors", "-f", "json", *arguments)
    return run, json.loads(run.stdout) if run.stdout else {}


@pytest.mark.parametrize("init", ["torch", "keras", "transformers"])
def test_a_framework_may_be_named(program, model, init):
    run, document = audited(program, "--init", init)
    assert run.returncode == 0
    expected = {"torch": "PyTorch's default", "keras": "Glorot uniform", "transformers": "N(0, 0.02)"}[init]
    assert expected in document["layers"][0]["details"]["kernel.growth"]


def test_a_checkpoint_may_be_named(program, model):
    shutil.copy(model, model.parent / "start.safetensors")
    run, document = audited(program, "--init", "start.safetensors")
    assert run.returncode == 0
    reasons = {each["reason"] for each in document["layers"][0]["skips"]}
    assert "the kernel is what it was before training" in reasons


def test_what_is_neither_is_refused(program, model):
    run, document = audited(program, "--init", "pytorch")
    assert run.returncode == 2
    assert b"Did you mean torch?" in run.stderr
    assert not document


def test_a_start_that_is_no_model_is_named(program, model):
    (model.parent / "notes.txt").write_text("hello")
    run, _ = audited(program, "--init", "notes.txt")
    assert run.returncode == 3
    assert b"notes.txt" in run.stderr
