"""Limits on what a file may ask for: all in one place, named in every refusal, and set by a user."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import regaudit
from regaudit.checkpoints import limits, open_checkpoint
from regaudit.errors import CheckpointError, ConfigError

SOURCE = Path(limits.__file__).parent
READERS = sorted({*SOURCE.glob("*.py"), *(SOURCE.parent / "layers").glob("*.py")} - {Path(limits.__file__)})
RAISABLE = [each for each in limits.LIMITS if not each.is_fixed]


@pytest.fixture
def model(tmp_path):
    save_file({"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)}, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_no_reader_keeps_a_limit_of_its_own(path):
    names = [n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)]
    assert not [name for name in names if re.match(r"_?MAX_", name)]


def test_every_limit_is_used_and_has_its_own_name():
    text = "".join(path.read_text() for path in READERS)
    constants = {name for name, value in vars(limits).items() if isinstance(value, limits.Limit)}
    assert {name for name in constants if not re.search(rf"limits\.{name}\b", text)} == set()
    assert len({each.name for each in limits.LIMITS}) == len(limits.LIMITS) == len(constants)


def test_a_limit_holds_inside_of_the_block_only(model):
    default = limits.TENSORS.value
    with limits.applied({"tensors": 3}), limits.applied({"header-bytes": 1 << 20}):
        assert (limits.TENSORS.value, limits.HEADER_BYTES.value) == (3, 1 << 20)
    assert limits.TENSORS.value == default == limits.TENSORS.default


def test_refusal_names_the_limit_and_the_option_that_lifts_it(model):
    with limits.applied({"header-bytes": 10}), pytest.raises(CheckpointError) as refusal:
        open_checkpoint(model)
    option = re.search(r"--limit (\S+)$", str(refusal.value))[1]
    with limits.applied(limits.parse([option])), open_checkpoint(model) as checkpoint:
        assert len(checkpoint.tensors) == 2


def test_audit_takes_limits(model):
    with pytest.raises(CheckpointError, match="--limit header-bytes="):
        regaudit.audit(model, regaudit.Options(limits={"header-bytes": 10}))
    with pytest.raises(ConfigError, match="no limit 'bytes'"):
        regaudit.audit(model, regaudit.Options(limits={"bytes": 10}))
    assert regaudit.audit(model, regaudit.Options(limits={"tensors": 2, "header-bytes": 1 << 30})).coverage.tensors == 2


@pytest.mark.parametrize("limit", RAISABLE, ids=lambda limit: limit.name)
def test_default_is_shown_as_it_is_parsed(limit):
    assert limits.parse([f"{limit.name}={limits.shown(limit.default)}"]) == {limit.name: limit.default}


@pytest.mark.parametrize(
    ("word", "value"),
    [("12", 12), ("2K", 2048), ("3m", 3 << 20), ("1G", 1 << 30), ("1,000", 1000), ("5_000", 5000)],
)
def test_suffixes_are_powers_of_1024(word, value):
    assert limits.parse([f"tensors={word}"]) == {"tensors": value}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tensor=5", "Did you mean tensors.*Limits that can be set: header-bytes, "),
        ("MAX_TENSORS=5", "Did you mean tensors"),
        ("xyz=5", "no limit 'xyz'. Limits"),
        ("tensors", "NAME=VALUE"),
        ("tensors=", "whole number"),
        ("tensors=1.5M", "whole number"),
        ("tensors=-1", "whole number"),
        ("tensors=1e6", "whole number"),
        ("tensors=K", "whole number"),
        ("tensors=٣", "whole number"),
        ("tensors=" + "9" * 5000, "whole number"),
        ("tensors=0", "from 1 to"),
        ("tensors=9999999999999999G", "from 1 to"),
        ("rank=64", "fixed at 32"),
    ],
)
def test_what_is_no_limit_is_refused_with_a_reason(word, message):
    with pytest.raises(ConfigError, match=message):
        limits.parse([word])


@pytest.mark.parametrize("value", [True, 1.0, "2", None, 0, -1])
def test_a_program_must_give_positive_integers(value):
    with pytest.raises(ConfigError, match="whole number"), limits.applied({"tensors": value}):
        pass


@pytest.mark.parametrize("needed", [1, 1023, 1024, 1_000_001, 100_000_001, (1 << 40) + 1, 1 << 52])
def test_what_is_suggested_is_enough(needed):
    with limits.applied({"tensors": 1}):
        _, fix = limits.TENSORS.exceeded("x", needed=needed)
    suggested = limits.parse([re.search(r"--limit (\S+)$", fix)[1]])["tensors"]
    assert max(needed, 2) <= suggested <= 2 * max(needed, 2)
