"""stdout is the report and nothing else; files are whole or not there."""

import json
import stat

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from safetensors.numpy import save_file

from regaudit.cli import destinations
from regaudit.reports.json import SCHEMA

FLAGS = [
    (), ("--tensors",), ("-v",), ("-q",), ("--color", "always"), ("--no-progress",), ("--spectrum", "off"),
    ("--spectrum", "full", "--tensors", "-v"), ("-o", "copy.json", "-o", "text=copy"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
@pytest.mark.parametrize("command", ["inspect", "check"])
@pytest.mark.parametrize("name", ["model.safetensors", "broken.safetensors", "missing.safetensors"])
def test_stdout_is_valid_json_under_every_flag(called_json, model, broken, command, name, flags):
    code, document = called_json(command, name, "-f", "json", *flags)
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    assert document["exit_code"] == code
    assert bool(document["tensors"]) == ("--tensors" in flags and name != "missing.safetensors")
    assert (document["gate"] is None) == (command == "inspect")


def test_gate_of_an_input_that_cannot_be_read_is_no_pass(called_json):
    _, document = called_json("check", "missing.safetensors", "-f", "json", "--fail-on", "never")
    assert document["gate"]["passed"] is False
    assert document["errors"][0]["path"].endswith("missing.safetensors")


def test_several_files_in_one_run(called, model, tmp_path):
    _, out, _ = called("inspect", model, "-o", "report.json", "-o", "report.txt", "-o", "json=other")
    assert "audited 4/4 tensors" in out
    assert json.loads((tmp_path / "report.json").read_text())["run"]["status"] == "complete"
    assert (tmp_path / "report.json").read_bytes() == (tmp_path / "other").read_bytes()
    assert "audited 4/4 tensors" in (tmp_path / "report.txt").read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "model.safetensors",
        "other",
        "report.json",
        "report.txt",
    ]


def test_file_gets_the_permissions_of_any_new_file(called, model, tmp_path):
    (tmp_path / "plain").touch()
    called("inspect", model, "-o", "report.json")
    permissions = {stat.S_IMODE((tmp_path / each).stat().st_mode) for each in ("plain", "report.json")}
    assert len(permissions) == 1


def test_old_report_is_replaced_even_by_one_that_says_incomplete(called, model, tmp_path):
    called("inspect", model, "-o", "report.json")
    called("inspect", "missing", "-o", "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["run"]["status"] == "incomplete"


def test_link_is_followed_not_replaced(called, model, tmp_path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("real.json")
    called("inspect", model, "-o", "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["exit_code"] == 0


def test_a_link_that_leads_to_itself_is_no_place_for_a_report(called, model, tmp_path):
    (tmp_path / "loop.json").symlink_to("loop.json")
    code, _, err = called("inspect", model, "-o", "loop.json")
    assert code == 2
    assert "loop.json" in err


def test_nothing_is_left_where_writing_fails(called, model, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(destinations.os, "fsync", fail)
    code, out, err = called("inspect", model, "-o", "report.json", "-o", "report.txt")
    assert code == 3
    assert out == ""
    assert f"{tmp_path / 'report.json'}: the report cannot be written (No space left on device)" in err
    assert [each.name for each in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("color", "environment", "is_colored"),
    [
        ("auto", {}, False),
        ("always", {}, True),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"FORCE_COLOR": "0"}, False),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
    ],
)
def test_colour(called, model, monkeypatch, color, environment, is_colored):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _, out, _ = called("inspect", model, "--color", color)
    assert ("\x1b[" in out) == is_colored


@pytest.mark.parametrize("columns", [72, 80, 132])
def test_width_follows_columns(called, model, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = called("inspect", model)
    prose = [line for line in out.splitlines() if not line.startswith("    ")]
    assert max(map(len, prose)) <= columns


def test_quiet_says_the_verdict_and_the_scope(called, broken):
    _, out, err = called("check", broken, "-q")
    assert "FAILED" in out
    assert "nonfinite" in out
    assert "Layers" not in out
    assert err == ""


def test_names_from_the_file_are_escaped(called, called_json, tmp_path):
    name = "a\x1b[31m[/red]<b>\n::error::\u202e.weight"
    save_file({name: np.eye(8, dtype=np.float32), "[bold]x[/].weight": np.ones((8, 8), np.float32)}, tmp_path / "evil")
    _, out, err = called("inspect", "evil", "-v", "--tensors", "--color", "always")
    assert "\x1b[31m[/red]" not in out
    assert "a\\x1b[31m[/red]<b>\\n::error::\\u202e.weight" in out
    assert "[bold]x[/].weight" in out
    assert err == ""
    _, document = called_json("inspect", "evil", "-f", "json", "--tensors")
    assert name in [each["name"] for each in document["tensors"]]


def test_schema_is_the_committed_one(called):
    _, out, _ = called("schema")
    assert out == SCHEMA.read_text(encoding="utf-8")


def test_rules_are_listed_and_explained(called, called_json):
    from regaudit.rules import RULES

    _, out, _ = called("rule")
    assert all(each.code in out and each.name in out for each in RULES)
    _, out, _ = called("rule", RULES[0].name)
    assert RULES[0].code in out
    _, document = called_json("rule", "-f", "json")
    assert [each["code"] for each in document] == [each.code for each in RULES]
    _, document = called_json("rule", RULES[0].code, "-f", "json")
    assert document["fix"] == RULES[0].fix
