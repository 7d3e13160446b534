import struct

import numpy as np
import pytest
import torch

from regaudit.checkpoints import flax as reader
from regaudit.checkpoints import limits
from regaudit.checkpoints.sniff import look
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint


def pack(value):
    """Encode with MessagePack's wide codes; `Raw` as it is."""
    match value:
        case Raw():
            return value.raw
        case dict():
            return b"\xdf" + struct.pack(">I", len(value)) + b"".join(pack(k) + pack(v) for k, v in value.items())
        case list():
            return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
        case str():
            return b"\xd9" + bytes([len(value.encode())]) + value.encode()
        case bytes():
            return b"\xc6" + struct.pack(">I", len(value)) + value
        case bool() | None:
            return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
        case int():
            return b"\xd3" + struct.pack(">q", value)
        case float():
            return b"\xcb" + struct.pack(">d", value)


class Raw:
    def __init__(self, raw):
        self.raw = raw


def small(*parts):
    """Encode a list of at most 15, as Flax' arrays begin."""
    return bytes([0x90 + len(parts)]) + b"".join(parts)


def array(values, dtype="float32", code=1, raw=None):
    values = np.asarray(values)
    raw = values.astype("<f4").tobytes() if raw is None else raw
    shape = small(*[pack(n) for n in values.shape])
    content = small(shape, pack(dtype), pack(raw))
    return Raw(b"\xc9" + struct.pack(">Ib", len(content), code) + content)


def write(path, tree):
    path.write_bytes(pack(tree))
    return path


def open_it(path):
    candidate = look(path)
    assert reader.FORMAT.claims(candidate)
    return reader.FORMAT.open(candidate)


def read_all(checkpoint):
    return {t.name: checkpoint.read(t, 0, t.size).reshape(t.shape) for t in checkpoint.tensors}


W = np.arange(12, dtype="f4").reshape(3, 4)
TREE = {"params": {"Dense_0": {"kernel": array(W), "bias": array(np.ones(4))}}}


def test_arrays_are_named_by_their_path_and_read_in_place(tmp_path):
    with open_it(write(tmp_path / "m.msgpack", TREE)) as checkpoint:
        arrays = read_all(checkpoint)
        assert list(arrays) == ["params/Dense_0/kernel", "params/Dense_0/bias"]
        np.testing.assert_array_equal(arrays["params/Dense_0/kernel"], W)
        assert checkpoint.read(checkpoint.tensors[0], 3, 7).tolist() == [3, 4, 5, 6]


def test_bfloat16_and_scalars_are_decoded(tmp_path):
    values = torch.tensor([1.5, -2, 0.1], dtype=torch.bfloat16)
    raw = values.view(torch.int16).numpy().tobytes()
    scalar = array(np.float32(2), code=3)
    with open_it(write(tmp_path / "m", {"w": array(np.zeros(3), "bfloat16", raw=raw), "s": scalar})) as checkpoint:
        arrays = read_all(checkpoint)
    assert arrays["w"].tolist() == values.float().tolist()
    assert arrays["s"] == 2


