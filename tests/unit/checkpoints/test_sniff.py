import gzip
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from regaudit.checkpoints import open_checkpoint
from regaudit.checkpoints.base import Candidate
from regaudit.checkpoints.sniff import explain_unreadable, look
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"


def test_a_look_at_a_file_takes_its_first_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10_000)
    candidate = look(tmp_path / "a")
    assert (candidate.is_directory, candidate.size, candidate.members) == (False, 10_000, frozenset())
    assert candidate.head == b"x" * 4096


def test_a_look_at_a_zip_or_a_directory_takes_the_names_in_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/y", b"")
    assert look(tmp_path / "a.zip").members == {"x/y"}
    assert look(tmp_path).members == {"a.zip"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such file or directory"),
        (lambda path: path.symlink_to("nowhere"), "link to nothing"),
        (lambda path: path.symlink_to(path), "cannot be opened"),
        (lambda path: path.touch(), "is empty"),
        (os.mkfifo, "pipe, socket or device"),
    ],
    ids=["missing", "dangling link", "link to itself", "empty", "pipe"],
)
def test_what_is_no_file_is_said_in_plain_words(tmp_path, make, words):
    make(tmp_path / "a")
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(tmp_path / "a")


def test_a_broken_link_in_a_directory_is_named(tmp_path):
    (tmp_path / "model.safetensors").symlink_to("blobs/gone")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is a link to nothing.*download"):
        open_checkpoint(tmp_path)


def test_a_name_on_a_hub_is_no_path():
    with pytest.raises(CheckpointError, match="must be downloaded first"):
        open_checkpoint("openai-community/gpt2")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said_so(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a").chmod(0)
    with pytest.raises(CheckpointError, match="Permission denied"):
        open_checkpoint(tmp_path / "a")


def test_a_path_that_no_system_knows_is_said_so():
    for path in ("a\0b", "a" * 5000):
        with pytest.raises(CheckpointError, match="cannot be opened"):
            open_checkpoint(path)


FILES = {
    "Git LFS": (POINTER, "Git LFS pointer of a file of 12,345 bytes.*git lfs pull"),
    "HTML": (b"\n<!DOCTYPE html><html>", "HTML page"),
    "XML": (b"<?xml version='1.0'?><Error>", "XML text"),
    "gzip": (gzip.compress(b"x"), "gzip.*Unpack"),
    "zstd": (b"\x28\xb5\x2f\xfd\x00", "zstd"),
    "xz": (b"\xfd7zXZ\x00\x00", "xz"),
    "TFLite": (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
    "ONNX": (b"\x08\x08\x12\x07pytorch", "ONNX"),
    "pickle": (pickle.dumps({"a": 1}), "pickled Python object; regaudit runs no code"),
    "one byte of a pickle": (b"\x80", "begins with the bytes 80"),
    "XGBoost": (b'{"learner":{"attributes":{}}}', "XGBoost"),
    "LightGBM": (b"tree\nversion=v4\n", "LightGBM"),
    "TensorRT": (b"ptrt\0\0", "TensorRT"),
    "PNG": (b"\x89PNG\r\n\x1a\n", "PNG image"),
    "JSON": (b'{"hidden_size": 8}', "JSON text"),
    "text": (b"hello\nworld", r"begins with the text 'hello\\nworld'"),
    "noise": (b"\xde\xad\xbe\xef" * 4, "begins with the bytes de ad be ef"),
    "truncated zip": (b"PK\x03\x04 and no more", "cut short"),
}


@pytest.mark.parametrize(("raw", "words"), FILES.values(), ids=FILES.keys())
def test_an_unreadable_file_is_named(tmp_path, raw, words):
    (tmp_path / "a.dat").write_bytes(raw)
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(tmp_path / "a.dat")


def test_core_ml_has_only_its_name(tmp_path):
    (tmp_path / "model.mlmodel").write_bytes(b"\x08\x01\x12\x00")
    with pytest.raises(UnknownFormat, match="Core ML"):
        open_checkpoint(tmp_path / "model.mlmodel")


def test_the_suffix_of_a_model_is_held_against_its_content(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"\x01\x02\x03\xff")
    with pytest.raises(CorruptCheckpoint, match=r"is named \.safetensors"):
        open_checkpoint(tmp_path / "a.safetensors")


def test_a_tar_archive_is_named(tmp_path):
    with tarfile.open(tmp_path / "a.nemo", "w") as archive:
        archive.add(__file__, "x")
    with pytest.raises(UnknownFormat, match="tar archive"):
        open_checkpoint(tmp_path / "a.nemo")


ZIPS = {
    "other": (["word/document.xml"], "holds no model; it holds 'word/document.xml'"),
    "empty": ([], "with nothing in it"),
}


@pytest.mark.parametrize(("names", "words"), ZIPS.values(), ids=ZIPS.keys())
def test_an_unreadable_zip_is_named(tmp_path, names, words):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(tmp_path / "a.zip")


DIRECTORIES = {
    "Core ML": (["Manifest.json", "Data/x"], "Core ML"),
    "diffusers": (["model_index.json", "unet/config.json", "vae/config.json"], "'unet', 'vae'"),
    "folders of models": (["a/model.safetensors", "b/model.pt"], "its folders 'a', 'b' do"),
    "nothing": (["README.md"], "holds no model file that regaudit reads; it holds 'README.md'"),
    "empty": ([], "it is empty"),
}


@pytest.mark.parametrize(("names", "words"), DIRECTORIES.values(), ids=DIRECTORIES.keys())
def test_an_unreadable_directory_is_named(tmp_path, names, words):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UnknownFormat, match=words):
        open_checkpoint(tmp_path)


def test_no_beginning_of_a_file_is_an_exception():
    """Every prefix of every known beginning, and noise, gives one clear error."""
    rng = np.random.default_rng(0)
    heads = [raw[:n] for raw, _ in FILES.values() for n in range(1, len(raw))]
    heads += [bytes([a, b]) + rng.bytes(8) for a in range(256) for b in range(0, 256, 5)]
    for head in heads:
        error = explain_unreadable(Candidate(path=Path("a"), is_directory=False, size=len(head), head=head))
        assert isinstance(error, CheckpointError)
        assert str(error).isprintable()
