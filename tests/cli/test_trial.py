"""`regaudit trial`: one command from a checkpoint and a recipe to a measured recommendation."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from regaudit.cli.app import app
from regaudit.cli.live import table
from regaudit.penalties import Penalties
from regaudit.reports.json import SCHEMA, render
from regaudit.reports.reading import read

torch.set_num_threads(1)

CODE = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 1))
"""
RECIPE = """
import torch

def train(model, penalty, *, steps, seed, init):
    data = __import__("numpy").load("train.npz")
    x, y = torch.tensor(data["x"]), torch.tensor(data["y"])
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        ((model(x) - y).square().mean() + penalty(model)).backward()
        optimizer.step()
    return model
"""
OPTIONS = [
    "trial", "model.safetensors", "--model", "net.py:build", "--probe", "train.npz", "--val", "val.npz", "--loss", "mse",
    "--lr", "0.02", "--steps", "60", "--batch-size", "16", "--device", "cpu",
]  # fmt: skip


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A folder with an overfitted network, its code, and data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "recipe.py").write_text(RECIPE)
    rng = np.random.default_rng(0)

    def save(name, rows):
        x = rng.normal(size=(rows, 8)).astype(np.float32)
        y = (x[:, :1] + 0.8 * rng.normal(size=(rows, 1))).astype(np.float32)
        np.savez(tmp_path / name, x=x, y=y)
        return torch.tensor(x), torch.tensor(y)

    x, y = save("train.npz", 24)
    save("val.npz", 60)
    save("test.npz", 40)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 1))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        (network(x) - y).square().mean().backward()
        optimizer.step()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def run(*more):
    return CliRunner().invoke(app, [*OPTIONS, *more], standalone_mode=False)


def document(*more):
    result = run("-f", "json", *more)
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


@pytest.fixture
def tried(case):
    return document("--log", "log.jsonl", "--test", "test.npz")


def test_the_report_carries_the_trial(tried):
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(tried)
    trial, advice = tried["trial"], tried["recommendation"]
    assert tried["run"]["evidence"] == "trial"
    assert advice["basis"] == "measured"
    assert trial["is_change"]
    assert trial["cost_trainings"] <= trial["budget"] == 5
    assert (advice["site"], advice["norm"], advice["strength"]) == tuple(
        trial["winner"][key] for key in ("site", "norm", "strength")
    )
    assert trial["test"]["rows"] == 40
    assert trial["test"]["gain"] > 0
    assert {arm["site"] for arm in trial["arms"]} == {"none", "kernel", "bias", "activity"}


def test_the_winner_is_handed_over(tried, case):
    (case / "report.json").write_text(json.dumps(tried))
    (penalty,) = Penalties.from_report(case / "report.json").penalties
    assert str(penalty.site) == tried["trial"]["winner"]["site"]


def test_a_saved_report_is_read_again(tried):
    raw = json.dumps(tried).encode()
    assert json.loads(render(read(raw, "report.json")))["trial"] == tried["trial"]


def test_the_text_says_the_verdict_and_its_limits(case):
    text = run("--log", "log.jsonl").stdout
    assert "Trained anew with" in text
    assert "The validation set has 60 rows" in text
    assert "log.jsonl" in text


def test_a_trial_that_was_cut_short_goes_on_as_if_nothing_had_been(tried, case):
    lines = (case / "log.jsonl").read_bytes().splitlines(keepends=True)
    (case / "log.jsonl").write_bytes(b"".join(lines[:8]) + lines[8][:20])
    again = document("--log", "log.jsonl", "--resume", "--test", "test.npz")
    assert _close(again["trial"], tried["trial"])
    assert len((case / "log.jsonl").read_bytes().splitlines()) == len(lines)


