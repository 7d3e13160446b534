import argparse
import enum
import pickle
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.checkpoints.base import OPTIMIZER_STATE, OTHER_WEIGHTS, UNREADABLE_TENSOR, Candidate
from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.torch_zip import (
    FORMAT,
    declared_in_optimizer,
    declared_in_training_args,
    open_torch,
    remarks_on_side_file,
)
from regaudit.errors import CheckpointError, CorruptCheckpoint

DTYPE = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "F8_E8M0": torch.float8_e8m0fnu, "C64": torch.complex64,
    "C128": torch.complex128, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "BOOL": torch.bool,
}  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """Save with torch, open with regaudit, close afterwards."""
    opened = []

    def save(content, name="model.pt", **options):
        torch.save(content, tmp_path / name, **options)
        opened.append(open_torch(tmp_path / name))
        return opened[-1]

    yield save
    for each in opened:
        each.close()


def names(tensors):
    return [each.name for each in tensors]


def values(checkpoint, name):
    [tensor] = [each for each in (*checkpoint.tensors, *checkpoint.apart) if each.name == name]
    return checkpoint.read(tensor, 0, tensor.size).reshape(tensor.shape)


def numbers(tensor):
    """Return what torch says that the elements are, in the type that `read` promises."""
    if tensor.dtype.is_floating_point and tensor.dtype is not torch.float64:
        return tensor.detach().float().numpy()
    return tensor.detach().numpy()


def assert_same(checkpoint, state):
    assert names(checkpoint.tensors) == list(state)
    for tensor in checkpoint.tensors:
        assert tensor.shape == tuple(state[tensor.name].shape)
        np.testing.assert_array_equal(values(checkpoint, tensor.name), numbers(state[tensor.name]))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.25), nn.Linear(16, 16), nn.Linear(16, 3)
    )


def trained(optimizer_of):
    """Return a network after one step, and its optimizer."""
    model = network()
    optimizer = optimizer_of(model)
    model(torch.ones(4, 8)).sum().backward()
    optimizer.step()
    return model, optimizer


def decayed_groups(model):
    return [
        {"params": [each for each in model.parameters() if each.ndim > 1], "weight_decay": 0.1},
        {"params": [each for each in model.parameters() if each.ndim == 1], "weight_decay": 0.0},
    ]


# --- Tensors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPE)
def test_every_dtype_is_read_as_torch_reads_it(dtype, saved):
    source = torch.tensor([[0.0, 1.0, 2.0], [4.0, 0.5, 8.0]])
    tensor = (source * (1 - 0.5j) if dtype.startswith("C") else source).to(DTYPE[dtype])
    checkpoint = saved({"float": torch.ones(1), "w": tensor})
    found = checkpoint.tensors[1]
    assert (found.dtype, found.shape, found.nbytes) == (dtype, (2, 3), tensor.numel() * tensor.element_size())
    np.testing.assert_array_equal(values(checkpoint, "w"), numbers(tensor))


def test_every_dtype_that_torch_can_save_is_known():
    assert set(DTYPE) == set(DTYPES) - {"F4"}


