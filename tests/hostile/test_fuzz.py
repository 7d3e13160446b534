"""A slice of the fuzzing of `make fuzz`, and every file that it ever failed on."""

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the fuzzer's processes import it by name

import fuzz
import numpy as np

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in /proc")
MUTANTS = 40  # of each format; with 27 formats about 5 s


@pytest.fixture(scope="module")
def seeds():
    return fuzz.make_seeds()


def test_every_mutant_is_refused_or_audited(seeds):
    cases = [(seed, number) for number in range(MUTANTS) for seed in range(len(seeds))]
    outcomes = list(fuzz.run(cases, seeds))
    assert len(outcomes) == len(cases)
    assert [(seeds[each.seed].name, each) for each in outcomes if each.failed] == []


def test_every_seed_is_a_model(seeds, tmp_path):
    for each in seeds:
        kind, _, _, detail = fuzz.judged(each, each.files, tmp_path)
        assert (each.name, kind, detail) == (each.name, "audited", "")


def kept():
    """Every regression: a file, or the folder of a model in several."""
    folders = sorted(each for each in fuzz.REGRESSIONS.glob("*") if each.is_dir())
    return [path for folder in folders for path in (folder, *(each for each in folder.rglob("*") if each.is_file()))]


@pytest.mark.parametrize("path", kept(), ids=lambda path: str(path.relative_to(fuzz.REGRESSIONS)))
def test_what_once_failed_is_refused_or_audited(path):
    inner = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    root = path.parent if path.is_file() else path
    files = {str(each.relative_to(root)): each.read_bytes() for each in inner}
    seed = fuzz.corpus.Seed(path.name, files, path.name if path.is_file() else "")
    [outcome] = fuzz.run([(0, None)], [seed])
    assert not outcome.failed, outcome.detail


# --- The fuzzer itself --------------------------------------------------------------------------------------------


def crashes(path, options):
    raise IndexError(path)


def hangs(path, options):
    time.sleep(60)


def dies(path, options):
    os.abort()


def allocates(path, options):
    np.empty(2 << 30, np.uint8)


def fills(path, options):
    bytearray(b"x") * (200 << 20)


def runs_code(path, options):
    os.system("true")


def writes(path, options):
    Path(path).with_name("x").write_text("x")


@pytest.mark.parametrize(
    ("audit", "kind"),
    [
        (crashes, "crash"), (hangs, "hang"), (dies, "died"), (allocates, "memory"), (runs_code, "code"), (writes, "code"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)  # fmt: skip
def test_the_fuzzer_notices(seeds, audit, kind):
    [outcome] = fuzz.run([(0, 0)], seeds[:1], seconds=1.0, audit=audit)
    assert (outcome.kind, outcome.failed) == (kind, True)


def test_the_fuzzer_measures_memory(seeds):
    [outcome] = fuzz.run([(0, 0)], seeds[:1], audit=fills)
    assert outcome.kind == "audited"
    assert outcome.peak > 150 << 20
