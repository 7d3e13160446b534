import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from regaudit.checkpoints import tensorflow as reader
from regaudit.checkpoints.sniff import look
from regaudit.checkpoints.tensorflow_bundle import slice_key
from regaudit.checkpoints.tensorflow_table import MAGIC
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat, UnsafeCheckpoint

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
F32, STRING, I64, BF16, QINT8 = 1, 7, 9, 14, 11


def varint(n):
    found = b""
    while n > 127:
        found, n = found + bytes([n & 127 | 128]), n >> 7
    return found + bytes([n])


def proto(*fields):
    """Encode (number, value) pairs: integers as varints, text and bytes with their length."""
    return b"".join(field(number, value) for number, value in fields)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def block(entries, kind=0):
    """Encode a block of a table; keys share beginnings as TensorFlow's do."""
    found, last = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        found += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return found + struct.pack("<II", 0, 1) + bytes([kind]) + b"\0\0\0\0"


def table(entries, kind=0):
    data = block(sorted(entries.items()), kind)
    root = block([(b"~", varint(0) + varint(len(data) - 5))])
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(root) - 5)
    return data + root + footer.ljust(40, b"\0") + MAGIC


def shape(*lengths):
    return proto(*[(2, proto((1, n))) for n in lengths])


def entry(dtype, lengths, offset, size, slices=(), shard=0):
    extents = [(7, proto(*[(1, proto(*([(1, s), (2, n)] if n >= 0 else []))) for s, n in each])) for each in slices]
    return proto((1, dtype), (2, shape(*lengths)), (3, shard), (4, offset), (5, size), *extents)


def write(folder, variables, name="ckpt", shards=1, graph=None, extra=None):
    """Write a checkpoint of float32 arrays by key, with more entries, and the object graph."""
    entries, data = {b"": proto((1, shards))}, b""
    for key, value in variables.items():
        raw = np.asarray(value, "<f4").tobytes()
        entries[key.encode()] = entry(F32, np.shape(value), len(data), len(raw))
        data += raw
    if graph:
        raw = varint(len(graph)) + b"crc." + graph
        entries[b"_CHECKPOINTABLE_OBJECT_GRAPH"] = entry(STRING, (), len(data), len(raw))
        data += raw
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / f"{name}.index"
    index.write_bytes(table(entries | (extra or {})))
    (folder / f"{name}.data-00000-of-{shards:05d}").write_bytes(data)
    return index


def open_it(path):
    candidate = look(Path(path))
    assert reader.FORMAT.claims(candidate)
    return reader.FORMAT.open(candidate)


def read_all(checkpoint):
    return {t.name: checkpoint.read(t, 0, t.size).reshape(t.shape) for t in checkpoint.tensors}


W = np.arange(12, dtype="f4").reshape(3, 4)
TWO = {f"model/w{SUFFIX}": W, f"model/b{SUFFIX}": np.ones(4)}


@pytest.mark.parametrize("given", ["ckpt.index", "ckpt.data-00000-of-00001", "."])
def test_variables_are_read_from_the_index_a_shard_or_the_folder(tmp_path, given):
    write(tmp_path, TWO)
    with open_it(tmp_path / given) as checkpoint:
        arrays = read_all(checkpoint)
    assert list(arrays) == ["model/b", "model/w"]
    np.testing.assert_array_equal(arrays["model/w"], W)


def test_any_range_of_elements_is_read(tmp_path):
    with open_it(write(tmp_path, TWO)) as checkpoint:
        tensor = checkpoint.tensors[1]
        assert checkpoint.read(tensor, 3, 7).tolist() == [3, 4, 5, 6]
        assert checkpoint.read(tensor, 5, 5).size == 0


def test_bfloat16_is_decoded(tmp_path):
    values = torch.tensor([1.5, -2, 0.1], dtype=torch.bfloat16)
    raw = values.view(torch.int16).numpy().tobytes()
    index = write(tmp_path, {"a": W}, extra={b"h": entry(BF16, (3,), 48, len(raw))})
    data = tmp_path / "ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes() + raw)
    with open_it(index) as checkpoint:
        assert read_all(checkpoint)["h"].tolist() == values.float().tolist()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_partitioned_variable_is_put_together(tmp_path, axis):
    whole = np.arange(40, dtype="f4").reshape(5, 8)
    cuts = [(0, 2), (2, 3)] if axis == 0 else [(0, 5), (5, 3)]
    entries, data, slices = {}, W.astype("<f4").tobytes(), []
    for start, length in cuts:
        extents = ((start, length), (0, -1)) if axis == 0 else ((0, -1), (start, length))
        part = np.take(whole, range(start, start + length), axis)
        entries[slice_key("emb", extents)] = entry(F32, part.shape, len(data), part.nbytes)
        data, slices = data + part.tobytes(), [*slices, extents]
    entries[b"emb"] = entry(F32, (5, 8), 0, 0, slices)
    index = write(tmp_path, {"a": W}, extra=entries)
    (tmp_path / "ckpt.data-00000-of-00001").write_bytes(data)
    with open_it(index) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["a", "emb"]
        np.testing.assert_array_equal(read_all(checkpoint)["emb"], whole)
        assert checkpoint.read(checkpoint.tensors[1], 11, 30).tolist() == list(range(11, 30))


