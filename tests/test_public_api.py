"""What users may rely on."""

import subprocess
import sys

import pytest

import regaudit


def test_public_names():
    assert set(regaudit.__all__) == {
        "Audit", "CheckpointError", "ConfigError", "Effect", "Finding", "LayerAudit", "Measurement", "Options",
        "Policy", "Probing", "Recommendation", "RegauditError", "Skip", "Waiver", "audit", "judge",
    }  # fmt: skip


@pytest.mark.parametrize("name", regaudit.__all__)
def test_every_public_name_resolves_and_is_documented(name):
    assert getattr(regaudit, name).__doc__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'audits'"):
        regaudit.audits  # noqa: B018


@pytest.mark.parametrize("module", ["regaudit", "regaudit.cli", "regaudit.cli.app"])
def test_import_is_light(module):
    heavy = "numpy torch h5py scipy pydantic keras"
    code = f"import sys, {module}; print(*[m for m in '{heavy}'.split() if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
