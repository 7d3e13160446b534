"""The demonstration: its data, its pictures, and that the tutorial shows what it prints."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from regaudit.__main__ import run
from regaudit.demo import arms, network
from regaudit.demo.digits import TRAIN_ROWS, digits, drawn
from regaudit.demo.measuring import QUANTITIES
from regaudit.demo.page import page, sentences

TUTORIAL = (Path(__file__).parents[3] / "docs" / "tutorial.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole demonstration on drawn digits, with short trainings and no trials of penalties."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.datasets", None)
        patch.setattr(network, "STEPS", 250)
        patch.setattr(arms, "full_audit", lambda path, data, seed: __import__("regaudit").audit(path))
        return arms.demonstrate(tmp_path_factory.mktemp("demo"), 0, lambda what: None)


def test_drawn_digits_are_images_that_can_be_told_apart():
    x, y = drawn(np.random.default_rng(0), 600)
    assert x.shape == (600, 64)
    assert 0 <= x.min() <= x.max() <= 1
    means = np.stack([x[:300][y[:300] == each].mean(axis=0) for each in range(10)])
    nearest = np.square(x[300:, None] - means).sum(axis=-1).argmin(axis=1)
    assert (nearest == y[300:]).mean() > 0.7


def test_digits_are_seeded_and_rows_are_in_one_set_only():
    first, again, other = digits(0), digits(0), digits(1)
    assert np.array_equal(first.train[0], again.train[0])
    assert not np.array_equal(first.train[0], other.train[0])
    assert len(first.train[0]) == TRAIN_ROWS
    train = {row.tobytes() for row in first.train[0]}
    assert sum(row.tobytes() in train for row in first.val[0]) < 5


def test_every_prediction_of_theory_is_seen(demo):
    outcomes = demo.outcomes()
    assert len(outcomes) == 6
    for each in outcomes:
        assert each.holds, each
    zero = next(each for each in outcomes if each.prediction.measure == "kernel.zero_fraction")
    assert zero.with_it > 0.3


def test_the_recommended_penalty_is_applied_and_audited_again(demo):
    advised = [each for each in demo.arms if each.recommended]
    assert [each.name for each in advised] == [demo.arms[1].name] == ["kernel L2 0.01"]
    assert demo.after.inputs[0].path.endswith("kernel_L2_0.01.safetensors")


def test_the_page_has_a_bar_for_each_penalty_in_each_chart(demo):
    text = page(demo)
    assert text.count("<rect") == len(QUANTITIES) * len(demo.arms)
    assert text.count('class="recommended"') == len(QUANTITIES)
    assert not re.search(r"(src|href)=|https?:", text)
    for each in sentences(demo):
        assert each.split(":")[0] in text


def test_the_tutorial_shows_the_quantities_and_penalties_of_the_demonstration(demo):
    rows = dict(re.findall(r"^\| (.+?) \| (.*) \|$", TUTORIAL, re.MULTILINE))
    head = re.search(r"^\| \| (.*) \|$", TUTORIAL, re.MULTILINE).group(1).split(" | ")
    for quantity in QUANTITIES:
        assert len(rows[quantity.title.replace("|", "\\|")].split(" | ")) == len(head)
    assert {each.name for each in demo.arms if not each.recommended} <= set(head)


@pytest.mark.parametrize("command", ["demo", "inspect", "trial"])
def test_the_tutorials_options_exist(command, capsys):
    lines = re.findall(rf"^regaudit {command} .*(?:\\\n.*)*", TUTORIAL.replace("\\\n", " "), re.MULTILINE)
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    for option in {word for line in lines for word in re.findall(r"--[a-z-]+", line)}:
        assert option in text


def test_the_tutorials_python_runs(demo, tmp_path, monkeypatch, capsys):
    (tmp_path / "regaudit-demo").mkdir()
    report = Path(demo.before.inputs[0].path).parent / arms.REPORT
    (tmp_path / "regaudit-demo" / "audit.json").write_bytes(report.read_bytes())
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    with network.one_thread():
        exec(code, {})
    assert "loss with penalty" in capsys.readouterr().out


def test_the_command_writes_the_page_and_prints_the_table(demo, tmp_path, monkeypatch, capfdbinary):
    monkeypatch.setattr(arms, "demonstrate", lambda folder, seed, progress: demo)
    folder = tmp_path / "new" / "folder"
    assert run(["demo", "--output-dir", str(folder)]) == 0
    assert (folder / "demo.html").read_text(encoding="utf-8") == page(demo)
    printed = capfdbinary.readouterr().out.decode()
    for quantity in QUANTITIES:
        assert quantity.title in printed


def test_what_cannot_be_a_folder_is_refused(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    assert run(["demo", "--output-dir", str(file)]) == 2
    assert "expected the name of a folder" in capsys.readouterr().err
    assert run(["demo", "--output-dir", str(file / "below")]) == 3
