import io
import struct
import zipfile

import numpy as np
import pytest

from regaudit.checkpoints import numpy_arrays, open_checkpoint
from regaudit.checkpoints.base import UNREADABLE_TENSOR
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat, UnsafeCheckpoint

KINDS = ["f2", "f4", "f8", "c8", "c16", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


def npy(header, data=b"", version=(1, 0)):
    text = header if isinstance(header, bytes) else repr(header).encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def header(descr="<f4", shape=(2, 2), fortran=False):
    return {"descr": descr, "fortran_order": fortran, "shape": shape}


def saved(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def read_all(checkpoint):
    return {t.name: checkpoint.read(t, 0, t.size).reshape(t.shape) for t in checkpoint.tensors}


@pytest.mark.parametrize("kind", [order + kind for kind in KINDS for order in "<>"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_type_and_order_is_read(tmp_path, kind, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=kind, order=order)
    np.save(tmp_path / "kernel.npy", array)
    with open_checkpoint(tmp_path / "kernel.npy") as checkpoint:
        (tensor,) = checkpoint.tensors
        assert (tensor.name, tensor.shape, tensor.nbytes) == ("kernel", (2, 3, 4), array.nbytes)
        np.testing.assert_array_equal(checkpoint.read(tensor, 0, 24), array.reshape(-1))
        np.testing.assert_array_equal(checkpoint.read(tensor, 5, 17), array.reshape(-1)[5:17])
        assert checkpoint.read(tensor, 7, 7).size == 0


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_holds_its_arrays_under_their_names(tmp_path, save):
    rng = np.random.default_rng(0)
    arrays = {
        "dense/kernel": rng.normal(size=(30, 20)).astype(np.float32),
        "dense/bias": np.zeros(20, np.float16),
        "transposed": rng.normal(size=(50, 40)).T,
        "big": rng.normal(size=(5, 6)).astype(">f8"),
        "step": np.array(7),
        "empty": np.zeros((0, 3)),
    }
    save(tmp_path / "m.npz", **arrays)
    with open_checkpoint(tmp_path / "m.npz") as checkpoint:
        assert [t.name for t in checkpoint.tensors] == list(arrays)
        for name, values in read_all(checkpoint).items():
            np.testing.assert_array_equal(values, arrays[name])


@pytest.mark.parametrize("shape", [(60, 70), (7, 60, 10), (1, 4200), (4200, 1)])
def test_a_column_major_array_is_gathered_in_bands(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(numpy_arrays, "_BAND_SIZE", 1000)
    monkeypatch.setattr(numpy_arrays, "_CHUNK_SIZE", 100)
    first = np.asfortranarray(np.arange(4200, dtype=np.float32).reshape(shape))
    np.savez(tmp_path / "a.npz", first=first, second=first + 1)
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        for start, stop in [(33, 3333), (0, 4200), (999, 1000), (1000, 1001), (7, 7)]:
            for offset, tensor in enumerate(checkpoint.tensors):
                np.testing.assert_array_equal(checkpoint.read(tensor, start, stop), np.arange(start, stop) + offset)


def test_python_objects_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, None]), allow_pickle=True)
    with pytest.raises(UnsafeCheckpoint, match="Python objects"):
        open_checkpoint(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "array", [np.zeros(2, "f4,i4"), np.array(["a"]), np.array([b"a"]), np.zeros(1, "M8[s]"), np.zeros(2, "V2")]
)
def test_what_is_no_number_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UnknownFormat):
        open_checkpoint(tmp_path / "a.npy")


def test_an_archive_with_one_array_of_objects_is_read_without_it(tmp_path):
    np.savez(tmp_path / "m.npz", w=np.ones(3), names=np.array([{}]), label=np.array("mlp"))
    with open_checkpoint(tmp_path / "m.npz") as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["w"]
        assert [(r.kind, r.where) for r in checkpoint.remarks] == [
            (UNREADABLE_TENSOR, "names.npy"),
            (UNREADABLE_TENSOR, "label.npy"),
        ]


def test_an_archive_of_objects_only_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", names=np.array([{}]))
    with pytest.raises(UnknownFormat, match="Python objects"):
        open_checkpoint(tmp_path / "m.npz")


HOSTILE = {
    "more bytes than declared": npy(header(), bytes(20)),
    "fewer bytes than declared": npy(header(), bytes(12)),
    "two arrays in one file": saved(np.ones(2)) * 2,
    "a terabyte": npy(header(shape=(1 << 19, 1 << 19)), bytes(16)),
    "overflow": npy(header(shape=(1 << 40, 1 << 40)), bytes(16)),
    "many digits": npy(header(shape=(10**4000,)), bytes(16)),
    "negative": npy(header(shape=(-2, -2)), bytes(16)),
    "boolean": npy(header(shape=(True, 4)), bytes(16)),
    "rank": npy(header(shape=(4,) + (1,) * 40), bytes(16)),
    "shape is no tuple": npy(header(shape=4), bytes(16)),
    "no dtype": npy(header(descr="nonsense"), bytes(16)),
    "no key": npy({"descr": "<f4"}, bytes(16)),
    "no dict": npy(b"[1, 2]", bytes(16)),
    "no Python": npy(b"{'descr': (", bytes(16)),
    "code": npy(b"__import__('os').system('true')", bytes(16)),
    "deep": npy(b"(" * 9000, bytes(16)),
    "signs": npy(b"-" * 9000 + b"1", bytes(16)),
    "long header": npy(b"1" + b" " * 20_000, bytes(16)),
    "header longer than the file": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    "unknown version": npy(header(), bytes(16), version=(9, 9)),
    "version 3": npy(header(), bytes(16), version=(3, 0)),
    "magic only": b"\x93NUMPY",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_malformed_array_is_refused_alone_and_in_an_archive(tmp_path, raw):
    (tmp_path / "a.npy").write_bytes(raw)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", raw)
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        with pytest.raises(CheckpointError):
            open_checkpoint(path)


def test_a_header_of_python_2_is_read(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 2L)}", bytes(16)))
    with open_checkpoint(tmp_path / "a.npy") as checkpoint:
        assert checkpoint.tensors[0].shape == (2, 2)


def test_a_compressed_array_that_inflates_to_less_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    np.savez_compressed(path, w=np.arange(1000.0))
    raw = bytearray(path.read_bytes())
    raw[200:260] = bytes(60)
    path.write_bytes(raw)
    with pytest.raises(CorruptCheckpoint), open_checkpoint(path) as checkpoint:
        checkpoint.read(checkpoint.tensors[0], 0, 1000)
