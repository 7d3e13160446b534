"""HDF5 and Keras files that lie, lead elsewhere, or are broken: one clear error, at once, and nothing is followed."""

import contextlib
import io
import json
import random
import time
import zipfile

import numpy as np
import pytest

from regaudit.checkpoints import open_checkpoint
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint

h5py = pytest.importorskip("h5py")
PATH = "layers/dense/vars/0"


def written(path, fill):
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/1"] = np.zeros(4, np.float32)
        fill(file)
    return path


def external_link(file):
    file[PATH] = h5py.ExternalLink("secret.h5", "/w")


def soft_link(file):
    file[PATH] = h5py.SoftLink("/layers/dense/vars/1")


def dangling_link(file):
    file[PATH] = h5py.SoftLink("/nowhere")


def external_storage(file):
    file.create_dataset(PATH, (2,), "<f4", external=[("secret.bin", 0, 8)])


def virtual(file):
    layout = h5py.VirtualLayout((3,), "<f8")
    layout[:] = h5py.VirtualSource("secret.h5", "w", (3,))
    file.create_virtual_dataset(PATH, layout)


def bomb(file):
    file.create_dataset(PATH, (10**6, 10**6), "<f4", chunks=(1000, 1000))


def many_zeros(file):
    file.create_dataset(PATH, data=np.zeros((2_000, 5_000), np.int8), chunks=(2_000, 500), compression="gzip")


def many_bombs(file):
    for index in range(200):
        file.create_dataset(f"layers/dense/vars/{index + 2}", (4_000, 4_000), "<f4")


def huge_chunk(file):
    file.create_dataset(PATH, (1, 1), "<f4", maxshape=(None, None), chunks=(20_000, 20_000), compression="gzip")


def loop(file):
    file["layers/dense/again"] = file["layers"]


def second_root(file):
    file["layers/dense/again"] = file["/"]


def deep(file):
    file["/".join(["g"] * 100)] = np.zeros(2)


REFUSED = [
    external_link, soft_link, dangling_link, external_storage, virtual, bomb, many_bombs, huge_chunk, loop, second_root, deep,
]  # fmt: skip


@pytest.mark.parametrize("fill", REFUSED, ids=lambda fill: fill.__name__)
def test_what_leads_elsewhere_or_exhausts_is_refused_at_once(tmp_path, fill):
    written(tmp_path / "m.weights.h5", fill)
    begin = time.monotonic()
    with pytest.raises(UnsafeCheckpoint):
        open_checkpoint(tmp_path / "m.weights.h5")
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("fill", REFUSED, ids=lambda fill: fill.__name__)
def test_the_same_is_refused_inside_of_an_archive(tmp_path, fill):
    written(tmp_path / "w.h5", fill)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": []}}))
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    with pytest.raises(UnsafeCheckpoint):
        open_checkpoint(tmp_path / "m.keras")


def test_zeros_that_compress_well_are_no_bomb(tmp_path):
    written(tmp_path / "m.weights.h5", many_zeros)
    with open_checkpoint(tmp_path / "m.weights.h5") as checkpoint:
        tensor = next(t for t in checkpoint.tensors if t.size == 10**7)
        assert not checkpoint.read(tensor, 10**7 - 5, 10**7).any()


def test_an_unknown_compression_loads_no_plugin(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["fine"] = np.ones(3, np.float32)
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((2,))
        plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"odd", h5py.h5t.IEEE_F32LE, space, plan)
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["fine"]
        assert "plugin of libhdf5 (filter 32015)" in checkpoint.remarks[0].text


def good_file(path):
    config = {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [{"class_name": "Dense", "config": {"name": "d", "units": 3}}]},
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "3.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = ["d"]
        below = group.create_group("d")
        below.attrs["weight_names"] = ["s/d/kernel", "s/d/bias"]
        below["s/d/kernel"] = np.ones((4, 3), np.float32)
        below.create_dataset("s/d/bias", data=np.ones(3, np.float32), chunks=(2,), compression="gzip")
    return path.read_bytes()


def opened(path):
    with open_checkpoint(path) as checkpoint:
        for tensor in checkpoint.tensors:
            checkpoint.read(tensor, 0, tensor.size)


def test_a_file_cut_short_anywhere_is_said_to_be_so(tmp_path):
    content = good_file(tmp_path / "m.h5")
    for length in range(0, len(content) - 1, 61):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            opened(tmp_path / "cut.h5")


def test_an_archive_cut_short_anywhere_is_said_to_be_so(tmp_path):
    good_file(tmp_path / "w.h5")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    content = (tmp_path / "m.keras").read_bytes()
    for length in range(0, len(content) - 1, 211):
        (tmp_path / "cut.keras").write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            opened(tmp_path / "cut.keras")


def test_flipped_bytes_give_an_error_or_a_checkpoint(tmp_path):
    content = good_file(tmp_path / "m.h5")
    rng = random.Random(0)
    for _ in range(300):
        broken = bytearray(content)
        for _ in range(4):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        (tmp_path / "broken.h5").write_bytes(broken)
        with contextlib.suppress(CheckpointError):
            opened(tmp_path / "broken.h5")


