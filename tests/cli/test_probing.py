"""Running the model from the command line: options that fit together, one sentence where they do not, one document."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from safetensors.torch import save_file
from torch import nn

from regaudit.reports.json import SCHEMA

torch.set_num_threads(1)

CODE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x):
        print("a model may print")
        return self.fc2(self.fc1(x).relu())

build = Net
"""


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A folder with a trained model, the code that builds it, and data of which the mean squared error is known."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    torch.manual_seed(0)
    network = nn.ModuleDict({"fc1": nn.Linear(6, 8), "fc2": nn.Linear(8, 1)})
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    with torch.no_grad():
        y = network["fc2"](network["fc1"](torch.tensor(x)).relu())
    np.savez(tmp_path / "train.npz", x=x, y=y.numpy() + 1)
    np.savez(tmp_path / "val.npz", x=x[:10], y=y.numpy()[:10, 0] + 2)
    return tmp_path


PROBED = ["--model", "net.py:build", "--probe", "train.npz"]
LABELLED = [*PROBED, "--val", "val.npz", "--loss", "mse"]


def test_one_valid_document_says_what_ran(called, case):
    code, out, err = called("inspect", "model.safetensors", "-f", "json", "--seed", "3", *LABELLED)
    found = json.loads(out)
    assert code == 0
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    assert "a model may print" in err
    assert (found["run"]["evidence"], found["run"]["seed"]) == ("labels", 3)
    assert found["inputs"][0]["ran_code"] is False
    assert found["probe"]["ran_code"] is True
    assert (found["probe"]["examples"], found["probe"]["val_examples"]) == (40, 10)
    assert (found["probe"]["model"], found["probe"]["loss"]) == ("net.py:build", "mse")
    first, second = found["layers"]
    assert first["name"] == "fc1"
    assert "activity.rms" in first["measurements"]
    assert "activity.rms" in second["measurements"]


def test_the_text_report_has_a_section(called, case):
    code, out, _ = called("check", "model.safetensors", *LABELLED)
    assert code == 0
    assert "Probe  net.py:build (factory) on " in out
    assert "train.npz, 40 examples; validation val.npz, 10 examples" in out
    assert out.split()[-2:] == ["evidence:", "labels"]


def test_a_layer_is_explained_at_every_level(called, case):
    """Weights alone name the command that gets the rest; labels show what each penalty would do."""
    code, out, _ = called("inspect", "model.safetensors", "--explain", "fc1")
    assert code == 0
    assert "regaudit inspect model.safetensors --explain fc1 --model" in out
    code, out, _ = called("inspect", "model.safetensors", "-f", "json", "--explain", "fc1", *LABELLED)
    found = json.loads(out)
    assert code == 0
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    (fc1,) = found["explanation"]
    penalties = {(each["site"], each["norm"]) for each in fc1["predictions"]}
    assert len(penalties) == 7  # three sites by two norms, and none
    assert fc1["pulls"][0]["l1_thresholds"] == sorted(fc1["pulls"][0]["l1_thresholds"])


def test_an_unknown_layer_is_exit_code_2_with_suggestions(called, case):
    code, _, err = called("inspect", "model.safetensors", "--explain", "fc3")
    assert code == 2
    assert "fc1" in err


def test_without_labels_the_level_is_probe(called, case):
    code, out, _ = called("inspect", "model.safetensors", "-f", "json", "--probe-size", "7", *PROBED)
    found = json.loads(out)
    assert (code, found["run"]["evidence"], found["probe"]["examples"]) == (0, "probe", 7)
    assert any("no --loss" in note for note in found["probe"]["notes"])


def test_synthetic_data_are_called_so(called, case):
    code, out, _ = called("inspect", "model.safetensors", "--model", "net.py:build", "--probe", "synthetic")
    assert code == 0
    assert "synthetic: standard normal" in out


