"""A progress bar: after a second of waiting, on a terminal, on stderr."""

import io
import sys

import pytest

from regaudit.cli import progress
from regaudit.cli.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shown(monkeypatch, clock, *, stderr, seconds, is_wanted=True):
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressBar(is_wanted=is_wanted) as bar:
        bar(0, 3, "fc1")
        clock[0] += seconds
        bar(1, 3, "fc2[/x]\x1b[2J\n")
        bar(3, 3, "")
    return stderr.getvalue()


def test_long_work_shows_where_it_is(monkeypatch, clock):
    text = shown(monkeypatch, clock, stderr=Terminal(), seconds=1.5)
    assert "measuring" in text
    assert "\x1b[2J" not in text


@pytest.mark.parametrize(
    "case",
    [
        {"stderr": Terminal(), "seconds": 0.5},
        {"stderr": io.StringIO(), "seconds": 5},
        {"stderr": Terminal(), "seconds": 5, "is_wanted": False},
    ],
    ids=["short", "no terminal", "not wanted"],
)
def test_otherwise_nothing_is_shown(monkeypatch, clock, case):
    assert shown(monkeypatch, clock, **case) == ""