def test_chunked_arrays_are_joined(tmp_path):
    chunks = {"0": array(np.arange(5)), "1": array(np.arange(5, 12))}
    tree = {"w": {"__msgpack_chunked_array__": True, "shape": {"0": 3, "1": 4}, "chunks": chunks}}
    with open_it(write(tmp_path / "m", tree)) as checkpoint:
        np.testing.assert_array_equal(read_all(checkpoint)["w"], W)
        assert checkpoint.read(checkpoint.tensors[0], 3, 8).tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ({"0": 13}, {"0": array(np.arange(12))}),
        ({"0": 12}, {"1": array(np.arange(12))}),
        ({"0": 12}, {}),
        ({"0": -1}, {"0": array(np.arange(12))}),
        ({"0": 12}, {"0": array(np.arange(12)), "1": array(np.zeros(0))}),
    ],
    ids=["too few", "a gap", "none", "negative", "empty"],
)
def test_chunks_that_do_not_fill_the_shape_are_refused(tmp_path, shape, chunks):
    tree = TREE | {"w": {"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks}}
    with pytest.raises(CorruptCheckpoint):
        open_it(write(tmp_path / "m", tree))


def test_optimizer_state_and_averages_are_apart_and_injected_decay_is_declared(tmp_path):
    state = {"0": {"mu": {"w": array(W)}, "nu": {"w": array(W)}}, "hyperparams": {"weight_decay": array(0.25)}}
    tree = {"step": 7, "params": {"w": array(W)}, "opt_state": state, "ema_params": {"w": array(W)}}
    with open_it(write(tmp_path / "m", tree)) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["params/w"]
        assert len(checkpoint.apart) == 4
        assert [r.kind for r in checkpoint.remarks] == ["optimizer-state", "other-weights"]
        [declared] = checkpoint.declared
        assert (declared.kind, declared.value, declared.unit) == ("decoupled_weight_decay", 0.25, "torch.AdamW")


def test_averages_alone_are_the_model(tmp_path):
    with open_it(write(tmp_path / "m", {"ema_params": {"w": array(W)}})) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["ema_params/w"]


def test_variables_of_nnx_lose_the_key_that_only_wraps_them(tmp_path):
    tree = {"d": {"kernel": {"value": array(W)}, "bias": {"value": array(np.ones(4))}}}
    with open_it(write(tmp_path / "m", tree)) as checkpoint:
        assert list(read_all(checkpoint)) == ["d/kernel", "d/bias"]


def test_a_dtype_that_cannot_be_decoded_is_remarked(tmp_path):
    with open_it(write(tmp_path / "m", TREE | {"x": array(np.zeros(2), "int4", raw=b"\0\0")})) as checkpoint:
        assert [r.kind for r in checkpoint.remarks] == ["unreadable-tensor"]
        assert len(checkpoint.tensors) == 2


def test_a_tree_without_weights_is_explained(tmp_path):
    with pytest.raises(CheckpointError, match="no arrays of floats"):
        open_it(write(tmp_path / "m", {"opt_state": {"mu": array(W)}}))


@pytest.mark.parametrize(
    "content",
    [
        pack(TREE) + b"\0",
        pack({"a": array(W, raw=b"1234")}),
        pack({"a": array(W), "b": Raw(b"\xc1")}),
        pack({"a": array(W), "b": Raw(b"\xdf\xff\xff\xff\xff")}),
        pack({"a": array(W), "b": Raw(b"\xc6\xff\xff\xff\xff")}),
        b"\x82" + (pack("a") + pack(array(W))) * 2,
        b"\x82" + pack("a") + pack(array(W)) + pack(1.5) + pack(1),
        pack({"a": array(W), "b": Raw(b"\xc7\x01\x01\x90")}),
        pack({"a/b": array(W), "a": {"b": array(W)}}),
    ],
    ids=["behind the end", "bytes", "code", "map", "block", "key twice", "key", "array", "name twice"],
)
def test_content_that_contradicts_itself_is_refused(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(CorruptCheckpoint):
        open_it(tmp_path / "m")


def test_depth_items_and_names_are_bounded(tmp_path, limit):
    deep = array(W)
    for _ in range(limits.MESSAGEPACK_DEPTH.value):
        deep = {"a": deep}
    with pytest.raises(UnsafeCheckpoint):
        open_it(write(tmp_path / "m", deep))
    limit("flax-name-characters", 30)
    with pytest.raises(UnsafeCheckpoint, match="names"):
        open_it(write(tmp_path / "m", TREE))


def test_truncated_and_altered_anywhere_it_is_one_clear_error(tmp_path):
    raw = pack(TREE)
    path = tmp_path / "m.msgpack"
    for n in range(len(raw)):
        path.write_bytes(raw[:n] or b"\x81")
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


def adam(**trees):
    return {"count": array(7, "int32", raw=struct.pack("<i", 7)), **trees}


@pytest.mark.parametrize(
    "state",
    [
        {"0": adam(mu={"d": {"w": array(W)}}, nu={"d": {"w": array(W * W)}}), "1": {}},
        {"inner_state": {"1": {"0": adam(mu={"d": {"w": array(W)}}, nu={"d": {"w": array(W * W)}})}}},
    ],
    ids=["adam", "a chain within inject_hyperparams"],
)
def test_the_moments_of_optax_belong_to_the_parameters_of_the_same_path(tmp_path, state):
    tree = {"opt_state": state, "params": {"d": {"w": array(W), "b": array(np.ones(4))}}}
    with open_it(write(tmp_path / "m", tree)) as checkpoint:
        [found] = checkpoint.moments
        assert (found.tensor, found.step, found.family) == ("params/d/w", 7, "Adam")
        np.testing.assert_array_equal(checkpoint.read(found.first, 0, 12), W.ravel())
        np.testing.assert_array_equal(checkpoint.read(found.second, 0, 12), W.ravel() ** 2)


@pytest.mark.parametrize(
    "state",
    [
        {"mu": {"w": array(W)}},
        {"mu": {"w": array(W)}, "nu": {"w": array(np.ones(()))}},
        {"mu": {"x": array(W)}, "nu": {"x": array(W)}},
        {"0": {"mu": {"w": array(W)}, "nu": {"w": array(W)}}, "1": {"mu": {"w": array(W)}, "nu": {"w": array(W)}}},
    ],
    ids=["Lion", "one number for all", "another model's", "two optimizers"],
)
def test_moments_that_do_not_fit_a_parameter_are_none(tmp_path, state):
    with open_it(write(tmp_path / "m", {"params": {"w": array(W)}, "opt_state": state})) as checkpoint:
        assert checkpoint.moments == ()
