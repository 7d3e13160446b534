"""Which models lie under a folder."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from regaudit.checkpoints.inventory import models_under


@pytest.fixture
def put(tmp_path):
    def save(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({"fc.weight": np.ones((4, 4), np.float32)}, path)

    return save


def found(folder):
    return [str(each.relative_to(folder)) for each in models_under(folder)]


def test_files_of_one_folder_are_models_of_their_own(put, tmp_path):
    put("b.safetensors", "a.safetensors", "deep/er/c.safetensors")
    assert found(tmp_path) == ["a.safetensors", "b.safetensors", "deep/er/c.safetensors"]


@pytest.mark.parametrize("mark", ["config.json", "adapter_config.json", "model.safetensors.index.json"])
def test_folder_with_a_configuration_or_an_index_is_one_model(put, tmp_path, mark):
    put("run/model.safetensors", "run/checkpoint-5/model.safetensors")
    (tmp_path / "run" / mark).write_text(json.dumps({}))
    assert found(tmp_path) == ["run", "run/checkpoint-5/model.safetensors"]


def test_configuration_without_a_model_is_passed_over(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert found(tmp_path) == []


def test_model_without_a_suffix_is_known_by_its_content(put, tmp_path):
    put("weights")
    (tmp_path / "notes").write_text("{}")
    assert found(tmp_path) == ["weights"]


def test_models_that_no_reader_opens_are_not_passed_over(put, tmp_path):
    put("a.safetensors")
    unread = {
        "lite": b"\x1c\0\0\0TFL3", "old.bin": b"lmgg\1", "boost.json": b'{"learner": {}}', "trees.txt": b"tree\nversion=v4",
        "engine": b"ptrt\1", "x.mlmodel": b"\x08\x01", "y.nemo": b"\0" * 257 + b"ustar", "cat": b"CBM1",
    }  # fmt: skip
    data = {"notes.md": b"# x", "data.json": b"{}", "x.tar": b"\0" * 257 + b"ustar", "a.png": b"\x89PNG", "v.txt": b"a\nb",
            "lib.so": b"\x7fELF", "x.gz": b"\x1f\x8b", "object.pickle": b"\x80\x04N."}  # fmt: skip
    for name, raw in (unread | data).items():
        (tmp_path / name).write_bytes(raw)
    package = tmp_path / "z.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Manifest.json").write_text("{}")
    (package / "Data" / "x.mlmodel").write_bytes(b"\x08\x01")
    assert found(tmp_path) == [*sorted(["a.safetensors", *unread]), "z.mlpackage"]


def test_damaged_model_is_not_passed_over(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"")
    (tmp_path / "b.pt").write_bytes(b"PK")
    (tmp_path / "c.bin").write_bytes(b"anything")
    (tmp_path / "d").write_bytes(b"")
    assert found(tmp_path) == ["a.safetensors", "b.pt"]


def test_links_to_folders_pipes_and_hidden_entries_are_left_out(put, tmp_path):
    put("a.safetensors", ".hidden/b.safetensors", ".c.safetensors")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "self.pt").symlink_to("self.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    assert found(tmp_path) == ["a.safetensors"]


def test_cache_of_hugging_face_names_each_model_once(put, tmp_path):
    put("models--x/blobs/0123abcd")
    revision = tmp_path / "models--x" / "snapshots" / "r1"
    revision.mkdir(parents=True)
    (revision / "model.safetensors").symlink_to("../../blobs/0123abcd")
    assert found(tmp_path) == ["models--x/snapshots/r1/model.safetensors"]
