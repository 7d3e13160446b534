"""Several inputs in one run: one report each and a summary; a bad one stops no other."""

import json
import os
import shutil

import pytest
from jsonschema import Draft202012Validator

from regaudit import pipeline
from regaudit.reports.json import SCHEMA


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tree(model, broken, tmp_path):
    """A tree of models: one in a folder with its configuration, a broken one, a truncated one, and what is no model."""
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / ".git").mkdir()
    shutil.copy(model, tmp_path / "runs" / "a" / "model.safetensors")
    (tmp_path / "runs" / "a" / "config.json").write_text("{}")
    shutil.copy(model, tmp_path / "runs" / "epoch1.safetensors")
    shutil.copy(model, tmp_path / "runs" / ".git" / "hidden.safetensors")
    (tmp_path / "runs" / "cut.safetensors").write_bytes(model.read_bytes()[:100])
    (tmp_path / "runs" / "notes.md").write_text("# notes")
    (tmp_path / "runs" / "vocabulary.bin").write_bytes(b"\1\2\3")
    (tmp_path / "runs" / "loop").symlink_to("..")
    return tmp_path / "runs"


MODELS = ["runs/cut.safetensors", "runs/epoch1.safetensors", "runs/a"]


@pytest.mark.parametrize(
    ("command", "words", "code"),
    [
        ("inspect", ["model.safetensors", "broken.safetensors"], 0),
        ("check", ["model.safetensors", "model.safetensors"], 0),
        ("check", ["model.safetensors", "broken.safetensors"], 1),
        ("check", ["broken.safetensors", "missing", "model.safetensors"], 3),
        ("inspect", ["missing", "model.safetensors"], 3),
        ("check", ["missing", "model.safetensors", "--fail-on", "never"], 3),
        ("check", ["*.safetensors"], 1),
        ("check", ["m*.safetensors"], 0),
        ("inspect", ["*.pt"], 3),
        ("inspect", ["empty", "-r"], 3),
    ],
)
def test_exit_code_is_the_worst(called_json, model, broken, tmp_path, command, words, code):
    (tmp_path / "empty").mkdir()
    found, document = called_json(command, *words, "-f", "json")
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    assert (found, document["exit_code"]) == (code, code)
    assert max(each["exit_code"] for each in document["reports"]) == code


def test_document_is_that_of_one_input_with_the_others_in_it(called_json, model, broken):
    _, alone = called_json("check", "broken.safetensors", "-f", "json")
    _, document = called_json("check", "model.safetensors", "broken.safetensors", "missing", "-f", "json")
    assert [each["path"] for each in document["inputs"]] == ["model.safetensors", "broken.safetensors"]
    assert [each["path"] for each in document["errors"]] == ["missing"]
    assert [len(each["inputs"]) for each in document["reports"]] == [1, 1, 0]
    assert document["findings"] == alone["findings"]
    assert {each["input"] for each in document["findings"]} == {"broken.safetensors"}
    assert document["coverage"]["tensors"] == 6
    assert document["run"]["status"] == "incomplete"
    assert document["gate"]["passed"] is False
    assert all(each.startswith(("broken.safetensors: ", "missing: ")) for each in document["gate"]["reasons"])
    assert (document["layers"], document["recommendation"], alone["reports"]) == ([], None, [])
    part = document["reports"][1]
    for each in (part, alone):
        each["run"]["duration_s"] = 0
    assert part == alone


def test_shape_of_the_document_does_not_depend_on_what_matches(called_json, model):
    for words in (["*.safetensors"], ["model.safetensors", "./model.safetensors"], [".", "-r"]):
        _, document = called_json("inspect", *words, "-f", "json")
        assert len(document["reports"]) == 1


def test_tree_is_searched(called_json, tree):
    code, document = called_json("inspect", "runs", "--recursive", "-f", "json")
    assert code == 3
    found = [(each["inputs"] or each["errors"])[0]["path"] for each in document["reports"]]
    assert [each.partition(":")[0] for each in found] == MODELS


