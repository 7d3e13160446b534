"""Arrays to inputs: names, shapes, number types, rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from regaudit.config import Probing
from regaudit.errors import ConfigError
from regaudit.probes.base import ModelInput, Runner
from regaudit.probes.data import load
from regaudit.records import Layer, Role

TOKENS = (Layer(name="table", role=Role.EMBEDDING),)


def runner(*inputs):
    network = torch.nn.Identity()
    return Runner(kind="test", network=network, inputs=inputs, places=(), call=lambda network, batch: batch)


def loaded(tmp_path, arrays, *inputs, layers=(), **options):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return load(str(path), runner(*(inputs or (ModelInput(name="x"),))), layers, Probing(probe=str(path), **options))


def refused(tmp_path, arrays, *inputs, **options):
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, arrays, *inputs, **options)
    return str(error.value)


ROWS = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    "names", [("input",), ("input", "other"), ("x", "other")], ids=["same name", "same of two", "x"]
)
def test_the_array_of_the_only_input_is_found(tmp_path, names):
    arrays = {name: ROWS + i for i, name in enumerate(names)}
    data, notes = loaded(tmp_path, arrays, ModelInput(name="input"))
    torch.testing.assert_close(data.inputs["input"], torch.tensor(ROWS, dtype=torch.float32))
    assert notes == ()


def test_several_inputs_go_by_name_before_order(tmp_path):
    data, notes = loaded(tmp_path, {"b": ROWS, "a": ROWS + 1}, ModelInput(name="a"), ModelInput(name="b"))
    assert float(data.inputs["a"][0, 0]) == 1
    assert notes == ()


def test_arrays_of_other_names_go_by_order_and_that_is_said(tmp_path):
    data, notes = loaded(tmp_path, {"p": ROWS, "q": ROWS + 1}, ModelInput(name="a"), ModelInput(name="b"))
    assert float(data.inputs["b"][0, 0]) == 1
    assert "p as a, q as b" in notes[0]


def test_inputs_without_an_array_are_left_out_and_that_is_said(tmp_path):
    ids = ModelInput(name="input_ids", dtype="I64")
    data, notes = loaded(tmp_path, {"input_ids": ROWS}, ids, ModelInput(name="attention_mask", dtype="I64"))
    assert list(data.inputs) == ["input_ids"]
    assert "attention_mask" in notes[0]


def test_arrays_that_fit_no_input_are_listed_with_the_inputs(tmp_path):
    said = refused(tmp_path, {"p": ROWS, "q": ROWS}, ModelInput(name="a"))
    assert all(word in said for word in ("'a'", "'p'", "'q'"))


@pytest.mark.parametrize(
    ("array", "given", "expected"),
    [
        (np.ones((2, 3), np.float64), "F32", torch.float32),
        (np.ones((2, 3), np.float16), "F32", torch.float32),
        (np.ones((2, 3), np.int32), "I64", torch.int64),
        (np.ones((2, 3), np.float32), "I64", torch.int64),
        (np.ones((2, 3), np.bool_), "F32", torch.float32),
        (np.ones((2, 3), np.int64), "BOOL", torch.bool),
    ],
)
def test_number_types_become_the_models(tmp_path, array, given, expected):
    data, _ = loaded(tmp_path, {"x": array}, ModelInput(name="x", dtype=given))
    assert data.inputs["x"].dtype == expected


def test_integers_are_ids_for_a_model_of_tokens_only(tmp_path):
    ids = np.array([[1, 2], [3, 4]])
    assert loaded(tmp_path, {"x": ids}, layers=TOKENS)[0].inputs["x"].dtype == torch.int64
    data, notes = loaded(tmp_path, {"x": ids})
    assert data.inputs["x"].dtype == torch.float32
    assert "integers" in notes[0]


def test_images_of_bytes_are_not_scaled_and_that_is_said(tmp_path):
    data, notes = loaded(tmp_path, {"x": np.full((2, 1, 4, 4), 255, np.uint8)})
    assert float(data.inputs["x"].max()) == 255
    assert "not scaled" in notes[0]


def test_a_sample_is_seeded_without_repeats_and_in_order(tmp_path):
    arrays = {"x": np.arange(100.0)[:, None], "y": np.arange(100)}
    data, _ = loaded(tmp_path, arrays, size=10, loss="mse", seed=3)
    again, _ = loaded(tmp_path, arrays, size=10, loss="mse", seed=3)
    other, _ = loaded(tmp_path, arrays, size=10, loss="mse", seed=4)
    rows = data.inputs["x"][:, 0].tolist()
    assert (len(data), data.total) == (10, 100)
    assert rows == sorted(set(rows)) == again.inputs["x"][:, 0].tolist() == data.labels.tolist()
    assert rows != other.inputs["x"][:, 0].tolist()


def test_labels_without_a_loss_are_not_used_and_that_is_said(tmp_path):
    data, notes = loaded(tmp_path, {"x": ROWS, "y": np.arange(4)})
    assert data.labels is None
    assert "--loss" in notes[0]


NAN = ROWS.copy()
NAN[2, 1] = np.nan
REFUSED = {
    "no labels": ({"x": ROWS, "target": ROWS}, {"loss": "mse"}, ["'y'", "'target'", "--label-key target"]),
    "a row of NaN": ({"x": NAN}, {}, ["'x'", "NaN", "row 2", "1 of 4"]),
    "NaN among labels": ({"x": ROWS, "y": NAN}, {"loss": "mse"}, ["'y'", "row 2"]),
    "no rows": ({"x": ROWS[:0]}, {}, ["no example"]),
    "a scalar": ({"x": np.float64(1)}, {}, ["single number"]),
    "rows that differ": ({"x": ROWS, "y": np.arange(3)}, {"loss": "mse"}, ["'x' has 4", "'y' has 3"]),
    "complex": ({"x": ROWS * 1j}, {}, ["complex"]),
    "too large": ({"x": ROWS * 1e300}, {}, ["too large for float32"]),
}


@pytest.mark.parametrize(("arrays", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_data_are_told_in_one_sentence(tmp_path, arrays, options, words):
    said = refused(tmp_path, arrays, **options)
    assert "data.npz" in said
    assert all(word in said for word in words), said


def test_a_wrong_shape_names_both(tmp_path):
    said = refused(tmp_path, {"x": ROWS}, ModelInput(name="x", shape=(None, 5)))
    assert "4×3" in said
    assert "N×5" in said


def test_fractions_are_no_ids(tmp_path):
    assert "fractions" in refused(tmp_path, {"x": ROWS + 0.5}, ModelInput(name="x", dtype="I64"))


def test_what_the_users_code_takes_is_a_guess_that_refuses_nothing(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=ROWS + 0.5)
    guessed = replace(runner(ModelInput(name="x", shape=(None, 7), dtype="I64")), ran_code=True)
    data, _ = load(str(path), guessed, (), Probing(probe=str(path)))
    torch.testing.assert_close(data.inputs["x"], torch.tensor(ROWS + 0.5, dtype=torch.float32))