BASE = torch.arange(120.0).reshape(4, 5, 6)
VIEWS = {
    "whole": BASE,
    "transposed": BASE.permute(2, 0, 1),
    "sliced": BASE[1:3, ::2, 1:],
    "row": BASE[2],
    "column": BASE[:, 1, 3],
    "element": BASE[3, 4, 5],
    "expanded": BASE[:1, :, :1].expand(3, 5, 7),
    "windows": BASE.reshape(-1).unfold(0, 8, 3),
    "channels last": torch.arange(240.0).reshape(2, 4, 5, 6).to(memory_format=torch.channels_last),
    "empty": BASE[:0],
    "empty axis": torch.zeros(3, 0, 2),
    "scalar": torch.tensor(3.5),
    "one": torch.ones(1, 1, 1).transpose(0, 2),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_read_in_their_own_order(name, saved):
    checkpoint = saved({"anchor": BASE, "view": VIEWS[name]})
    np.testing.assert_array_equal(values(checkpoint, "view"), VIEWS[name].numpy())


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_read_in_pieces(name, saved):
    checkpoint = saved({"anchor": BASE, "view": VIEWS[name]})
    tensor = checkpoint.tensors[1]
    pieces = [checkpoint.read(tensor, at, min(at + 7, tensor.size)) for at in range(0, tensor.size, 7)]
    np.testing.assert_array_equal(np.concatenate([np.zeros(0), *pieces]), VIEWS[name].numpy().reshape(-1))


def test_a_wide_view_is_read_once_and_a_huge_one_piece_by_piece(saved, limit):
    wide = torch.arange(10_000.0).reshape(100, 100).t()
    checkpoint = saved({"w": wide})
    for kept in (1 << 30, 100):
        limit("torch-view-bytes", kept)
        tensor = checkpoint.tensors[0]
        found = np.concatenate([checkpoint.read(tensor, at, at + 100) for at in range(0, 10_000, 100)])
        np.testing.assert_array_equal(found.reshape(100, 100), wide.numpy())


def test_tensors_with_the_same_elements_name_the_first(saved):
    weight = torch.ones(3, 4)
    checkpoint = saved({"a": weight, "b": weight, "t": weight.t(), "part": weight[:1], "equal": torch.ones(3, 4)})
    assert {each.name: each.shares for each in checkpoint.tensors} == {
        "a": "",
        "b": "a",
        "t": "",
        "part": "",
        "equal": "",
    }


def test_parameters_buffers_and_subclasses_are_tensors(saved):
    class Marked(torch.Tensor):
        pass

    parameter = nn.Parameter(torch.ones(2))
    parameter.note = "attributes make torch write the parameter with its state"
    state = {"plain": nn.Parameter(torch.zeros(2)), "noted": parameter, "buffer": nn.Buffer(torch.ones(3))}
    assert_same(saved(state), state)


def test_numpy_arrays_in_a_state_dict_are_tensors(saved):
    state = {
        "w": torch.ones(2, 2),
        "c": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">f8"),
        "scalar": np.float64(2.5),
        "flags": np.array([True, False]),
    }
    for protocol in (2, 5):
        checkpoint = saved(state, pickle_protocol=protocol)
        assert names(checkpoint.tensors) == list(state)
        for name in list(state)[1:]:
            np.testing.assert_array_equal(values(checkpoint, name), state[name])


@pytest.mark.filterwarnings("ignore")
def test_sparse_and_quantised_tensors_are_remarked(saved):
    quantised = torch.quantize_per_tensor(torch.tensor([0.1, 0.5]), 0.01, 3, torch.qint8)
    checkpoint = saved({"w": torch.ones(2, 2), "sparse": torch.eye(3).to_sparse(), "q": quantised})
    assert {each.where for each in checkpoint.remarks if each.kind == UNREADABLE_TENSOR} == {"sparse", "q"}
    assert {each.name: each.dtype for each in checkpoint.tensors} == {"w": "F32", "sparse": "SPARSE_TENSOR", "q": "I8"}
    np.testing.assert_array_equal(values(checkpoint, "q"), quantised.int_repr().numpy())
    with pytest.raises(CorruptCheckpoint, match="no plain array of numbers"):
        checkpoint.read(checkpoint.tensors[1], 0, 1)


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_network_is_listed(saved):
    model = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear}, dtype=torch.qint8)
    found = {each.name: each.dtype for each in saved(model.state_dict()).tensors}
    assert found["0._packed_params._packed_params.0"] == "I8"
    assert found["0._packed_params._packed_params.1"] == "F32"
    assert found["0.scale"] == "F32"


def test_the_storage_is_named(saved):
    assert saved({"a": torch.ones(2), "b": torch.ones(3)}).tensors[1].source == "model/data/1"


# --- Archives ---------------------------------------------------------------------------------------------------------


def rezip(path, *, method=zipfile.ZIP_STORED, change=None):
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members = change(members) if change else members
    with zipfile.ZipFile(path, "w", method) as new:
        for name, raw in members.items():
            new.writestr(name, raw)