def test_slices_with_a_gap_are_refused(tmp_path):
    extents = ((1, 2), (0, -1))
    part = {slice_key("e", extents): entry(F32, (2, 4), 0, 32), b"e": entry(F32, (3, 4), 0, 0, [extents])}
    with pytest.raises(CorruptCheckpoint, match="do not follow each other"):
        open_it(write(tmp_path, {"a": W}, extra=part))


def test_optimizer_state_averages_and_metrics_are_apart(tmp_path):
    variables = {
        "net/k" + SUFFIX: W,
        "net/k/.OPTIMIZER_SLOT/optimizer/m" + SUFFIX: W,
        "optimizer/beta_1" + SUFFIX: 0.9,
        "keras_api/metrics/0/total" + SUFFIX: 1.0,
    }
    with open_it(write(tmp_path, variables)) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["net/k"]
        assert len(checkpoint.apart) == 3
        assert [r.kind for r in checkpoint.remarks] == ["optimizer-state"]


def test_slots_of_tensorflow_1_are_recognised_by_the_variable_before_them(tmp_path):
    named = ["bert/k", "bert/k/adam_m", "bert/k/Adam_1", "bert/k/ExponentialMovingAverage", "head/adam_m"]
    with open_it(write(tmp_path, dict.fromkeys(named, W))) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["bert/k", "head/adam_m"]
        assert {r.kind for r in checkpoint.remarks} == {"optimizer-state", "other-weights"}


def object_graph(names):
    attributes = [(2, proto((1, "VARIABLE_VALUE"), (2, own), (3, key))) for key, own in names.items()]
    return proto((1, proto((1, proto((1, 1), (2, "model"))))), (1, proto(*attributes)))


def test_variables_are_called_by_their_own_names_where_all_have_a_scope(tmp_path):
    keys = ["variables/0" + SUFFIX, "variables/1" + SUFFIX]
    arrays = dict(zip(keys, [W, np.ones(4)], strict=True))
    graph = object_graph(dict(zip(keys, ["d/kernel", "d/bias"], strict=True)))
    with open_it(write(tmp_path, arrays, graph=graph)) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["d/kernel", "d/bias"]


def test_moments_are_called_after_their_variables(tmp_path):
    slot = "layer-0/kernel/.OPTIMIZER_SLOT/optimizer/m" + SUFFIX
    own = {"layer-0/kernel" + SUFFIX: "d/kernel", "optimizer/_variables/1" + SUFFIX: "Adam/v/d/kernel"}
    with open_it(write(tmp_path, dict.fromkeys([*own, slot], W), graph=object_graph(own))) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["d/kernel"]
        assert [t.name for t in checkpoint.apart] == ["d/kernel/.OPTIMIZER_SLOT/optimizer/m", "Adam/v/d/kernel"]


def test_paths_stay_where_own_names_are_bare(tmp_path):
    graph = object_graph(dict.fromkeys(TWO, "Variable"))
    with open_it(write(tmp_path, TWO, graph=graph)) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["model/b", "model/w"]


L2 = {"class_name": "L2", "config": {"l2": 0.01}}
DENSE = {"class_name": "Dense", "config": {"name": "d", "units": 4, "activation": "relu", "kernel_regularizer": L2}}


def saved_model(folder, nodes):
    keys = ["variables/0" + SUFFIX, "variables/1" + SUFFIX]
    graph = object_graph(dict(zip(keys, ["m/d/kernel", "m/d/bias"], strict=True)))
    arrays = dict(zip(keys, [W, np.ones(4)], strict=True))
    write(folder / "variables", arrays, name="variables", graph=graph)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    objects = [proto((2, i), (3, path), (4, kind), (5, json.dumps(node))) for i, (path, kind, node) in enumerate(nodes)]
    (folder / "keras_metadata.pb").write_bytes(proto(*[(1, each) for each in objects]))


