import argparse
import io
import itertools
import pickle

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from regaudit.checkpoints.base import OPTIMIZER_STATE, UNREADABLE_TENSOR, UNSAFE_GLOBAL
from regaudit.checkpoints.sniff import look
from regaudit.checkpoints.torch_distributed import FORMAT, open_distributed
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns that there is no process group


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))


def values(checkpoint, tensor):
    return checkpoint.read(tensor, 0, tensor.size).reshape(tensor.shape)


def assert_same(checkpoint, state):
    assert [each.name for each in checkpoint.tensors] == list(state)
    for tensor in checkpoint.tensors:
        np.testing.assert_array_equal(values(checkpoint, tensor), state[tensor.name].detach().float().numpy())


def archive(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def write(folder, tensors, objects=None, paths=None, **changes):
    """Write a checkpoint by hand: each tensor as a list of (offsets, chunk), one file for each chunk's number."""
    metadata, data, files = {}, {}, {}

    def store(index, raw, file):
        data[index] = _StorageInfo(file, len(files.setdefault(file, b"")), len(raw))
        files[file] += raw

    for name, (whole, chunks) in tensors.items():
        boxes = [ChunkStorageMetadata(torch.Size(offsets), chunk.shape) for offsets, chunk in chunks]
        metadata[name] = TensorStorageMetadata(TensorProperties(whole.dtype), whole.shape, boxes)
        for rank, (offsets, chunk) in enumerate(chunks):
            store(MetadataIndex(name, offsets), archive(chunk), f"__{rank}_0.distcp")
    for name, value in (objects or {}).items():
        metadata[name] = BytesStorageMetadata()
        store(MetadataIndex(name), archive(value), "__0_0.distcp")
    index = Metadata(state_dict_metadata=metadata, planner_data=paths, storage_data=data)
    for key, change in changes.items():
        change(getattr(index, key))
    (folder / ".metadata").write_bytes(pickle.dumps(index))
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder


def boxes(whole, *cuts):
    """Cut a tensor into a grid; `cuts` are the places along each axis."""
    edges = [
        list(itertools.pairwise((0, *cut, n)))
        for n, cut in zip(whole.shape, (*cuts, *[()] * (whole.ndim - len(cuts))), strict=True)
    ]
    return [
        (tuple(a for a, _ in box), whole[tuple(slice(a, b) for a, b in box)].clone())
        for box in itertools.product(*edges)
    ]


# --- What torch writes ------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_model_and_optimizer_is_read(tmp_path):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    model(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    dcp.save({"model": model.state_dict(), "optim": optimizer.state_dict(), "epoch": 3}, checkpoint_id=str(tmp_path))
    assert FORMAT.claims(look(tmp_path))
    with open_distributed(tmp_path) as checkpoint:
        assert_same(checkpoint, {f"model.{name}": each for name, each in model.state_dict().items()})
        assert checkpoint.format == "PyTorch, distributed (1 file)"
        [declared] = checkpoint.declared
        assert (declared.value, declared.unit) == (0.05, "torch.AdamW")
        assert [each.kind for each in checkpoint.remarks] == [OPTIMIZER_STATE]
        first = next(each for each in checkpoint.apart if each.name == "optimizer.state.0.exp_avg")
        np.testing.assert_array_equal(values(checkpoint, first), optimizer.state_dict()["state"][0]["exp_avg"].numpy())


def test_a_plain_state_dict_keeps_its_names(tmp_path):
    dcp.save(network().state_dict(), checkpoint_id=str(tmp_path))
    with open_distributed(tmp_path) as checkpoint:
        assert_same(checkpoint, network().state_dict())


# --- Chunks -----------------------------------------------------------------------------------------------------------

WHOLE = torch.arange(7 * 5 * 3, dtype=torch.float32).reshape(7, 5, 3)


@pytest.mark.parametrize(
    "chunks",
    [
        boxes(WHOLE),
        boxes(WHOLE, (3,)),
        boxes(WHOLE, (1, 2, 6)),
        boxes(WHOLE, (), (2,)),
        boxes(WHOLE, (), (), (1,)),
        boxes(WHOLE, (4,), (1, 3), (2,)),
        boxes(WHOLE, (4,), (1, 3))[::-1],
        [((0, 0, 0), WHOLE[:4].transpose(0, 2).contiguous().transpose(0, 2)), ((4, 0, 0), WHOLE[4:].clone())],
    ],
    ids=["one", "rows", "uneven", "columns", "depth", "grid", "any order", "strided"],
)
def test_chunks_are_put_where_they_belong(chunks, tmp_path):
    write(tmp_path, {"w": (WHOLE, chunks), "one": (torch.tensor(2.5), [((), torch.tensor(2.5))])})
    with open_distributed(tmp_path) as checkpoint:
        assert_same(checkpoint, {"w": WHOLE, "one": torch.tensor(2.5)})
        tensor = checkpoint.tensors[0]
        pieces = [checkpoint.read(tensor, at, min(at + 11, tensor.size)) for at in range(0, tensor.size, 11)]
        np.testing.assert_array_equal(np.concatenate(pieces), WHOLE.reshape(-1).numpy())


def test_more_chunks_than_are_kept_open_are_read(tmp_path, limit):
    limit("dcp-open-chunks", 2)
    write(tmp_path, {"w": (WHOLE, boxes(WHOLE, (1, 2, 3, 4, 5, 6)))})
    with open_distributed(tmp_path) as checkpoint:
        assert_same(checkpoint, {"w": WHOLE})
        assert checkpoint.format == "PyTorch, distributed (7 files)"
        assert checkpoint.tensors[0].source == "__0_0.distcp and 6 more"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float64])