def test_compressed_archives_are_read(tmp_path):
    state = {"w": torch.randn(300, 300), "t": torch.randn(300, 300).t()}
    torch.save(state, tmp_path / "a.pt")
    rezip(tmp_path / "a.pt", method=zipfile.ZIP_DEFLATED)
    with open_torch(tmp_path / "a.pt") as checkpoint:
        assert_same(checkpoint, state)


def test_big_endian_archives_are_read(tmp_path):
    state = {"f": torch.randn(5), "c": torch.randn(5, dtype=torch.complex64), "h": torch.ones(3, dtype=torch.bfloat16)}
    torch.save(state, tmp_path / "a.pt")

    def swap(members):
        swapped = {
            name: np.frombuffer(raw, {20: "<u4", 40: "<u4", 6: "<u2"}[len(raw)]).byteswap().tobytes()
            for name, raw in members.items()
            if "/data/" in name
        }
        return {**members, **swapped, "a/byteorder": b"big"}

    rezip(tmp_path / "a.pt", change=swap)
    with open_torch(tmp_path / "a.pt") as checkpoint:
        assert_same(checkpoint, state)


def test_a_missing_storage_is_an_error(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    rezip(tmp_path / "a.pt", change=lambda members: {n: raw for n, raw in members.items() if n != "a/data/0"})
    with pytest.raises(CorruptCheckpoint, match="no such member"):
        open_torch(tmp_path / "a.pt")


def test_a_file_cut_short_is_an_error(tmp_path):
    torch.save({"w": torch.ones(20)}, tmp_path / "a.pt")
    raw = (tmp_path / "a.pt").read_bytes()
    for end in range(1, len(raw), 97):
        (tmp_path / "b.pt").write_bytes(raw[:end])
        with pytest.raises(CheckpointError):
            open_torch(tmp_path / "b.pt")


def test_threads_read_at_once(saved):
    state = {f"w{n}": torch.full((50, 40), float(n)).t() for n in range(8)}
    checkpoint = saved(state)
    wrong = []

    def work():
        wrong.extend(name for name in state if not np.array_equal(values(checkpoint, name), state[name].numpy()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("members", "claimed"),
    [
        ({"archive/data.pkl", "archive/data/0"}, True),
        ({"data.pkl", "data/0"}, True),
        ({"archive/data.pkl", "archive/constants.pkl", "archive/code/x.py"}, False),
        ({"model/archive_format", "model/data/weights/x"}, False),
        ({"model/archive_format", "model/data/sample_inputs/data.pkl"}, False),
        ({"weight.npy"}, False),
        (set(), False),
    ],
)
def test_archives_of_torch_save_are_claimed(members, claimed):
    candidate = Candidate(path=Path("x"), is_directory=False, size=1, head=b"PK\x03\x04", members=frozenset(members))
    assert FORMAT.claims(candidate) is claimed


# --- Which part is the model --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.5"},
        lambda state: {"model_state_dict": state, "loss": torch.tensor(0.3), "rng": torch.get_rng_state()},
        lambda state: {"module": state, "optimizer": None},
        lambda state: {"epoch": 1, "my_network": state, "losses": torch.ones(7)},
        lambda state: {"checkpoint": {"model": state, "step": 1}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: argparse.Namespace(model=state, name="x"),
        lambda state: {"model": state, "config": {"model": "mlp"}},
    ],
    ids=["plain", "model", "lightning", "losses", "deepspeed", "own key", "nested", "twice", "object", "config"],
)
def test_the_model_is_found_without_its_key(wrap, saved):
    state = network().state_dict()
    assert_same(saved(wrap(state)), state)


def test_prefixes_of_wrappers_stay(saved):
    state = {f"module._orig_mod.{name}": tensor for name, tensor in network().state_dict().items()}
    assert_same(saved(state), state)


def test_nested_dicts_and_lists_give_dotted_names(saved):
    checkpoint = saved({"a": {"b": [torch.ones(2, 2), {"c": torch.ones(1)}]}, "d": torch.ones(2, 2)})
    assert names(checkpoint.tensors) == ["a.b.0", "a.b.1.c", "d"]


def test_several_models_keep_their_keys(saved):
    checkpoint = saved({"generator": network().state_dict(), "discriminator": {"w": torch.ones(2, 2)}, "epoch": 1})
    assert len(checkpoint.tensors) == 13 - 1
    assert {each.name.split(".")[0] for each in checkpoint.tensors} == {"generator", "discriminator"}


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema", "ema_state_dict", "swa_model", "params_ema"])
def test_averaged_copies_are_kept_apart(key, saved):
    state = network().state_dict()
    copy = {name: tensor.clone() for name, tensor in state.items()}
    checkpoint = saved({"params": state, key: copy})
    assert_same(checkpoint, state)
    assert names(checkpoint.apart) == [f"{key}.{name}" for name in state]
    assert [each.kind for each in checkpoint.remarks] == [OTHER_WEIGHTS]
    np.testing.assert_array_equal(values(checkpoint, f"{key}.0.weight"), state["0.weight"].numpy())


def test_an_averaged_copy_alone_is_the_model(saved):
    state = network().state_dict()
    assert_same(saved({"model": None, "ema": state}), state)


def test_the_same_weights_twice_are_no_further_weights(saved):
    model = network()
    assert saved({"state_dict": model.state_dict(), "model": model}).remarks == ()


def test_a_bare_tensor_is_a_model(saved):
    assert names(saved(torch.ones(2, 2)).tensors) == ["tensor"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "args": {"lr": 0.1}}, "it holds the keys 'epoch', 'args'"),
        ({"ids": torch.arange(3)}, "holds no tensors of floats; it holds the keys 'ids'"),
        (torch.arange(3), "holds tensors of integers only"),
        ([], "it holds a list"),
        (torch.optim.SGD([torch.ones(1)]).state_dict(), "holds optimizer state and no weights"),
    ],
)
def test_a_file_without_weights_is_an_error(content, message, tmp_path):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message):
        open_torch(tmp_path / "x.pt")


