"""Files of examples: what is read, what is refused and with which words."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from regaudit.errors import ConfigError
from regaudit.probes.data_files import opened


def read(path, label_key="y", rows=None):
    with opened(str(path), label_key) as arrays:
        return {
            name: each.rows(np.arange(each.shape[0]) if rows is None else np.array(rows))
            for name, each in arrays.items()
        }


ARRAYS = {
    "x": np.arange(24, dtype=np.float32).reshape(6, 2, 2),
    "y": np.array([0, 2, 1, 0, 1, 2]),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [0, 3, 4], [5]])
def test_npz_gives_the_rows_that_are_asked_for(tmp_path, save, rows):
    save(tmp_path / "a.npz", **ARRAYS)
    found = read(tmp_path / "a.npz", rows=rows)
    assert list(found) == ["x", "y"]
    for name, array in found.items():
        np.testing.assert_array_equal(array, ARRAYS[name][rows])
        assert array.dtype == ARRAYS[name].dtype


def test_safetensors_and_npy_give_the_same(tmp_path):
    save_file(ARRAYS, tmp_path / "a.safetensors")
    np.save(tmp_path / "x.npy", np.asfortranarray(ARRAYS["x"]))
    np.testing.assert_array_equal(read(tmp_path / "a.safetensors", rows=[1, 4])["x"], ARRAYS["x"][[1, 4]])
    np.testing.assert_array_equal(read(tmp_path / "x.npy", rows=[1, 4])["x"], ARRAYS["x"][[1, 4]])


def test_csv_is_features_and_labels(tmp_path):
    (tmp_path / "a.csv").write_text("age,y,height\n30,1,1.5\n40,0,1.75\n")
    found = read(tmp_path / "a.csv")
    np.testing.assert_array_equal(found["x"], [[30, 1.5], [40, 1.75]])
    np.testing.assert_array_equal(found["y"], [1, 0])
    with opened(str(tmp_path / "a.csv"), "y") as arrays:
        assert arrays["x"].columns == ("age", "height")


def test_parquet_is_features_and_labels(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table({"age": [30, 40], "y": [1, 0], "height": [1.5, 1.75]}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    np.testing.assert_array_equal(found["x"], [[30, 1.5], [40, 1.75]])
    np.testing.assert_array_equal(found["y"], [1, 0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,two\n", ["line 2", "'b'", "'two'", "not a number"]),
        ("a,b\n1,\n", ["line 2", "'b'", "''"]),
        ("a,b\n1,2,3\n", ["line 2", "3 cells", "2"]),
        ("1,2\n3,4\n", ["first line", "names"]),
        ("a,a\n1,2\n", ["same name"]),
        ('a,b\n"1,2\n', ["not a CSV"]),
    ],
    ids=["word", "empty cell", "ragged", "no header", "twice", "open quote"],
)
def test_a_bad_table_is_told_with_its_place(tmp_path, text, words):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read(path)
    assert all(word in str(error.value) for word in [str(path), *words]), error.value


def test_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(ConfigError, match="Python objects"):
        read(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match="never from a pickle"):
        read(tmp_path / "a.pkl")


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.safetensors"])
def test_content_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_text("age,height\n1,2\n")
    with pytest.raises(ConfigError, match=name):
        read(tmp_path / name)