def test_several_inputs_are_run_alike_and_a_bad_one_stops_no_other(called, case):
    save_file({"other.weight": torch.ones(3, 3)}, case / "other.safetensors")
    code, out, err = called("inspect", "other.safetensors", "model.safetensors", "-f", "json", *LABELLED)
    bad, good = json.loads(out)["reports"]
    assert code == 3
    assert "could not be probed" in bad["errors"][0]["problem"]
    assert good["run"]["evidence"] == "labels"
    assert "other.safetensors" in err


WRONG = {
    "model alone": (["--model", "net.py:build"], ["--model does nothing", "--probe"]),
    "seed alone": (["--seed", "1"], ["--seed", "--probe"]),
    "size alone": (["--probe-size", "1"], ["--probe-size", "--probe"]),
    "val without loss": ([*PROBED, "--val", "val.npz"], ["--val", "--loss"]),
    "synthetic with loss": (["--model", "net.py:build", "--probe", "synthetic", "--loss", "mse"], ["--loss", "labels"]),
    "unknown loss": ([*PROBED, "--loss", "msee"], ["'msee'", "Did you mean mse?"]),
    "unknown device": ([*PROBED, "--device", "tpu"], ["--device", "cuda"]),
    "no size": ([*PROBED, "--probe-size", "0"], ["--probe-size 0"]),
    "negative seed": ([*PROBED, "--seed", "-1"], ["--seed -1"]),
    "no colon": (["--probe", "train.npz", "--model", "net.py"], ["--model net.py", "colon"]),
    "no file": (["--model", "net.py:build", "--probe", "none.npz"], ["--probe none.npz", "no such file"]),
    "no code": (["--model", "none.py:build", "--probe", "train.npz"], ["none.py"]),
    "no labels": ([*PROBED, "--loss", "mse", "--label-key", "target"], ["'target'", "'x'", "'y'"]),
    "no runner": (["--probe", "train.npz"], ["--model FILE.py:build"]),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_one_sentence(called, case, options, words):
    code, out, err = called("inspect", "model.safetensors", "--no-progress", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert all(word in err for word in words), err


def test_torch_is_asked_for_by_its_extra(called, case, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    code, out, err = called("inspect", "model.safetensors", "--no-progress", *PROBED)
    assert (code, out) == (2, "")
    assert "pip install 'regaudit[torch]'" in err


def test_help_has_a_section_of_its_own(called):
    code, out, _ = called("inspect", "--help")
    assert code == 0
    options, probing = out.split("\nProbing:\n")
    assert "--format" in options
    assert "--probe FILE|synthetic" in probing


def test_who_runs_no_model_imports_no_probe(case):
    code = "import sys; from regaudit.__main__ import run; run(['inspect', 'model.safetensors', '-f', 'json'])"
    check = "; print(*[m for m in sys.modules if m.startswith(('torch', 'regaudit.probes'))], file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True, cwd=case)
    assert run.stderr.strip() == ""


def test_inputs_are_named_by_the_columns_of_the_table(called, case):
    rows = np.random.default_rng(0).normal(size=(40, 6))
    rows[:, 2] = 1.0
    np.savetxt(case / "t.csv", rows, delimiter=",", header="age,bmi,bp,hdl,ldl,sex", comments="")
    code, out, _ = called("inspect", "model.safetensors", "--model", "net.py:build", "--probe", "t.csv")
    assert code == 0
    assert "17% constant (bp)" in out


KEYWORD = CODE.replace("forward(self, x)", "forward(self, *, features)").replace("fc1(x)", "fc1(features)")


def test_inputs_by_keyword_only_and_random_outputs(called, case):
    (case / "kw.py").write_text("import torch\n" + KEYWORD.replace(".relu())", ".relu()) + torch.randn(1)"))
    code, out, _ = called("inspect", "model.safetensors", "--model", "kw.py:build", "--probe", "train.npz")
    assert code == 0
    assert "it draws random numbers" in " ".join(out.split())