# --- Whole modules ----------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1)
        self.rnn = nn.LSTM(8, 4, num_layers=2, dropout=0.3)
        self.layers = nn.ModuleList([nn.Conv2d(3, 4, 3, groups=1), nn.TransformerEncoderLayer(8, 2, 16)])
        self.head = nn.Linear(8, 12, bias=False)
        self.embedding = nn.Embedding(12, 8)
        self.head.weight = self.embedding.weight
        self.register_buffer("kept", torch.ones(3))
        self.register_buffer("hidden", torch.ones(4), persistent=False)


def test_a_whole_module_gives_its_state_dict(saved):
    torch.manual_seed(0)
    model = Block()
    checkpoint = saved(model)
    state = model.state_dict()
    assert sorted(names(checkpoint.tensors)) == sorted(state)
    for name in state:
        np.testing.assert_array_equal(values(checkpoint, name), state[name].numpy())
    [tied] = [each for each in checkpoint.tensors if each.name == "embedding.weight"]
    assert tied.shares == "head.weight"
    assert checkpoint.remarks == ()


def test_a_whole_module_tells_classes_and_settings(saved):
    modules = {each.name: each for each in saved({"model": network()}).modules}
    assert list(modules) == ["", "0", "1", "2", "3", "4", "5"]
    assert modules["0"].type == "torch.nn.modules.linear.Linear"
    assert modules["1"].settings["eps"] == 1e-5
    assert modules["3"].settings["p"] == 0.25


def test_dropout_of_modules_is_declared(saved):
    declared = {each.target: each for each in saved(Block()).declared}
    assert declared["layers.1.dropout"].value == 0.1
    assert declared["rnn"].value == 0.3
    assert declared["rnn"].where == "model.pt: rnn.dropout"
    assert {each.kind for each in declared.values()} == {"dropout"}


def test_a_file_without_modules_declares_nothing(saved):
    checkpoint = saved(network().state_dict())
    assert (checkpoint.modules, checkpoint.declared, checkpoint.remarks, checkpoint.apart) == ((), (), (), ())