SEQUENTIAL = {"class_name": "Sequential", "config": {"name": "m", "layers": [DENSE]}}
CUSTOM = {"class_name": "MyModel", "name": "m", "config": {}}


@pytest.mark.parametrize(
    "nodes",
    [
        [("root", "_tf_keras_sequential", SEQUENTIAL), ("root.layer-0", "_tf_keras_layer", DENSE)],
        [("root", "_tf_keras_model", CUSTOM), ("root.d", "_tf_keras_layer", {"name": "d"} | DENSE)],
    ],
    ids=["listed layers", "subclassed model"],
)
@pytest.mark.parametrize("given", [".", "saved_model.pb"])
def test_keras_metadata_declare_layers_and_regularizers(tmp_path, nodes, given):
    saved_model(tmp_path, nodes)
    with open_it(tmp_path / given) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["m/d/kernel", "m/d/bias"]
        [module] = checkpoint.modules
        assert (module.name, module.type, module.activation) == ("m/d", "Dense", "relu")
        [declared] = checkpoint.declared
        assert (declared.target, declared.kind, declared.value, declared.unit) == ("m/d", "l2", 0.01, "keras")


def test_a_frozen_saved_model_is_explained(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(CheckpointError, match="without variables"):
        open_it(tmp_path)


def test_of_several_checkpoints_the_latest_is_taken(tmp_path):
    write(tmp_path, {"a": W}, name="ckpt-1")
    write(tmp_path, {"a": W + 1}, name="ckpt-2")
    with pytest.raises(CheckpointError, match="holds 2 checkpoints"):
        open_it(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/ckpt-2"\n')
    for given in (tmp_path, tmp_path / "checkpoint"):
        with open_it(given) as checkpoint:
            np.testing.assert_array_equal(read_all(checkpoint)["a"], W + 1)


def test_a_latest_checkpoint_that_is_gone_is_refused(tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "../../etc/passwd"\n')
    with pytest.raises(CorruptCheckpoint, match="not there"):
        open_it(tmp_path / "checkpoint")


def test_a_missing_shard_is_named(tmp_path):
    index = write(tmp_path, TWO)
    (tmp_path / "ckpt.data-00000-of-00001").unlink()
    with pytest.raises(CheckpointError, match=r"ckpt\.data-00000-of-00001' is missing"):
        open_it(index)


def test_a_shard_that_links_out_of_the_folder_is_refused(tmp_path):
    index = write(tmp_path / "in", TWO)
    shard = tmp_path / "in" / "ckpt.data-00000-of-00001"
    shard.rename(tmp_path / "secret")
    shard.symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeCheckpoint, match="outside of its folder"):
        open_it(index)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (entry(F32, (3, 4), 0, 44), CorruptCheckpoint),
        (entry(F32, (3, 4), 1 << 40, 48), CorruptCheckpoint),
        (entry(F32, (1 << 60, 4), 0, 48), CorruptCheckpoint),
        (entry(F32, ((1 << 64) - 1, 4), 0, 48), CorruptCheckpoint),
        (entry(F32, (), 0, 0, [()]), CorruptCheckpoint),
        (entry(F32, (3, 4), 0, 48, shard=7), CheckpointError),
        (b"\x0b", CorruptCheckpoint),
        (b"\x12\xff\xff\xff\x7f", CorruptCheckpoint),
    ],
    ids=["size", "offset", "shape", "negative", "no axes", "shard", "group", "length"],
)
def test_an_entry_that_contradicts_itself_is_refused(tmp_path, bad, expected):
    with pytest.raises(expected):
        open_it(write(tmp_path, TWO, extra={b"bad": bad}))


def test_variables_that_share_bytes_cannot_claim_more_than_there_are(tmp_path):
    many = {f"v{i}".encode(): entry(F32, (3, 4), 0, 48) for i in range(100)}
    with pytest.raises(UnsafeCheckpoint, match="claims"):
        open_it(write(tmp_path, {"a": W}, extra=many))


def test_packed_integers_are_remarked_and_left_out(tmp_path):
    with open_it(write(tmp_path, TWO, extra={b"q": entry(QINT8, (3,), 0, 3)})) as checkpoint:
        assert [(r.kind, "qint8" in r.text) for r in checkpoint.remarks] == [("unreadable-tensor", True)]


