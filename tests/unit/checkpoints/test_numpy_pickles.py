import pickle
import sys
import types

import numpy as np
import pytest
import torch

from regaudit.checkpoints import numpy_pickles as reader
from regaudit.checkpoints.paddle import NAMES
from regaudit.checkpoints.sniff import look
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Axis, Use

W = np.arange(12, dtype="f4").reshape(3, 4)


def write(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def open_it(path):
    candidate = look(path)
    assert reader.FORMAT.claims(candidate)
    return reader.FORMAT.open(candidate)


def read_all(checkpoint):
    return {t.name: checkpoint.read(t, 0, t.size).reshape(t.shape) for t in checkpoint.tensors}


@pytest.fixture
def jax_array(monkeypatch):
    """A class that pickles as JAX' arrays do."""
    module = types.ModuleType("jax._src.array")

    def _reconstruct_array(function, args, state, aval):
        raise AssertionError("it was called")

    class Array:
        def __init__(self, values):
            self.values = values

        def __reduce__(self):
            function, args, state = self.values.__reduce__()
            return _reconstruct_array, (function, args, state, {"weak_type": False})

    _reconstruct_array.__module__, _reconstruct_array.__qualname__ = module.__name__, "_reconstruct_array"
    module._reconstruct_array = _reconstruct_array
    for name in ("jax", "jax._src", "jax._src.array"):
        monkeypatch.setitem(sys.modules, name, module)
    return Array


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nested_dicts_of_arrays_are_read_in_every_protocol(tmp_path, protocol):
    tree = {"linear": {"w": W, "b": np.ones(4, ">f4")}, "f": np.asfortranarray(W), "s": np.float64(2), "n": [W[0]]}
    with open_it(write(tmp_path / "m.pkl", tree, protocol)) as checkpoint:
        arrays = read_all(checkpoint)
        assert list(arrays) == ["linear/w", "linear/b", "f", "s", "n/0"]
        np.testing.assert_array_equal(arrays["linear/w"], W)
        np.testing.assert_array_equal(arrays["f"], W)
        assert arrays["linear/b"].tolist() == [1, 1, 1, 1]
        assert checkpoint.read(checkpoint.tensors[2], 3, 7).tolist() == [3, 4, 5, 6]


def test_jax_arrays_are_read_without_jax(tmp_path, jax_array):
    with open_it(write(tmp_path / "m.pkl", {"params": {"kernel": jax_array(W)}})) as checkpoint:
        assert checkpoint.format == "pickled JAX arrays"
        np.testing.assert_array_equal(read_all(checkpoint)["params/kernel"], W)


def test_bfloat16_is_known_by_its_class(tmp_path):
    values = torch.tensor([1.5, -2, 0.1], dtype=torch.bfloat16)
    raw = pickle.dumps({"w": values.view(torch.int16).numpy()}, protocol=2)
    raw = raw.replace(b"X\x02\x00\x00\x00i2", b"cml_dtypes\nbfloat16\n")
    (tmp_path / "m").write_bytes(raw)
    with open_it(tmp_path / "m") as checkpoint:
        assert checkpoint.tensors[0].dtype == "BF16"
        assert read_all(checkpoint)["w"].tolist() == values.float().tolist()


def test_one_array_under_two_names_is_shared(tmp_path):
    with open_it(write(tmp_path / "m", {"a": W, "b": W})) as checkpoint:
        assert [t.shares for t in checkpoint.tensors] == ["", "a"]


PADDLE = {
    "fc.weight": W, "fc.bias": np.ones(4, "f4"), "emb.weight": W, "conv.weight": np.ones((2, 3, 1, 1), "f4"),
    "norm.weight": np.ones(4, "f4"),
    NAMES: {"fc.weight": "linear_0.w_0", "fc.bias": "linear_0.b_0", "emb.weight": "embedding_7.w_0",
            "conv.weight": "conv2d_0.w_0", "norm.weight": "layer_norm_0.w_0"},
}  # fmt: skip


def test_linear_of_paddle_is_in_out_and_classes_come_from_its_own_names(tmp_path):
    with open_it(write(tmp_path / "m.pdparams", PADDLE, 2)) as checkpoint:
        stated = {t.name: (t.layer, t.use, t.axes) for t in checkpoint.tensors}
        types_ = {m.name: m.type for m in checkpoint.modules}
    assert stated["fc.weight"] == ("fc", Use.KERNEL, (Axis.IN, Axis.OUT))
    assert stated["fc.bias"] == ("fc", Use.BIAS, (Axis.OUT,))
    assert stated["emb.weight"] == ("emb", Use.KERNEL, (Axis.IN, Axis.OUT))
    assert stated["conv.weight"] == stated["norm.weight"] == ("", None, ())
    assert types_ == {"fc": "Linear", "emb": "Embedding", "conv": "Conv2D", "norm": "LayerNorm"}


def test_values_of_paddle_may_come_with_their_name_and_bfloat16_as_uint16(tmp_path):
    codes = torch.tensor([[1.5, -2]], dtype=torch.bfloat16).view(torch.int16).numpy().astype("u2")
    with open_it(write(tmp_path / "m.pdparams", {"a.weight": ("a.weight", codes), NAMES: {}})) as checkpoint:
        assert read_all(checkpoint)["a.weight"].tolist() == [[1.5, -2]]


def test_optimizer_state_of_paddle_is_explained(tmp_path):
    with pytest.raises(CheckpointError, match="optimizer state and no weights"):
        open_it(write(tmp_path / "m.pdopt", {"linear_0.w_0_moment1_0": W, NAMES: {}}))


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("false",)


def test_code_is_reported_and_not_run(tmp_path):
    with open_it(write(tmp_path / "m", {"w": W, "x": Evil()})) as checkpoint:
        assert [r.kind for r in checkpoint.remarks] == ["unsafe-global"]
        assert len(checkpoint.tensors) == 1


def test_arrays_of_objects_are_remarked(tmp_path):
    with open_it(write(tmp_path / "m", {"w": W, "o": np.array([None])})) as checkpoint:
        assert [r.kind for r in checkpoint.remarks] == ["unreadable-tensor"]


def test_containers_that_hold_each_other_are_refused(tmp_path):
    tree = {"w": W}
    tree["self"] = tree
    with pytest.raises(UnsafeCheckpoint, match="without end"):
        open_it(write(tmp_path / "m", tree))
    wide = W
    for _ in range(40):
        wide = [wide, wide]
    with pytest.raises(UnsafeCheckpoint, match="without end"):
        open_it(write(tmp_path / "m", {"w": wide}))


def test_bytes_that_do_not_fit_the_shape_are_refused(tmp_path):
    raw = pickle.dumps({"w": W}, protocol=2).replace(b"K\x03K\x04", b"K\x03K\x05")
    (tmp_path / "m").write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match="contradicts itself"):
        open_it(tmp_path / "m")


def test_pickles_of_other_libraries_are_left_to_their_readers(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "m", _use_new_zipfile_serialization=False)
    assert not reader.FORMAT.claims(look(tmp_path / "m"))


def test_truncated_and_altered_anywhere_it_is_one_clear_error(tmp_path):
    raw = pickle.dumps(PADDLE, protocol=4)
    path = tmp_path / "m"
    for n in range(1, len(raw)):
        path.write_bytes(raw[:n])
        with pytest.raises(CheckpointError):
            reader.FORMAT.open(look(path))
    rng = np.random.default_rng(0)
    for _ in range(500):
        altered = bytearray(raw)
        altered[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        path.write_bytes(altered)
        try:
            with reader.FORMAT.open(look(path)) as checkpoint:
                read_all(checkpoint)
        except CheckpointError:
            pass