# --- Optimizers -------------------------------------------------------------------------------------------------------


def test_optimizer_state_is_kept_apart(saved):
    model, optimizer = trained(lambda model: torch.optim.AdamW(decayed_groups(model), lr=0.01))
    checkpoint = saved({"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()})
    assert_same(checkpoint, model.state_dict())
    assert len(checkpoint.apart) == 24
    first = optimizer.state_dict()["state"][0]["exp_avg"]
    np.testing.assert_array_equal(values(checkpoint, "optimizer.state.0.exp_avg"), first.numpy())
    [remark] = checkpoint.remarks
    size = sum(each.nbytes for each in checkpoint.apart)
    assert remark.kind == OPTIMIZER_STATE
    assert remark.text.startswith(f"The file also holds Adam-like optimizer state: 24 tensors, {size:,} bytes.")


def test_weight_decay_is_declared_group_by_group(saved):
    model, optimizer = trained(lambda model: torch.optim.AdamW(decayed_groups(model), lr=0.01))
    kernels, rest = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}).declared
    assert (kernels.value, rest.value) == (0.1, 0.0)
    assert kernels.target == "param group 0: 0.weight, 4.weight, 5.weight"
    assert rest.target == "param group 1: 0.bias, 1.weight, 1.bias, 4.bias, 5.bias"
    assert (kernels.kind, kernels.unit, kernels.site) == ("decoupled_weight_decay", "torch.AdamW", "parameters")
    assert kernels.where == "model.pt: optimizer.param_groups[0].weight_decay"
    assert kernels.note == "Adam-like state, learning rate 0.01, betas 0.9 and 0.999"


@pytest.mark.parametrize(
    ("optimizer_of", "kind", "unit"),
    [
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01), "weight_decay", "torch.SGD"),
        (lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.01), "weight_decay", "torch.SGD"),
        (lambda p: torch.optim.Adam(p, weight_decay=0.01), "weight_decay", "torch.Adam"),
        (lambda p: torch.optim.AdamW(p, weight_decay=0.01), "decoupled_weight_decay", "torch.AdamW"),
        (lambda p: torch.optim.RMSprop(p, weight_decay=0.01), "weight_decay", "torch"),
        (lambda p: torch.optim.Adagrad(p, weight_decay=0.01), "weight_decay", "torch"),
        (lambda p: torch.optim.Adafactor(p, weight_decay=0.01), "weight_decay", "torch"),
    ],
    ids=["SGD momentum", "SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adafactor"],
)
def test_the_unit_follows_the_optimizer(optimizer_of, kind, unit, saved):
    model, optimizer = trained(lambda model: optimizer_of(model.parameters()))
    [found] = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}).declared
    assert (found.kind, found.unit, found.value) == (kind, unit, 0.01)
    assert found.target == "param group 0: 0.weight, 0.bias, 1.weight, 1.bias, 4.weight, 4.bias and 2 more"


def test_adam_without_the_flag_is_not_guessed_at(saved):
    model, optimizer = trained(lambda model: torch.optim.AdamW(model.parameters(), weight_decay=0.01))
    state = optimizer.state_dict()
    del state["param_groups"][0]["decoupled_weight_decay"]
    assert saved({"model": model.state_dict(), "optimizer": state}).declared[0].unit == "torch"


def test_names_given_to_the_optimizer_are_used(saved):
    model, optimizer = trained(lambda model: torch.optim.SGD(list(model.named_parameters())[:2], 0.1))
    [found] = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}).declared
    assert found.target == "param group 0: 0.weight, 0.bias"


def test_parameters_that_do_not_fit_are_counted_only(saved):
    model, optimizer = trained(lambda model: torch.optim.SGD(model[4].parameters(), 0.1))
    [found] = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}).declared
    assert found.target == "param group 0 (2 parameters)"


