"""`regaudit doctor`: what this installation can do."""

from importlib import metadata

import pytest

from regaudit.checkpoints import formats
from regaudit.checkpoints.limits import LIMITS, TENSORS


def test_it_says_what_can_be_read_here(called, called_json):
    code, document = called_json("doctor", "-f", "json")
    assert code == 0
    assert [each["name"] for each in document["formats"]] == [each.name for each in formats()]
    assert {each["name"] for each in document["packages"]} >= {"numpy", "safetensors", "typer", "rich"}
    assert [each["name"] for each in document["limits"]] == [each.name for each in LIMITS]
    assert "keras" in [each["name"] for each in document["extras"]]
    _, out, err = called("doctor")
    assert "readable" in out
    assert all(f"  {each.name} " in out for each in LIMITS)
    assert f"{TENSORS.default:,} tensors" in out
    assert err == ""


@pytest.fixture
def without(monkeypatch):
    """Make a package look as if it were not installed."""

    def hide(package):
        version = metadata.version

        def seen(name):
            if name == package:
                raise metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(metadata, "version", seen)

    return hide


def test_missing_extra_comes_with_the_line_that_installs_it(called, called_json, without):
    without("h5py")
    code, out, _ = called("doctor")
    assert code == 0
    assert "h5py missing; install it: pip install 'regaudit[keras]'" in out
    assert "needs the extra keras; install it: pip install 'regaudit[keras]'" in out
    assert "needs the extra orbax" not in out
    _, document = called_json("doctor", "-f", "json")
    [keras] = [each for each in document["formats"] if each["name"].lower() == "keras"]
    assert (keras["is_readable"], keras["extra"]) == (False, "keras")
    assert keras["install"] == "pip install 'regaudit[keras]'"


def test_every_extra_that_a_format_needs_can_be_installed(called_json):
    _, document = called_json("doctor", "-f", "json")
    assert {each["extra"] for each in document["formats"]} - {""} <= {each["name"] for each in document["extras"]}


def test_base_installation_that_is_not_whole_is_incomplete(called, without):
    without("safetensors")
    code, out, _ = called("doctor")
    assert code == 3
    assert "safetensors" in out


def test_source_tree_without_metadata_says_what_it_can(called, monkeypatch):
    def fail(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", fail)
    code, out, _ = called("doctor")
    assert code == 0
    assert "readable" in out


def test_wrong_format_is_usage(called):
    code, out, err = called("doctor", "-f", "yaml")
    assert (code, out) == (2, "")
    assert "choose text or json" in err
