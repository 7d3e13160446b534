"""The whole flow on small files: what the stages cannot say alone."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import regaudit


@pytest.fixture
def kernel():
    return np.random.default_rng(0).normal(size=(16, 16)).astype("f4")


def test_a_refused_array_makes_the_audit_incomplete(tmp_path, kernel):
    np.savez(tmp_path / "m.npz", weight=kernel, other=np.array([{}], dtype=object))
    audit = regaudit.audit(tmp_path / "m.npz")
    assert audit.coverage.status == "incomplete"
    assert [skip.tensor for skip in audit.coverage.skipped] == ["other.npy"]
    assert regaudit.judge(audit, regaudit.Policy()).exit_code == 3


def test_packed_weights_count_as_the_kernel_that_they_stand_for(tmp_path, kernel):
    codes = {
        "l0.qweight": np.ones((4, 16), "i4"),
        "l0.scales": np.ones((1, 16), "f2"),
        "l0.qzeros": np.ones((1, 2), "i4"),
    }
    save_file({**codes, "l1.weight": kernel}, tmp_path / "m.safetensors")
    audit = regaudit.audit(tmp_path / "m.safetensors")
    assert audit.inputs[0].parameters == 32 * 16 + kernel.size
    assert audit.coverage.status == "complete"


def test_progress_is_reported_for_every_layer(tmp_path, kernel):
    save_file({f"l{i}.weight": kernel for i in range(3)}, tmp_path / "m.safetensors")
    seen = []
    regaudit.audit(tmp_path / "m.safetensors", progress=lambda *step: seen.append(step))
    assert [step[:2] for step in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [step[2] for step in seen] == ["l0", "l1", "l2", ""]


def test_the_same_file_gives_the_same_numbers(tmp_path, kernel):
    save_file({"l0.weight": kernel, "l1.weight": kernel.T.copy()}, tmp_path / "m.safetensors")
    first, second = (regaudit.audit(tmp_path / "m.safetensors") for _ in range(2))
    assert [each.measurements for each in first.layers] == [each.measurements for each in second.layers]


def test_spectra_can_be_left_out(tmp_path, kernel):
    save_file({"l0.weight": kernel}, tmp_path / "m.safetensors")
    layer = regaudit.audit(tmp_path / "m.safetensors", regaudit.Options(spectrum="off")).layer("l0")
    assert layer.value("kernel.spectral_norm") is None
    assert any(skip.measure == "kernel.spectral_norm" for skip in layer.skips)
    assert layer.value("kernel.fro_norm") == pytest.approx(float(np.linalg.norm(kernel)), rel=1e-6)
