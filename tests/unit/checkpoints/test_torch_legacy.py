import pickle
import struct

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.checkpoints import torch_legacy
from regaudit.checkpoints.base import UNSAFE_GLOBAL
from regaudit.checkpoints.sniff import look
from regaudit.checkpoints.torch_legacy import FORMAT, MAGIC, open_legacy
from regaudit.errors import CheckpointError, CorruptCheckpoint


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.25), nn.Linear(6, 2))


@pytest.fixture
def saved(tmp_path):
    """Save in the old form, open with regaudit, close afterwards."""
    opened = []

    def save(content):
        path = tmp_path / f"{len(opened)}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=False)
        assert FORMAT.claims(look(path))
        opened.append(open_legacy(path))
        return opened[-1]

    yield save
    for each in opened:
        each.close()


def values(checkpoint, tensor):
    return checkpoint.read(tensor, 0, tensor.size).reshape(tensor.shape)


def assert_same(checkpoint, state):
    assert [each.name for each in checkpoint.tensors] == list(state)
    for tensor in checkpoint.tensors:
        np.testing.assert_array_equal(values(checkpoint, tensor), state[tensor.name].detach().float().numpy())


def test_a_state_dict_is_read_as_torch_reads_it(saved):
    state = network().state_dict()
    checkpoint = saved(state)
    assert_same(checkpoint, state)
    assert (checkpoint.format, checkpoint.remarks, checkpoint.modules) == ("PyTorch before 1.6", (), ())


def test_views_and_shared_storages_are_read(saved):
    base = torch.arange(24.0).reshape(4, 6)
    state = {"base": base, "t": base.t(), "part": base[1:3, ::2], "tied": base, "half": base.half(), "flags": base > 3}
    checkpoint = saved(state)
    assert_same(checkpoint, state)
    assert {each.name: each.shares for each in checkpoint.tensors if each.shares} == {"tied": "base"}


@pytest.mark.filterwarnings("ignore")
def test_a_whole_module_tells_its_classes_and_dropout(saved):
    checkpoint = saved(network())
    assert_same(checkpoint, network().state_dict())
    assert [each.type.rpartition(".")[2] for each in checkpoint.modules] == [
        "Sequential", "Linear", "BatchNorm1d", "Dropout", "Linear",
    ]  # fmt: skip
    [dropout] = checkpoint.declared
    assert (dropout.target, dropout.kind, dropout.value) == ("2", "dropout", 0.25)


def test_optimizer_state_and_decay_are_found(saved):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    model(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    checkpoint = saved({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()})
    assert_same(checkpoint, model.state_dict())
    assert len(checkpoint.apart) == 6
    assert [(each.value, each.unit) for each in checkpoint.declared] == [(5e-4, "torch.SGD")]


def test_a_pickle_longer_than_the_first_window_is_read(saved, monkeypatch):
    monkeypatch.setattr(torch_legacy, "_WINDOWS", (64, 256, 1 << 20))
    assert_same(saved(network().state_dict()), network().state_dict())


class Evil:
    def __reduce__(self):
        return (eval, ("1 / 0",))


def test_what_the_pickle_wants_to_call_is_told_and_not_called(saved):
    state = network().state_dict()
    checkpoint = saved({"model": state, "evil": Evil()})
    assert_same(checkpoint, state)
    [remark] = checkpoint.remarks
    assert remark.kind == UNSAFE_GLOBAL
    assert "__builtin__.eval" in remark.text


def test_a_file_cut_at_any_byte_is_an_error(tmp_path):
    torch.save({"w": torch.ones(3, 2)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "a.pth").read_bytes()
    for end in range(len(MAGIC), len(raw)):
        (tmp_path / "b.pth").write_bytes(raw[:end])
        with pytest.raises(CheckpointError):
            open_legacy(tmp_path / "b.pth")


def legacy(content, keys, storages, protocol=1001):
    """Write a file by hand; the content is a pickle already."""
    parts = [MAGIC, pickle.dumps(protocol, 2), pickle.dumps({}, 2), content, pickle.dumps(keys, 2)]
    return b"".join((*parts, *(struct.pack("<q", numel) + raw for numel, raw in storages)))


def pickled(*storages):
    """Pickle a state dict of vectors over storages, each given as (key, numel, length of the vector)."""

    class Key:
        def __init__(self, value):
            self.value = value

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value.value if isinstance(value, Key) else None

    class Tensor:
        def __init__(self, key, numel, length):
            self.args = (Key(("storage", torch.FloatStorage, key, "cpu", numel, None)), 0, (length,), (1,), False, None)

        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, self.args

    import io

    stream = io.BytesIO()
    Pickler(stream, 2).dump({f"w{i}": Tensor(*each) for i, each in enumerate(storages)})
    return stream.getvalue()


ONE = np.ones(1, "<f4").tobytes()


def test_a_file_written_by_hand_is_read(tmp_path):
    (tmp_path / "a.pth").write_bytes(legacy(pickled(("5", 2, 2)), ["5"], [(2, 2 * ONE)]))
    with open_legacy(tmp_path / "a.pth") as checkpoint:
        assert values(checkpoint, checkpoint.tensors[0]).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (legacy(pickled(("5", 2, 2)), ["5"], [(2, 2 * ONE)], protocol=7), "is of PyTorch's protocol 7"),
        (legacy(pickled(("5", 2, 2)), {}, []), "must list the keys"),
        (legacy(pickled(("5", 2, 2)), [], []), "it is not there"),
        (legacy(pickled(("5", 2, 2)), ["6"], [(2, 2 * ONE)]), "belongs to no tensor"),
        (legacy(pickled(("5", 2, 2)), ["5", "5"], [(2, 2 * ONE)] * 2), "comes twice"),
        (legacy(pickled(("5", 2, 2)), ["5"], [(3, 3 * ONE)]), "the tensors say 2"),
        (legacy(pickled(("5", 2, 2)), ["5"], [(-2, b"")]), "it has -2"),
        (legacy(pickled(("5", 2, 3)), ["5"], [(2, 2 * ONE)]), "reaches element 2"),
        (legacy(pickled(("5", 1 << 50, 2)), ["5"], [(1 << 50, ONE)]), "end at byte"),
        (legacy(pickled(("5", 2, 2), ("5", 3, 2)), ["5"], [(2, 2 * ONE)]), "two storages with one key"),
    ],
)
def test_a_file_that_contradicts_itself_is_an_error(raw, message, tmp_path):
    (tmp_path / "a.pth").write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match=message):
        open_legacy(tmp_path / "a.pth")