def test_pattern_reaches_into_folders(called_json, tree):
    _, document = called_json("inspect", "r*/[ab]/*.safetensors", "-f", "json")
    assert [each["path"] for each in document["inputs"]] == ["runs/a/model.safetensors"]


def test_file_named_like_a_pattern_is_one_input(called_json, model, tmp_path):
    shutil.copy(model, tmp_path / "model[1].safetensors")
    _, document = called_json("inspect", "model[1].safetensors", "-f", "json")
    assert (len(document["inputs"]), document["reports"]) == (1, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_locked_folder_is_told(called_json, tree):
    (tree / "a").chmod(0)
    code, document = called_json("inspect", "runs", "-r", "-f", "json")
    (tree / "a").chmod(0o755)
    assert code == 3
    assert "runs/a" in [each["path"] for each in document["errors"]]


def test_text_ends_with_a_line_for_each(called, model, broken):
    code, out, err = called("check", "model.safetensors", "missing", "broken.safetensors")
    assert code == 3
    assert out.count("audited 4/4 tensors") == 1
    summary = out[out.index("Summary  3 inputs") :].splitlines()
    assert [line.split()[:2] for line in summary[2:5]] == [
        ["model.safetensors", "PASSED"], ["missing", "UNREADABLE"], ["broken.safetensors", "FAILED"],
    ]  # fmt: skip
    assert "3 inputs: 1 passed, 1 unreadable, 1 failed" in out
    assert err.count("error: ") == 1
    assert "missing: no such file" in err


def test_quiet_shows_those_that_need_attention(called, model, broken):
    _, out, _ = called("check", "model.safetensors", "broken.safetensors", "-q")
    assert out.startswith("broken.safetensors")
    assert out.count("model.safetensors") == 1


def test_every_report_goes_into_every_file(called, model, broken, tmp_path):
    _, out, _ = called("inspect", "model.safetensors", "broken.safetensors", "-o", "all.json", "-o", "all.txt")
    assert len(json.loads((tmp_path / "all.json").read_text())["reports"]) == 2
    assert (tmp_path / "all.txt").read_text() == out


def test_no_output_replaces_any_input(called, model, broken):
    before = broken.read_bytes()
    code, out, err = called("inspect", "model.safetensors", "broken.safetensors", "-o", "json=broken.safetensors")
    assert (code, out) == (2, "")
    assert "would replace a file of the input" in err
    assert broken.read_bytes() == before


def test_memory_that_one_lacks_stops_no_other(called_json, model, broken, monkeypatch):
    audit = pipeline.audit

    def fail(path, *arguments, **settings):
        if path == "broken.safetensors":
            raise MemoryError
        return audit(path, *arguments, **settings)

    monkeypatch.setattr(pipeline, "audit", fail)
    code, document = called_json("inspect", "broken.safetensors", "model.safetensors", "-f", "json")
    assert code == 3
    assert "memory" in document["errors"][0]["problem"]
    assert [each["path"] for each in document["inputs"]] == ["model.safetensors"]


def test_names_of_files_are_escaped(called, model, tmp_path):
    shutil.copy(model, tmp_path / "a\x1b[31m[red]\n.safetensors")
    _, out, _ = called("inspect", "a\x1b[31m[red]\n.safetensors", "model.safetensors", "--color", "never")
    assert "\x1b" not in out
    assert "a\\x1b[31m[red]\\n.safetensors" in out


def test_model_that_is_not_read_is_bad_and_named(called_json, called, tree, tmp_path):
    (tree / "cut.safetensors").unlink()
    assert called("inspect", "runs", "-r")[0] == 0
    (tree / "small.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    code, _, err = called("inspect", "runs", "-r", "-q")
    assert code == 3
    assert "error: runs/small.tflite: is a TensorFlow Lite model\nfix: Give the Keras model" in err
    assert "notes.md" not in err
    _, document = called_json("check", "runs", "-r", "-f", "json")
    assert [each["path"] for each in document["errors"]] == ["runs/small.tflite"]
    assert len(document["inputs"]) == 2
