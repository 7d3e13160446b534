import json
import sys

import numpy as np
import pytest

from regaudit.checkpoints import orbax as reader
from regaudit.checkpoints.sniff import look
from regaudit.errors import CheckpointError, CorruptCheckpoint, MissingExtra, UnsafeCheckpoint

W = np.arange(24, dtype="f4").reshape(2, 3, 4)


def metadata(names, **settings):
    """Return `_METADATA` as Orbax writes it, for arrays by their path."""
    tree = {
        str(tuple(name.split("/"))): {
            "key_metadata": [{"key": key, "key_type": 2} for key in name.split("/")],
            "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False},
        }
        for name in names
    }
    return {"tree_metadata": tree, "use_zarr3": False} | settings


def write(folder, arrays, *, chunks=None, ocdbt=True, driver="zarr", dtype=None):
    tensorstore = pytest.importorskip("tensorstore")
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        key, base = name.replace("/", "."), {"driver": "file", "path": f"{folder}/"}
        store = {"driver": "ocdbt", "base": base, "path": f"{key}/"} if ocdbt else {**base, "path": f"{folder}/{key}/"}
        layout = {"metadata": {"chunks": list(chunks)}} if chunks else {}
        spec = {"driver": driver, "kvstore": store, **layout}
        kind = dtype or values.dtype.name
        array = tensorstore.open(spec, create=True, open=True, dtype=kind, shape=values.shape).result()
        array.write(values.astype(array.dtype.numpy_dtype)).result()
    (folder / "_METADATA").write_text(json.dumps(metadata(arrays, use_zarr3=driver == "zarr3")))
    return folder


def open_it(path):
    candidate = look(path)
    assert reader.FORMAT.claims(candidate)
    return reader.FORMAT.open(candidate)


def read_all(checkpoint):
    return {t.name: checkpoint.read(t, 0, t.size).reshape(t.shape) for t in checkpoint.tensors}


@pytest.mark.parametrize("ocdbt", [True, False])
@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_arrays_are_read_from_a_database_or_from_folders(tmp_path, ocdbt, driver):
    folder = write(
        tmp_path / "m", {"params/d/kernel": W, "params/d/bias": np.ones(4, "f4")}, ocdbt=ocdbt, driver=driver
    )
    with open_it(folder) as checkpoint:
        arrays = read_all(checkpoint)
    assert list(arrays) == ["params/d/kernel", "params/d/bias"]
    np.testing.assert_array_equal(arrays["params/d/kernel"], W)


def test_any_range_of_elements_is_read_across_chunks(tmp_path):
    with open_it(write(tmp_path / "m", {"w": W}, chunks=(1, 2, 3))) as checkpoint:
        [tensor] = checkpoint.tensors
        for start in range(25):
            for stop in range(start, 25):
                assert checkpoint.read(tensor, start, stop).tolist() == list(range(start, stop))


def test_a_chunk_larger_than_the_cache_is_read(tmp_path, limit):
    limit("orbax-cache-bytes", 10)
    with open_it(write(tmp_path / "m", {"w": W})) as checkpoint:
        np.testing.assert_array_equal(read_all(checkpoint)["w"], W)


def test_bfloat16_is_decoded(tmp_path):
    with open_it(write(tmp_path / "m", {"w": W}, dtype="bfloat16")) as checkpoint:
        assert checkpoint.tensors[0].dtype == "BF16"
        np.testing.assert_array_equal(read_all(checkpoint)["w"], W)


def test_scalars_and_optimizer_state_are_known(tmp_path):
    arrays = {"params/w": W, "step": np.array(3), "opt_state/0/mu/w": W}
    with open_it(write(tmp_path / "m", arrays)) as checkpoint:
        assert {name: value.shape for name, value in read_all(checkpoint).items()} == {"params/w": W.shape, "step": ()}
        assert [r.kind for r in checkpoint.remarks] == ["optimizer-state"]


def test_the_item_with_the_weights_is_found(tmp_path):
    write(tmp_path / "m" / "default", {"w": W})
    write(tmp_path / "m" / "dataset", {"x": W})
    (tmp_path / "m" / "_CHECKPOINT_METADATA").write_text("{}")
    with open_it(tmp_path / "m") as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["w"]


def test_several_items_without_a_usual_name_are_listed(tmp_path):
    (tmp_path / "_CHECKPOINT_METADATA").write_text("{}")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "_METADATA").write_text("{}")
    with pytest.raises(CheckpointError, match="'a', 'b'"):
        open_it(tmp_path)


