"""What is written is read: for any dtype and shape, whole, in parts and in shards; and nothing else when damaged."""

import contextlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save, save_file

from regaudit.checkpoints import open_checkpoint
from regaudit.errors import CheckpointError

DTYPES = ["f2", "f4", "f8", "c8", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
ARRAYS = hnp.arrays(st.sampled_from(DTYPES).map(np.dtype), SHAPES)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda n: n != "__metadata__")
MODELS = st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=6)
# Only half precision changes its type on reading.
WIDE = {np.dtype("f2"): np.float32}


def expected(array):
    return array.astype(WIDE.get(array.dtype, array.dtype)).reshape(-1)


def assert_holds(checkpoint, model):
    assert {t.name: t.shape for t in checkpoint.tensors} == {name: array.shape for name, array in model.items()}
    for tensor in checkpoint.tensors:
        np.testing.assert_array_equal(checkpoint.read(tensor, 0, tensor.size), expected(model[tensor.name]))


@given(model=MODELS)
def test_safetensors_is_read_as_written(model):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "m.safetensors"
        path.write_bytes(save(model))
        with open_checkpoint(path) as checkpoint:
            assert_holds(checkpoint, model)


@given(model=MODELS, data=st.data())
@settings(max_examples=50)
def test_shards_make_the_whole(model, data):
    where = {name: data.draw(st.sampled_from(["a.safetensors", "b.safetensors"])) for name in model}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for shard in set(where.values()):
            save_file({key: array for key, array in model.items() if where[key] == shard}, folder / shard)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
        with open_checkpoint(folder / "model.safetensors.index.json") as checkpoint:
            assert checkpoint.remarks == ()
            assert_holds(checkpoint, model)


@settings(max_examples=50)
@given(array=ARRAYS, order=st.sampled_from("CF"), swap=st.booleans(), data=st.data())
def test_any_part_of_a_numpy_array_is_read_as_written(array, order, swap, data):
    stored = np.asarray(array, order=order, dtype=array.dtype.newbyteorder() if swap else array.dtype)
    start = data.draw(st.integers(0, array.size))
    stop = data.draw(st.integers(start, array.size))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        np.save(Path(name) / "a.npy", stored)
        np.savez(Path(name) / "b.npz", a=stored)
        np.savez_compressed(Path(name) / "c.npz", a=stored)
        for file in ("a.npy", "b.npz", "c.npz"):
            checkpoint = stack.enter_context(open_checkpoint(Path(name) / file))
            (tensor,) = checkpoint.tensors
            assert tensor.shape == array.shape
            np.testing.assert_array_equal(checkpoint.read(tensor, start, stop), expected(array)[start:stop])


MODEL = {"a": np.arange(3, dtype=np.float32), "b": np.zeros((), np.int64)}
SMALL_FILES = {
    "m.safetensors": lambda path: path.write_bytes(save(MODEL, {"format": "np"})),
    "m.npy": lambda path: np.save(path, MODEL["a"]),
    "m.npz": lambda path: np.savez(path, **MODEL),
    "c.npz": lambda path: np.savez_compressed(path, **MODEL),
}


def read_everything(path):
    with open_checkpoint(path) as checkpoint:
        for tensor in checkpoint.tensors:
            checkpoint.read(tensor, 0, tensor.size)


@pytest.mark.parametrize("name", SMALL_FILES)
def test_a_file_cut_at_any_byte_gives_one_clear_error(tmp_path, name):
    path = tmp_path / name
    SMALL_FILES[name](path)
    raw = path.read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(CheckpointError) as caught:
            read_everything(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", SMALL_FILES)
def test_a_file_with_one_wrong_byte_is_read_or_refused_and_never_crashes(tmp_path, name):
    path = tmp_path / name
    SMALL_FILES[name](path)
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in range(0, len(raw), 2):
        path.write_bytes(raw[:at] + rng.bytes(1) + raw[at + 1 :])
        with contextlib.suppress(CheckpointError):
            read_everything(path)