def _close(ours, theirs):
    """Compare two trials: a stack of fewer members rounds differently."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(_close(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(_close, ours, theirs))
    return (
        ours == pytest.approx(theirs, rel=0.05, abs=0.02)
        if isinstance(ours, float)
        else isinstance(ours, str) or ours == theirs
    )


def test_the_same_seed_gives_the_same_trial(case):
    assert document()["trial"] == document()["trial"]


def test_another_recipe_does_not_take_over_a_log(case):
    run("--log", "log.jsonl", "--budget", "2")
    result = run("--log", "log.jsonl", "--resume", "--lr", "0.1")
    assert "lr was 0.02, now 0.1" in str(result.exception)


def test_a_larger_budget_goes_on_with_the_same_log(case):
    run("--log", "log.jsonl", "--budget", "4")
    before = len((case / "log.jsonl").read_bytes().splitlines())
    found = document("--log", "log.jsonl", "--resume", "--budget", "8")
    assert found["trial"]["budget"] == 8
    assert len((case / "log.jsonl").read_bytes().splitlines()) > before


def test_the_users_own_recipe_is_measured(case):
    found = document("--recipe", "recipe.py:train", "--budget", "4")["trial"]
    assert found["recipe"] == "recipe.py:train, 60 steps"
    assert found["cost_trainings"] <= 4
    assert found["winner"]["norm"]


def test_permuted_validation_labels_change_nothing(case):
    data = dict(np.load("val.npz"))
    np.savez("val.npz", x=data["x"], y=np.random.default_rng(1).permutation(data["y"]))
    found = document()
    assert not found["trial"]["is_change"]
    assert found["recommendation"]["action"] == "keep"


BAD = {
    "ten rows": ({"x": np.zeros((10, 8), np.float32), "y": np.zeros((10, 1), np.float32)}, "val.npz has 10 rows"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD.values(), ids=BAD.keys())
def test_validation_data_that_decide_nothing_are_refused(case, arrays, message):
    np.savez("val.npz", **arrays)
    assert message in str(run().exception)


def test_one_class_is_no_validation(case):
    (case / "net.py").write_text(CODE.replace("12, 1", "12, 2"))
    network = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 2))
    save_file(network.state_dict(), "model.safetensors")
    x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    np.savez("train.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    np.savez("val.npz", x=x, y=np.ones(40, np.int64))
    result = CliRunner().invoke(
        app, [word if word != "mse" else "cross_entropy" for word in OPTIONS], standalone_mode=False
    )
    assert "one class only (1)" in str(result.exception)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--budget", "1"], "--budget 1: give at least 2"),
        (["--budget", "inf"], "--budget inf: give at least 2"),
        (["--steps", "0"], "--steps 0: give at least 1"),
        (["--log", "/dev/full"], "is no regular file"),
        (["--lr", "0"], "--lr 0.0: give a number above 0"),
        (["--optimizer", "lion"], "--optimizer cannot be 'lion'"),
        (["--resume"], "add --log FILE"),
        (["--test", "nowhere.npz"], "--test nowhere.npz: no such file"),
        (["--recipe", "recipe.py:nothing"], "callables that it has: train"),
    ],
)
def test_options_that_cannot_be_meant_are_told(case, more, message):
    assert message in str(run(*more).exception)


def test_wrong_options_exit_with_2(case):
    command = [sys.executable, "-m", "regaudit", "trial", "model.safetensors", "--probe", "train.npz"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "give --probe FILE, --val FILE and --loss" in result.stderr


def test_the_live_table_shows_every_penalty(case):
    from regaudit.config import Probing, Trying
    from regaudit.pipeline import Options, audit

    seen = []
    probing = Probing(model="net.py:build", probe="train.npz", val="val.npz", loss="mse", device="cpu")
    audit(
        "model.safetensors",
        Options(probing=probing, trying=Trying(lr=0.02, steps=30, batch_size=16, budget=2)),
        told=seen.append,
    )
    made = table(seen[-1])
    assert "of 2 trainings" in str(made.title)
    assert made.row_count == len({run.job.arm for run in seen[-1].runs})
    assert seen[0].running