def test_dtypes_of_chunks_are_decoded(dtype, tmp_path):
    whole = torch.arange(12.0).reshape(4, 3).to(dtype)
    write(tmp_path, {"w": (whole, boxes(whole, (2,)))})
    with open_distributed(tmp_path) as checkpoint:
        np.testing.assert_array_equal(values(checkpoint, checkpoint.tensors[0]), whole.float().numpy())


def test_an_index_without_paths_still_tells_the_optimizer_apart(tmp_path):
    one = [((0, 0), torch.ones(2, 2))]
    write(tmp_path, {"w": (torch.ones(2, 2), one), "optim.state.w.exp_avg": (torch.ones(2, 2), one)})
    with open_distributed(tmp_path) as checkpoint:
        assert [each.name for each in checkpoint.tensors] == ["w"]


def test_arguments_beside_megatron_shards_are_declared(tmp_path):
    write(tmp_path, {"w": (WHOLE, boxes(WHOLE))})
    torch.save({"args": argparse.Namespace(weight_decay=0.1, hidden_dropout=0.2)}, tmp_path / "common.pt")
    with open_distributed(tmp_path) as checkpoint:
        assert {each.kind: each.value for each in checkpoint.declared} == {"weight_decay": 0.1, "dropout": 0.2}


# --- Hostile files ----------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return (eval, ("1 / 0",))


def test_an_index_that_wants_to_run_code_is_told(tmp_path):
    write(tmp_path, {"w": (WHOLE, boxes(WHOLE))}, {"extra": Evil()}, {"evil": Evil()})
    with open_distributed(tmp_path) as checkpoint:
        assert_same(checkpoint, {"w": WHOLE})
        assert [each.kind for each in checkpoint.remarks] == [UNSAFE_GLOBAL] * 2


def first_info(data):
    return next(iter(data.values()))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"storage_data": lambda data: setattr(first_info(data), "length", 1 << 40)}, CorruptCheckpoint, "the file has"),
        ({"storage_data": lambda data: setattr(first_info(data), "offset", -1)}, CorruptCheckpoint, "are named"),
        ({"storage_data": lambda data: setattr(first_info(data), "length", 20)}, CorruptCheckpoint, "more elements"),
        ({"storage_data": lambda data: setattr(first_info(data), "length", None)}, CorruptCheckpoint, "must name"),
        ({"storage_data": lambda data: setattr(first_info(data), "relative_path", "../x")}, UnsafeCheckpoint, "leads out"),
        ({"storage_data": lambda data: setattr(first_info(data), "relative_path", "x")}, CheckpointError, "are missing"),
        ({"storage_data": dict.clear}, CorruptCheckpoint, "in no file"),
        ({"state_dict_metadata": lambda data: setattr(data["w"], "chunks", [])}, CorruptCheckpoint, "have 0 elements"),
        ({"state_dict_metadata": lambda data: setattr(data["w"], "chunks", data["w"].chunks * 2)}, CorruptCheckpoint, "have 210"),
        ({"state_dict_metadata": lambda data: setattr(data["w"], "size", (7, 5))}, CorruptCheckpoint, "outside of it"),
        ({"state_dict_metadata": lambda data: setattr(data["w"], "size", "x")}, CorruptCheckpoint, "contradicts itself"),
        ({"state_dict_metadata": dict.clear}, CheckpointError, "holds no tensors of floats"),
    ],
)  # fmt: skip
def test_an_index_that_contradicts_itself_is_an_error(change, error, message, tmp_path):
    write(tmp_path, {"w": (WHOLE, boxes(WHOLE))}, **change)
    with pytest.raises(error, match=message):
        open_distributed(tmp_path)


def test_transformed_chunks_are_remarked(tmp_path):
    def compress(data):
        first_info(data).transform_descriptors = ["zstd"]

    write(tmp_path, {"w": (WHOLE, boxes(WHOLE)), "v": (WHOLE, boxes(WHOLE))}, storage_data=compress)
    with open_distributed(tmp_path) as checkpoint:
        assert [(each.kind, each.where) for each in checkpoint.remarks] == [(UNREADABLE_TENSOR, "w")]


@pytest.mark.parametrize(
    ("value", "message"),
    [(WHOLE.reshape(5, 7, 3), "the index says"), (WHOLE.int(), "the index says"), ({"a": 1}, "no plain tensor")],
)
def test_a_chunk_that_is_another_is_an_error_when_it_is_read(value, message, tmp_path):
    write(
        tmp_path,
        {"w": (WHOLE, boxes(WHOLE))},
        storage_data=lambda data: setattr(first_info(data), "length", len(archive(value))),
    )
    (tmp_path / "__0_0.distcp").write_bytes(archive(value))
    with open_distributed(tmp_path) as checkpoint, pytest.raises(CorruptCheckpoint, match=message):
        values(checkpoint, checkpoint.tensors[0])


def test_overlapping_chunks_leave_elements_missing(tmp_path):
    chunks = [((0, 0, 0), WHOLE[:4].clone()), ((3, 0, 0), WHOLE[:3].clone())]
    write(tmp_path, {"w": (WHOLE, chunks)})
    with open_distributed(tmp_path) as checkpoint, pytest.raises(CorruptCheckpoint, match="in no chunk"):
        values(checkpoint, checkpoint.tensors[0])


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_a_file_cut_short_is_an_error(name, tmp_path):
    write(tmp_path, {"w": (WHOLE, boxes(WHOLE))})
    raw = (tmp_path / name).read_bytes()
    for end in range(0, len(raw), 13):
        (tmp_path / name).write_bytes(raw[:end])
        with pytest.raises(CheckpointError):
            open_distributed(tmp_path)