def test_a_compressed_index_is_explained(tmp_path):
    path = tmp_path / "old.index"
    path.write_bytes(table({b"": b"", b"a": entry(F32, (1,), 0, 4)}, kind=1))
    with pytest.raises(UnknownFormat, match="compressed"):
        open_it(path)


def test_big_endian_and_no_weights_are_explained(tmp_path):
    with pytest.raises(UnknownFormat, match="big-endian"):
        open_it(write(tmp_path, TWO, extra={b"": proto((1, 1), (2, 1))}))
    with pytest.raises(CheckpointError, match="no variables of floats"):
        open_it(write(tmp_path, {"optimizer/m" + SUFFIX: W}))


def test_blocks_without_entries_are_refused(tmp_path):
    empty = block([])
    root = block([(b"a", varint(0) + varint(len(empty) - 5))])
    footer = varint(0) + varint(0) + varint(len(empty)) + varint(len(root) - 5)
    path = tmp_path / "x.index"
    path.write_bytes(empty + root + footer.ljust(40, b"\0") + MAGIC)
    with pytest.raises(CorruptCheckpoint, match="holds nothing"):
        reader.FORMAT.open(look(path))


def test_truncated_and_altered_anywhere_it_is_one_clear_error(tmp_path):
    index = write(tmp_path, TWO, graph=object_graph(dict.fromkeys(TWO, "a/b")))
    raw = index.read_bytes()
    rng = np.random.default_rng(0)
    cut = [raw[:n] for n in range(1, len(raw))]
    flipped = [bytearray(raw) for _ in range(500)]
    for each in flipped:
        each[rng.integers(len(raw))] ^= 1 << rng.integers(8)
    refused = 0
    for content in (*cut, *map(bytes, flipped)):
        index.write_bytes(content)
        try:
            with reader.FORMAT.open(look(index)) as checkpoint:
                read_all(checkpoint)
        except CheckpointError:
            refused += 1
    assert refused >= len(cut)


def test_a_truncated_shard_is_refused_at_every_byte(tmp_path):
    index = write(tmp_path, TWO)
    shard = tmp_path / "ckpt.data-00000-of-00001"
    raw = shard.read_bytes()
    for n in range(len(raw)):
        shard.write_bytes(raw[:n])
        with pytest.raises(CorruptCheckpoint):
            open_it(index)


SLOT = "/.OPTIMIZER_SLOT/optimizer/"


@pytest.mark.parametrize(
    ("variables", "tensor", "step"),
    [
        (
            {"n/k" + SUFFIX: W, f"n/k{SLOT}m" + SUFFIX: W + 1, f"n/k{SLOT}v" + SUFFIX: W + 2, "optimizer/iter" + SUFFIX: 5},
            "n/k",
            5,
        ),
        ({"n/k": W, "n/k/Adam": W + 1, "n/k/Adam_1": W + 2, "global_step": 5}, "n/k", 5),
        ({"bert/k": W, "bert/k/adam_m": W + 1, "bert/k/adam_v": W + 2}, "bert/k", None),
    ],
    ids=["TensorFlow 2", "TensorFlow 1", "BERT"],
)  # fmt: skip
def test_adams_moments_are_found_by_their_names(tmp_path, variables, tensor, step):
    with open_it(write(tmp_path, variables)) as checkpoint:
        [found] = checkpoint.moments
        assert (found.tensor, found.step) == (tensor, step)
        np.testing.assert_array_equal(checkpoint.read(found.first, 0, W.size), W.ravel() + 1)
        np.testing.assert_array_equal(checkpoint.read(found.second, 0, W.size), W.ravel() + 2)


def test_numbered_moments_of_keras_are_found_by_their_own_names(tmp_path):
    own = {
        "layer-0/kernel" + SUFFIX: "d/kernel",
        "optimizer/_variables/1" + SUFFIX: "Adam/m/d/kernel",
        "optimizer/_variables/2" + SUFFIX: "Adam/v/d/kernel",
    }
    with open_it(write(tmp_path, dict.fromkeys(own, W), graph=object_graph(own))) as checkpoint:
        [found] = checkpoint.moments
        assert (found.tensor, found.first.name, found.second.name) == ("d/kernel", "Adam/m/d/kernel", "Adam/v/d/kernel")


def test_a_momentum_alone_is_no_pair_of_moments(tmp_path):
    variables = {"n/k" + SUFFIX: W, f"n/k{SLOT}momentum" + SUFFIX: W, f"n/k{SLOT}m" + SUFFIX: W}
    with open_it(write(tmp_path, variables)) as checkpoint:
        assert checkpoint.moments == ()