def test_a_list_of_optimizers_is_recognised(saved):
    model, optimizer = trained(lambda model: torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    checkpoint = saved({"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()] * 2})
    assert checkpoint.apart[0].name == "optimizer_states.0.state.0.momentum_buffer"
    assert [each.where.split(".param")[0] for each in checkpoint.declared] == [
        "model.pt: optimizer_states.0", "model.pt: optimizer_states.1",
    ]  # fmt: skip


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("hyper_parameters", {"lr": 0.1, "weight_decay": 0.05, "model": {"dropout": 0.1}, "label_smoothing": 0.2, "clip_grad": 1}),
        ("args", argparse.Namespace(weight_decay=0.05, label_smoothing=0.2, clip_grad=1.0, model={"dropout": 0.1}, out=Path("x"))),
    ],
)  # fmt: skip
def test_settings_declare_what_was_done(key, settings, saved):
    checkpoint = saved({"state_dict": network().state_dict(), key: settings})
    found = {each.kind: (each.value, each.where) for each in checkpoint.declared}
    assert found == {
        "weight_decay": (0.05, f"model.pt, {key}: weight_decay"),
        "dropout": (0.1, f"model.pt, {key}: model.dropout"),
        "label_smoothing": (0.2, f"model.pt, {key}: label_smoothing"),
        "gradient_clip": (1.0, f"model.pt, {key}: clip_grad"),
    }
    assert checkpoint.remarks == ()


def test_a_setting_takes_its_meaning_from_the_optimizer(saved):
    model, optimizer = trained(lambda model: torch.optim.AdamW(model.parameters(), weight_decay=0.01))
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "args": {"weight_decay": 0.01}}
    assert {each.unit for each in saved(content).declared} == {"torch.AdamW"}


class Node:
    """An object as OmegaConf pickles its own."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def test_settings_that_hold_their_parents_are_read(saved):
    root = Node(_parent=None, _metadata=Node(key=None))
    root._content = {"weight_decay": Node(_val=0.05, _parent=root), "name": Node(_val="x", _parent=root)}
    [found] = saved({"state_dict": network().state_dict(), "hyper_parameters": root}).declared
    assert (found.kind, found.value) == ("weight_decay", 0.05)


class Optim(enum.Enum):
    ADAMW = "adamw_torch"


@dataclass
class TrainingArguments:
    optim: Optim = Optim.ADAMW
    weight_decay: float = 0.05
    label_smoothing_factor: float = 0.1
    max_grad_norm: float = 1.0
    neftune_noise_alpha: float | None = None
    output_dir: Path = Path("out")


def test_training_arguments_of_transformers_are_read(tmp_path):
    torch.save(TrainingArguments(), tmp_path / "training_args.bin")
    found = {each.kind: each for each in declared_in_training_args(tmp_path / "training_args.bin")}
    assert {kind: each.value for kind, each in found.items()} == {
        "decoupled_weight_decay": 0.05, "label_smoothing": 0.1, "gradient_clip": 1.0,
    }  # fmt: skip
    assert found["decoupled_weight_decay"].unit == "torch.AdamW"
    assert found["decoupled_weight_decay"].note == "optimizer adamw_torch"


def test_an_optimizer_file_is_read(tmp_path):
    _, optimizer = trained(lambda model: torch.optim.AdamW(decayed_groups(model)))
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    assert [each.value for each in declared_in_optimizer(tmp_path / "optimizer.pt")] == [0.1, 0.0]


def test_a_damaged_side_file_declares_nothing(tmp_path):
    path = tmp_path / "training_args.bin"
    path.write_bytes(b"PK\x03\x04 cut short")
    assert declared_in_training_args(path) == declared_in_optimizer(path) == remarks_on_side_file(path) == ()


def test_an_unsafe_side_file_is_remarked(tmp_path):
    with zipfile.ZipFile(tmp_path / "training_args.bin", "w") as file:
        file.writestr("a/data.pkl", b"cposix\nsystem\n(S'true'\ntR.")
    [remark] = remarks_on_side_file(tmp_path / "training_args.bin")
    assert "posix.system" in remark.text


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_torch_is_read(protocol, saved):
    state = network().state_dict()
    assert_same(saved({"model": state}, pickle_protocol=protocol), state)