def test_an_array_that_is_not_there_is_remarked(tmp_path):
    folder = write(tmp_path / "m", {"w": W})
    (folder / "_METADATA").write_text(json.dumps(metadata(["w", "gone"])))
    with open_it(folder) as checkpoint:
        assert [r.kind for r in checkpoint.remarks] == ["dangling-index-entry"]


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_missing_chunk_is_damage_where_all_were_stored(tmp_path, is_complete):
    folder = write(tmp_path / "m", {"w": W + 1}, ocdbt=False)
    (folder / "w" / "0.0.0").unlink()
    described = metadata(["w"], store_array_data_equal_to_fill_value=is_complete)
    (folder / "_METADATA").write_text(json.dumps(described))
    with open_it(folder) as checkpoint:
        if is_complete:
            with pytest.raises(CorruptCheckpoint, match="tensorstore cannot read"):
                read_all(checkpoint)
        else:
            assert not read_all(checkpoint)["w"].any()


def test_the_moments_of_optax_belong_to_the_parameters_of_the_same_path(tmp_path):
    arrays = {
        "params/d/kernel": W, "params/d/bias": np.ones(4, "f4"),
        "opt_state/0/count": np.array(7, "i4"), "opt_state/0/mu/d/kernel": W / 2, "opt_state/0/nu/d/kernel": W * W,
    }  # fmt: skip
    with open_it(write(tmp_path / "m", arrays)) as checkpoint:
        assert [tensor.name for tensor in checkpoint.tensors] == ["params/d/kernel", "params/d/bias"]
        [found] = checkpoint.moments
        assert (found.tensor, found.step, found.family) == ("params/d/kernel", 7, "Adam")
        np.testing.assert_array_equal(checkpoint.read(found.first, 0, 24), W.ravel() / 2)
        np.testing.assert_array_equal(checkpoint.read(found.second, 0, 24), W.ravel() ** 2)


def test_a_chunk_beyond_the_limit_is_remarked(tmp_path, limit):
    limit("orbax-chunk-bytes", 50)
    with open_it(write(tmp_path / "m", {"w": W, "b": np.ones(4, "f4")})) as checkpoint:
        assert [r.kind for r in checkpoint.remarks] == ["unreadable-tensor"]
        assert "--limit orbax-chunk-bytes=96" in checkpoint.remarks[0].text
        assert [t.name for t in checkpoint.tensors] == ["b"]


def test_shapes_without_bytes_behind_them_are_refused(tmp_path, monkeypatch):
    tensorstore = pytest.importorskip("tensorstore")
    folder = write(tmp_path / "m", {"w": W})
    base = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}, "path": "bomb/"}
    layout = {"metadata": {"chunks": [1024]}}
    tensorstore.open(
        {"driver": "zarr", "kvstore": base, **layout}, create=True, dtype="float32", shape=[1 << 40]
    ).result()
    (folder / "_METADATA").write_text(json.dumps(metadata(["w", "bomb"])))
    with pytest.raises(UnsafeCheckpoint, match="claims"):
        open_it(folder)


def test_links_are_refused(tmp_path):
    folder = write(tmp_path / "m", {"w": W})
    (folder / "d" / "link").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeCheckpoint, match="symbolic link"):
        open_it(folder)


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path):
    folder = write(tmp_path / "m", {"w": W}, ocdbt=False)
    (folder / "_METADATA").write_text(json.dumps(metadata(["w"]) | {"tree_metadata": {
        "x": {"key_metadata": [{"key": "/../../secret"}], "value_metadata": {"value_type": "jax.Array"}}}}))  # fmt: skip
    with pytest.raises(UnsafeCheckpoint, match="leads out"):
        open_it(folder)


@pytest.mark.parametrize(
    "tree", [None, [], {"x": 1}, {"x": {"key_metadata": [1], "value_metadata": {"value_type": "a"}}}]
)
def test_metadata_of_another_form_are_refused(tmp_path, tree):
    (tmp_path / "_METADATA").write_text(json.dumps({"tree_metadata": tree}))
    with pytest.raises(CorruptCheckpoint):
        open_it(tmp_path)


def test_without_tensorstore_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    (tmp_path / "_METADATA").write_text(json.dumps(metadata(["w"])))
    with pytest.raises(MissingExtra, match=r"regaudit\[orbax\]"):
        open_it(tmp_path)


def test_truncated_and_altered_files_are_one_clear_error(tmp_path):
    folder = write(tmp_path / "m", {"w": W, "v": W + 1})
    rng = np.random.default_rng(0)
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        raw = path.read_bytes()
        altered = [bytearray(raw) for _ in range(40)]
        for each in altered:
            each[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        for content in (*(raw[:n] for n in range(0, len(raw), 5)), *altered):
            path.write_bytes(content)
            try:
                with reader.FORMAT.open(look(folder)) as checkpoint:
                    read_all(checkpoint)
            except CheckpointError:
                pass
        path.write_bytes(raw)
    with open_it(folder) as checkpoint:
        np.testing.assert_array_equal(read_all(checkpoint)["w"], W)