def test_a_heap_of_texts_that_never_ends_is_read_to_its_end(tmp_path):
    content = bytearray(good_file(tmp_path / "m.h5"))
    position = content.index(b"GCOL") + 16
    while content[position : position + 2] != bytes(2):
        position += 16 + -(-int.from_bytes(content[position + 8 : position + 16], "little") // 8) * 8
    content[position + 8 : position + 16] = bytes(8)  # the free object has no length: libhdf5 would stay on it
    (tmp_path / "m.h5").write_bytes(content)
    opened(tmp_path / "m.h5")


def test_a_text_longer_than_the_file_is_refused_without_allocating_it(tmp_path):
    content = good_file(tmp_path / "m.h5")
    length = len("3.0").to_bytes(4, "little")
    at = content.index(b"keras_version\0")
    at = content.index(length + content.index(b"GCOL").to_bytes(8, "little"), at)
    (tmp_path / "m.h5").write_bytes(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :])
    with pytest.raises(CorruptCheckpoint, match="is not in the heap"):
        open_checkpoint(tmp_path / "m.h5")


VALUES = [
    None, True, -1, 1e400, 10**400, "", "l2", [], {}, [[]], [["d", 0, 0]], {"class_name": 5}, {"class_name": "L2", "config": []},
    {"class_name": "Dense", "config": {"name": "d"}}, {"class_name": "Dense", "config": {"name": 7}}, ["a", 0, 0],
    {"class_name": "Bidirectional", "config": {"layer": {"class_name": "LSTM", "config": {"name": "z"}}}},
    {"class_name": "L1L2", "config": {"l1": "a", "l2": []}}, "\x1b[31m<b>[red]", "../..", ["d", 10**30, -5],
]  # fmt: skip
CONFIG = {
    "class_name": "Functional",
    "config": {
        "name": "m",
        "layers": [
            {"class_name": "InputLayer", "name": "x", "config": {"name": "x"}, "inbound_nodes": []},
            {
                "class_name": "Dense", "name": "d", "inbound_nodes": [[["x", 0, 0, {}]]],
                "config": {"name": "d", "units": 3, "activation": "relu", "kernel_regularizer": "l2", "use_bias": True},
            },
            {
                "class_name": "TimeDistributed", "name": "t", "inbound_nodes": [{"args": [["d", 0, 0]], "kwargs": {}}],
                "config": {"name": "t", "layer": {"class_name": "LSTM", "config": {"name": "l", "dropout": 0.1}}},
            },
        ],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["d", 0, 0]],
    },
    "compile_config": {"optimizer": {"class_name": "SGD", "config": {"weight_decay": 0.1}}, "loss": {"a": {"config": {}}}},
}  # fmt: skip


def places(value, path=()):
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from places(part, (*path, key))


@pytest.fixture(scope="module")
def weights():
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for path in (PATH, "layers/time_distributed/vars/0", "layers/time_distributed/layer/cell/vars/0"):
            file[path] = np.ones((3, 4), np.float32)
    return stream.getvalue()


def test_a_configuration_with_wrong_types_anywhere_is_read_in_part(tmp_path, weights):
    cases = [(place, value) for place in places(CONFIG) for value in VALUES]
    for place, value in random.Random(0).sample(cases, 300):
        config = json.loads(json.dumps(CONFIG))
        holder = config
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", weights)
        with open_checkpoint(tmp_path / "m.keras") as checkpoint:
            assert len({t.name for t in checkpoint.tensors}) == 3
            assert len({m.name for m in checkpoint.modules}) == len(checkpoint.modules)
            assert all(d.value is None or np.isfinite(d.value) for d in checkpoint.declared)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "{", '{"config": ' + "[" * 100_000, '"\\ud800"', '{"a": "\\ud800"}', "\xff", '{"config": NaN, }'],
)
def test_a_configuration_that_is_no_json_object_is_corrupt(tmp_path, weights, text):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", text.encode("latin-1"))
        archive.writestr("model.weights.h5", weights)
    with pytest.raises(CorruptCheckpoint):
        open_checkpoint(tmp_path / "m.keras")


def nested(depth):
    config = {"class_name": "Dense", "config": {"name": "d", "kernel_regularizer": "l2"}}
    for _ in range(depth):
        config = {"class_name": "Sequential", "config": {"name": "s", "layers": [config]}}
    return config


def equal(count):
    one = {"class_name": "Dense", "config": {"name": "d", "kernel_regularizer": "l2"}}
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [one] * count}}


@pytest.mark.parametrize("config", [nested(200), equal(20_000)], ids=["200 deep", "20,000 of one name"])
def test_deep_and_wide_configurations_are_read_within_bounds(tmp_path, weights, config):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    begin = time.monotonic()
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        assert len({m.name for m in checkpoint.modules}) == len(checkpoint.modules)
    assert time.monotonic() - begin < 20
