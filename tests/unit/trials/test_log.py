"""The log: nothing that is measured gets lost, and nothing of another trial gets in."""

import errno
import json
import os
from pathlib import Path

import pytest

from regaudit.errors import ConfigError
from regaudit.trials.log import Log

SETUP = {"optimizer": "adam", "seed": 0}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "trial.jsonl")


def test_what_is_written_is_read_again(path, run):
    runs = [run([0.5, 0.25], "kernel", "l2", 0.1), run([], "bias", "l2", 3.0, is_annealed=True)]
    Log(path, SETUP).append(runs)
    assert Log(path, SETUP, resume=True).known == {each.job: each for each in runs}


def test_a_line_cut_short_is_dropped_and_the_log_goes_on(path, run):
    first, second = run([0.5], seed=1), run([0.25], seed=2)
    Log(path, SETUP).append([first, second])
    os.truncate(path, Path(path).stat().st_size - 7)
    log = Log(path, SETUP, resume=True)
    assert list(log.known) == [first.job]
    log.append([second])
    assert len(Log(path, SETUP, resume=True).known) == 2


def test_a_log_without_a_whole_line_begins_anew(path, run):
    Log(path, SETUP)
    os.truncate(path, 5)
    Log(path, SETUP, resume=True).append([run([0.5])])
    assert len(Log(path, SETUP, resume=True).known) == 1


def test_a_log_is_not_overwritten(path):
    Log(path, SETUP)
    with pytest.raises(ConfigError, match="exists: add --resume"):
        Log(path, SETUP)


def test_another_configuration_is_named(path):
    Log(path, SETUP)
    with pytest.raises(ConfigError, match="seed was 0, now 1"):
        Log(path, {**SETUP, "seed": 1}, resume=True)


@pytest.mark.parametrize("content", ["[]\n", "no json\n", '{"regaudit_trial": 9, "configuration": {}}\n'])
def test_what_is_no_log_is_refused(path, content):
    with Path(path).open("w") as file:
        file.write(content)
    with pytest.raises(ConfigError, match="give another name"):
        Log(path, SETUP, resume=True)


def test_a_line_that_is_no_run_is_named(path):
    Log(path, SETUP)
    with Path(path).open("a") as file:
        file.write(json.dumps({"site": "nowhere"}) + "\n")
    with pytest.raises(ConfigError, match="line 2 is no run"):
        Log(path, SETUP, resume=True)


def test_a_full_disk_is_said_and_nothing_is_lost(path, run, monkeypatch):
    log = Log(path, SETUP)
    log.append([run([0.5], seed=1)])

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    log.append([run([0.25], seed=2), run([0.125], seed=3)])
    assert "No space left on device" in log.problem
    assert len(log.known) == 3
    monkeypatch.undo()
    assert len(Log(path, SETUP, resume=True).known) >= 1


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        Log(str(tmp_path / "no" / "trial.jsonl"), SETUP)
