import json
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from regaudit.checkpoints import open_checkpoint
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat, UnsafeCheckpoint

ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
}  # fmt: skip


def write(path, header, data=bytes(16)):
    """Write a file with any header, also one that no library writes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def read_all(checkpoint):
    return {t.name: checkpoint.read(t, 0, t.size).reshape(t.shape) for t in checkpoint.tensors}


@pytest.mark.parametrize("dtype", TORCH)
def test_every_dtype_is_read_as_the_library_reads_it(tmp_path, dtype):
    values = torch.tensor([[1, 0, 1], [0.5, 2, 4]]).to(TORCH[dtype])
    safetensors.torch.save_file({"w": values}, tmp_path / "m.safetensors")
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint:
        (tensor,) = checkpoint.tensors
        assert (tensor.name, tensor.shape, tensor.dtype) == ("w", (2, 3), dtype)
        assert tensor.nbytes == values.nbytes
        wide = values if not values.is_floating_point() or dtype == "F64" else values.float()
        np.testing.assert_array_equal(checkpoint.read(tensor, 0, 6), wide.numpy().reshape(-1))
        np.testing.assert_array_equal(checkpoint.read(tensor, 2, 5), wide.numpy().reshape(-1)[2:5])


def test_packed_fp4_has_the_shape_of_its_elements(tmp_path):
    packed = torch.tensor([[0x21, 0x43]], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    safetensors.torch.save_file({"w": packed}, tmp_path / "m.safetensors")
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint:
        (tensor,) = checkpoint.tensors
        assert (tensor.shape, tensor.dtype, tensor.nbytes) == ((1, 4), "F4", 2)
        assert checkpoint.read(tensor, 1, 4).tolist() == [1.0, 1.5, 2.0]


def test_names_shapes_and_values_agree_with_the_library(tmp_path):
    path = tmp_path / "m.safetensors"
    tensors = {
        "a.weight": torch.randn(3, 4),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "\x1b[31m": torch.ones(2),
    }
    safetensors.torch.save_file(tensors, path)
    with open_checkpoint(path) as checkpoint, safe_open(path, "pt") as oracle:
        assert {t.name for t in checkpoint.tensors} == set(oracle.keys())
        assert checkpoint.nbytes == path.stat().st_size
        for name, values in read_all(checkpoint).items():
            np.testing.assert_array_equal(values, oracle.get_tensor(name).numpy())


def test_tied_weights_are_a_second_name_for_one_tensor(tmp_path):
    model = torch.nn.ModuleDict({"emb": torch.nn.Embedding(3, 2), "head": torch.nn.Linear(2, 3, bias=False)})
    model["head"].weight = model["emb"].weight
    safetensors.torch.save_model(model, tmp_path / "m.safetensors", metadata={"format": "pt"})
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint:
        assert [(t.name, t.shares) for t in checkpoint.tensors] == [("emb.weight", ""), ("head.weight", "emb.weight")]
        values = read_all(checkpoint)
        np.testing.assert_array_equal(values["head.weight"], values["emb.weight"])


def test_an_empty_model_is_refused_lest_a_gate_pass_it(tmp_path):
    with pytest.raises(UnknownFormat, match="holds no tensors"):
        open_checkpoint(write(tmp_path / "m.safetensors", {}, b""))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [-1, 4]}, r"has the shape '\[-1, 4\]'; a shape is"),
        ({"data_offsets": [16, 0]}, r"has the data_offsets '\[16, 0\]'; two ascending"),
        ({"dtype": "F33"}, "has the dtype 'F33'"),
        ({"shape": [3, 2]}, r"shape \[3, 2\] of F32 takes 24 bytes, the header gives it 16"),
    ],
    ids=lambda each: each if isinstance(each, str) else next(iter(each)),
)
def test_a_message_says_what_was_found_and_what_to_do(tmp_path, change, words):
    with pytest.raises(CorruptCheckpoint, match=words) as raised:
        open_checkpoint(write(tmp_path / "m.safetensors", {"w": ENTRY | change}))
    assert raised.value.fix


def test_content_decides_not_the_suffix(tmp_path):
    with open_checkpoint(write(tmp_path / "m.bin", {"w": ENTRY})) as checkpoint:
        assert checkpoint.format == "safetensors"


HOSTILE = {
    "deep JSON": b'{"a":' * 100_000,
    "not JSON": b"{nope",
    "not UTF-8": b'{"\xff": 1}',
    "lone surrogate in a name": {"\ud800": ENTRY},
    "duplicate name": b'{"w":%b,"w":%b}' % ((json.dumps(ENTRY).encode(),) * 2),
    "duplicate field": b'{"w":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
    "entry is no object": {"w": [1, 2]},
    "a field is missing": {"w": {"dtype": "F32", "shape": [4]}},
    "unknown dtype": {"w": ENTRY | {"dtype": "F128"}},
    "dtype is no string": {"w": ENTRY | {"dtype": ["F32"]}},
    "boolean shape": {"w": ENTRY | {"shape": [True, 4]}},
    "float shape": {"w": ENTRY | {"shape": [4.0]}},
    "negative shape": {"w": ENTRY | {"shape": [-2, -2]}},
    "shape is no list": {"w": ENTRY | {"shape": "4"}},
    "overflowing shape": {"w": ENTRY | {"shape": [1 << 33, 1 << 33]}},
    "shape of many digits": {"w": ENTRY | {"shape": [10**4000]}},
    "rank": {"w": ENTRY | {"shape": [4] + [1] * 100}},
    "shape and bytes disagree": {"w": ENTRY | {"shape": [3]}},
    "boolean offsets": {"w": ENTRY | {"data_offsets": [False, 16]}},
    "negative offsets": {"w": ENTRY | {"data_offsets": [-16, 0]}},
    "descending offsets": {"w": ENTRY | {"data_offsets": [16, 0]}},
    "three offsets": {"w": ENTRY | {"data_offsets": [0, 16, 16]}},
    "overlap": {"w": ENTRY, "v": ENTRY | {"shape": [2], "data_offsets": [8, 16]}},
    "empty tensor inside another": {"w": ENTRY, "v": ENTRY | {"shape": [0], "data_offsets": [8, 8]}},
    "hole at the start": {"w": ENTRY | {"shape": [2], "data_offsets": [8, 16]}},
    "trailing bytes": {"w": ENTRY | {"shape": [2], "data_offsets": [0, 8]}},
    "beyond the end": {"w": ENTRY | {"shape": [8], "data_offsets": [0, 32]}},
    "metadata is no object": {"__metadata__": "x", "w": ENTRY},
    "metadata is no string": {"__metadata__": {"a": 1}, "w": ENTRY},
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_malformed_header_is_refused(tmp_path, header):
    with pytest.raises(CorruptCheckpoint):
        open_checkpoint(write(tmp_path / "m.safetensors", header))


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in {"duplicate name", "rank"}])
def test_the_library_refuses_it_too(tmp_path, name):
    with pytest.raises((SafetensorError, UnicodeDecodeError)):
        safe_open(write(tmp_path / "m.safetensors", HOSTILE[name]), "pt")


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 100_000_001, 1_000])
def test_a_header_longer_than_the_file_is_refused(tmp_path, length):
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b'{"w":1}')
    with pytest.raises(CorruptCheckpoint, match="announces a header"):
        open_checkpoint(path)


def test_a_header_above_the_limit_is_not_read(tmp_path, limit):
    limit("header-bytes", 10)
    with pytest.raises(UnsafeCheckpoint, match="the limit header-bytes is 10"):
        open_checkpoint(write(tmp_path / "m.safetensors", {"w": ENTRY}))


def test_more_tensors_than_the_limit_are_refused(tmp_path, limit):
    limit("tensors", 4)
    empty = ENTRY | {"shape": [0], "data_offsets": [0, 0]}
    with pytest.raises(UnsafeCheckpoint, match="lists 5 tensors"):
        open_checkpoint(write(tmp_path / "m.safetensors", dict.fromkeys("abcde", empty), b""))


def test_a_field_that_a_later_version_may_add_is_ignored(tmp_path):
    with open_checkpoint(write(tmp_path / "m.safetensors", {"w": ENTRY | {"later": 1}})) as checkpoint:
        assert checkpoint.tensors[0].shape == (2, 2)


def test_names_in_messages_are_escaped(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(write(tmp_path / "m.safetensors", {"\x1b[31m\n": ENTRY | {"dtype": "X"}}))
    assert str(caught.value).isprintable()


def test_a_json_text_is_not_taken_for_safetensors(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"abcd":{"e": 1}}')
    with pytest.raises(CheckpointError, match="JSON text"):
        open_checkpoint(path)


def test_a_closed_checkpoint_reads_no_more(tmp_path):
    with open_checkpoint(write(tmp_path / "m.safetensors", {"w": ENTRY})) as checkpoint:
        pass
    with pytest.raises(CheckpointError):
        checkpoint.read(checkpoint.tensors[0], 0, 4)
