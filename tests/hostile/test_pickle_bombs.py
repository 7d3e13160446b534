"""Hostile pickles: nothing in them is executed, and each is over in bounded time and memory."""

import argparse
import collections
import contextlib
import datetime as dt
import decimal
import enum
import functools
import logging
import pathlib
import pickle
import random
import re
import time
import tracemalloc
import uuid
import zipfile

import numpy as np
import pytest
import torch

from regaudit.checkpoints import pickles
from regaudit.checkpoints.base import UNSAFE_GLOBAL
from regaudit.checkpoints.pickle_globals import UNKNOWN_GLOBAL, remarks
from regaudit.checkpoints.torch_zip import open_torch
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint

SECONDS = 10.0  # far above what any of these takes; a bomb that goes off takes hours


def load(raw):
    return pickles.load(raw, persistent=lambda key: key)


def short(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def stack_global(module, name):
    return short(module) + short(name) + b"\x93"


COMMAND = "(S'touch {marker}'\ntR."
EXECUTING = {
    "GLOBAL": b"cos\nsystem\n",
    "STACK_GLOBAL": b"\x80\x04" + stack_global("os", "system"),
    "STACK_GLOBAL dotted": b"\x80\x04" + stack_global("torch.serialization", "os.system"),
    "posix": b"cposix\nsystem\n",
    "nt": b"cnt\nsystem\n",
    "subprocess": b"csubprocess\ncheck_output\n",
    "eval": b"c__builtin__\neval\n",
    "exec": b"\x80\x04" + stack_global("builtins", "exec"),
    "runpy": b"crunpy\nrun_path\n",
    "torch.hub": b"ctorch.hub\nload\n",
    "torch.load": b"ctorch\nload\n",
    "numpy gadget": b"cnumpy.testing._private.utils\nrunstring\n",
    "torch gadget": b"ctorch.utils.bottleneck.__main__\nrun_cprofile\n",
    "less known": b"cprofile\nrun\n",
    "pip": b"cpip._internal.cli.main\nmain\n",
    "storage in storage": b"ctorch.storage\n_load_from_bytes\n",
    "third party runner": b"cdill._dill\nloads\n",
    "third party re-export": b"csomepackage.utils\nsystem\n",
    "EXT1": b"\x80\x02\x82\x07",
    "EXT4": b"\x80\x02\x84\x07\x00\x00\x00",
}


@pytest.mark.parametrize("function", EXECUTING.values(), ids=EXECUTING.keys())
def test_a_call_is_reported_and_not_made(function, tmp_path):
    marker = tmp_path / "executed"
    pickled = load(function + COMMAND.format(marker=marker).encode())
    assert UNSAFE_GLOBAL in {each.kind for each in remarks(pickled, "x.pt")}
    assert not marker.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"c__builtin__\ngetattr\n(ctorch.serialization\nos\nS'system'\ntR.",
        b"c__builtin__\ngetattr\n(S'text'\nS'format'\ntR.",
        b"c__builtin__\ngetattr\n(cmyproject\nf\nS'__globals__'\ntR.",
        b"\x80\x02c__builtin__\ngetattr\n(cmyproject\nNet\n)\x81S'run'\ntR)R.",
        b"(S'touch /tmp/x'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch /tmp/x'\no.",
        b"\x80\x02cos\nsystem\n)\x81.",
        b"\x80\x04cos\nsystem\n)}\x92.",
        b"\x80\x02csys\nmodules\n(S'torch'\nNu.",
        b"\x80\x02ctorch\nload\n}b.",
        b"\x80\x02cfunctools\npartial\n(cos\nsystem\ntR.",
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(csomepackage\neval\nN)NtR.",
        b"\x80\x02cpathlib\nPath\n)R)R.",
    ],
    ids=[
        "getattr of a module",
        "getattr of a string",
        "dunder",
        "call of a method",
        "INST",
        "OBJ",
        "NEWOBJ",
        "NEWOBJ_EX",
        "SETITEMS",
        "BUILD",
        "partial",
        "by an argument",
        "of an object",
    ],
)
def test_every_way_to_call_is_reported(raw):
    assert UNSAFE_GLOBAL in {each.kind for each in remarks(load(raw), "x.pt")}


def test_the_remark_has_name_place_and_file():
    [remark] = remarks(load(b"\x80\x02cposix\nsystem\n(S'x'\ntR."), "model.pt: archive/data.pkl")
    assert remark.where == "model.pt: archive/data.pkl"
    assert remark.text == "The file wants to call posix.system (byte 2); it was not called."


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x02ccollections\nOrderedDict\n)R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02cmyproject.models\nNet\n)\x81}b.",
        b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81}b.",
        b"\x80\x02cpathlib\nPosixPath\n(S'a'\ntR.",
        b"\x80\x02ctransformers.trainer_utils\nIntervalStrategy\n(S'no'\ntR.",
        b"\x80\x02cnumpy\ndtype\n(S'f4'\ntR.",
        b"\x80\x02ctorch.nn.functional\nrelu\n.",
        b"c__builtin__\ngetattr\n(ctorch.optim.lr_scheduler\nOneCycleLR\nS'_annealing_cos'\ntR.",
        b"\x80\x02c__builtin__\ngetattr\n(cmyproject\nNet\n)\x81S'run'\ntR.",
    ],
)
def test_what_checkpoints_need_is_silent(raw):
    assert remarks(load(raw), "x.pt") == ()


def test_settings_of_many_types_are_silent():
    settings = [
        pathlib.Path("x"), dt.datetime.now(dt.UTC), functools.partial(sorted, reverse=True), uuid.uuid4(), range(3),
        decimal.Decimal(1), np.random.default_rng(0), np.random.RandomState(0), random.Random(0), np.int64(3), 1j,
        np.arange(3.0), np.dtype("f4"), torch.float16, torch.device("cpu"), torch.Size([1]), slice(1, 2), {1}, b"x",
        argparse.Namespace(a=1), enum.Enum, collections.ChainMap({}), re.compile("a+"), logging.getLogger("x"),
    ]  # fmt: skip
    for protocol in range(2, 6):
        for each in settings:
            assert remarks(load(pickle.dumps(each, protocol)), "x.pt") == (), each


def test_a_call_into_an_unknown_package_is_only_worth_a_remark():
    [remark] = remarks(load(b"\x80\x02cmyproject.enums\nmode\n(K\x01tR."), "x.pt")
    assert remark.kind == UNKNOWN_GLOBAL


def test_a_million_names_make_a_few_remarks():
    raw = b"".join(b"cos\nf%d\n0" % n for n in range(100_000)) + b"N."
    found = remarks(load(raw), "x.pt")
    assert len(found) == 21
    assert found[-1].text == "The file names 99,980 more such functions; none was called."


BOMBS = {
    "LONG_BINPUT": b"\x80\x02Nr\xff\xff\xff\xff.",
    "FRAME": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "BINUNICODE8": b"\x80\x04\x8d" + b"\xff" * 8 + b"x.",
    "BINBYTES8": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fx.",
    "BYTEARRAY8": b"\x80\x05\x96" + b"\xff" * 7 + b"\x7fx.",
    "LONG4": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    "LONG4 negative": b"\x80\x02\x8b\xff\xff\xff\xffx.",
    "bytearray(2**40)": b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.",
    "bytes(2**40)": b"\x80\x02c__builtin__\nbytes\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.",
    "digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "nested lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "nested tuples": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
    "nested tuple as key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "nested tuple in a set": b"\x80\x04\x8f()" + b"\x85" * 200_000 + b"\x90.",
    "nested calls": b"\x80\x02cx\ny\n" + b")R" * 100_000 + b".",
    "nested marks": b"\x80\x02" + b"(" * 200_000 + b".",
    "doubling tuples": b"\x80\x02)" + b"2\x86" * 50_000 + b".",
    "doubling lists": b"\x80\x02]" + b"q\x00]h\x00ah\x00a" * 20_000 + b".",
    "recursive list": b"\x80\x02]q\x00h\x00a.",
    "recursive call": b"\x80\x02cx\ny\n)Rq\x00h\x00b.",
    "memo": b"\x80\x04N" + b"\x94" * 200_000 + b".",
    "empty sets": b"\x80\x04" + b"\x8f0" * 100_000 + b"N.",
    "copies of a list": b"\x80\x02](" + b"N" * 100_000 + b"eq\x00" + b"c__builtin__\nlist\nh\x00\x85R" * 100 + b".",
    "colliding keys": b"\x80\x02}(" + b"".join(
        b"\x8a\x10" + (n * (2**61 - 1) * 2**40).to_bytes(16, "little") + b"N" for n in range(1, 20_000)
    ) + b"u.",
    "list as key": b"\x80\x02}]Ns.",
    "no tuple": b"\x80\x02cos\nsystem\nK\x01R.",
    "name is no string": b"\x80\x04K\x01K\x02\x93.",
    "negative string length": b"T\xff\xff\xff\xff.",
    "out of band": b"\x80\x05\x97.",
    "protocol 9": b"\x80\x09N.",
    "empty": b"",
    "no stop": b"\x80\x02N",
    "empty stack": b".",
    "no mark": b"\x80\x02t.",
    "memo never set": b"\x80\x02h\x07.",
    "UTF-8": b"X\x02\x00\x00\x00\xff\xfe.",
}  # fmt: skip
READABLE = {
    "LONG_BINPUT", "bytearray(2**40)", "bytes(2**40)", "nested lists", "nested tuples", "nested calls", "doubling tuples",
    "doubling lists", "recursive list", "recursive call", "memo", "empty sets", "UTF-8",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_go_off(name):
    started = time.process_time()
    try:
        load(BOMBS[name])
        read = True
    except CheckpointError:
        read = False
    assert time.process_time() - started < SECONDS
    assert name not in READABLE or read


GROWING = ("nested calls", "nested lists", "nested marks", "memo", "copies of a list", "doubling tuples", "UCS-4")


@pytest.mark.parametrize("name", GROWING)
def test_memory_is_bounded(name, limit):
    bomb = BOMBS.get(name, b"X\x00\x00\x20\x00" + "😀".encode() + b"x" * ((2 << 20) - 4) + b".")
    limit("pickle-memory", 1 << 20)
    tracemalloc.start()
    with pytest.raises(UnsafeCheckpoint, match="the limit pickle-memory is 1,048,576 bytes"):
        load(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (16 << 20)  # one string or list may be made before it is counted


def test_opcodes_are_bounded(limit):
    limit("pickle-opcodes", 1000)
    with pytest.raises(UnsafeCheckpoint, match="the limit pickle-opcodes is 1,000"):
        load(b"N0" * 1000 + b"N.")


def test_a_pickle_cut_anywhere_is_an_error_or_a_value():
    raw = pickle.dumps({"a": [1, 2.5, "text", b"bytes"], "b": (None, True, 2**70), "c": {1, 2}}, 4)
    for end in range(len(raw)):
        with pytest.raises(CorruptCheckpoint):
            load(raw[:end])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_with_any_byte_changed_does_not_crash(protocol):
    raw = pickle.dumps({"a": [1, 2.5, "text"], "b": (None, True, 2**70), "c": {1, 2}}, protocol)
    for place in range(len(raw)):
        for value in range(0, 256, 5):
            with contextlib.suppress(CheckpointError):
                load(raw[:place] + bytes([value]) + raw[place + 1 :])


# --- In a checkpoint --------------------------------------------------------------------------------------------------

STORAGE = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x04tQ"


def archive(path, content, storage=b"\0" * 16):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/data/0", storage)
    return path


def tensor(offset=b"K\x00", shape=b"(K\x04t", strides=b"(K\x01t"):
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + offset + shape + strides + b"\x89}tR"


def state_dict(value):
    return b"\x80\x02}U\x01w" + value + b"s."


def test_the_archive_of_these_tests_is_read(tmp_path):
    with open_torch(archive(tmp_path / "a.pt", state_dict(tensor()))) as checkpoint:
        assert checkpoint.tensors[0].shape == (4,)


@pytest.mark.parametrize(
    "content",
    [
        state_dict(tensor(offset=b"K\x01")),
        state_dict(tensor(offset=b"J\xff\xff\xff\xff")),
        state_dict(tensor(shape=b"(K\x05t")),
        state_dict(tensor(strides=b"(J\xff\xff\xff\xfft")),
        state_dict(tensor(strides=b"(K\x02t")),
        state_dict(tensor(shape=b"(K\x02K\x02t")),
        state_dict(tensor(shape=b"(\x88t")),
        state_dict(tensor(shape=b"(" + b"K\x01" * 40 + b"t", strides=b"(" + b"K\x01" * 40 + b"t")),
        state_dict(tensor(shape=b"(\x8a\x07" + b"\xff" * 6 + b"\x0ft", strides=b"(K\x00t")),
        state_dict(tensor(shape=b"(M\xff\xffM\xff\xfft", strides=b"(K\x00K\x00t")),
        b"\x80\x02}q\x00U\x01mh\x00s.",
        b"\x80\x02}q\x00U\x01m(U\x01ah\x00U\x01bh\x00uh\x00s.",
        b"\x80\x02" + b"}U\x01m" * 5000 + tensor() + b"s" * 5000 + b".",
        b"\x80\x02" + tensor() + b"q\x01" + b"0}q\x02(U\x01ah\x01U\x01bh\x01uh\x02q\x01" * 60 + b".",
        b"\x80\x02K\x01.",
    ],
    ids=[
        "offset", "negative offset", "beyond the storage", "negative stride", "long stride", "more axes than strides",
        "bool", "40 axes", "2**52 elements", "expanded", "holds itself", "holds itself twice", "5000 deep", "2**60 paths",
        "a number",
    ],
)  # fmt: skip
def test_a_hostile_checkpoint_is_refused(content, tmp_path):
    started = time.process_time()
    with pytest.raises(CheckpointError):
        open_torch(archive(tmp_path / "a.pt", content))
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("size", [0, 15, 17, 1 << 20])
def test_a_storage_of_another_size_is_refused(size, tmp_path):
    with pytest.raises(CorruptCheckpoint, match="the tensors say 16"):
        open_torch(archive(tmp_path / "a.pt", state_dict(tensor()), storage=b"\0" * size))


def test_wrapped_parameters_without_end_are_refused(tmp_path):
    value = b"ctorch._utils\n_rebuild_parameter\nq\x05" + b"h\x05" * 20_000 + tensor() + b"\x85R" * 20_001
    with open_torch(archive(tmp_path / "a.pt", state_dict(value))) as checkpoint:
        assert checkpoint.tensors[0].dtype == "PARAMETER"
        assert checkpoint.remarks


def test_a_hostile_checkpoint_is_still_readable(tmp_path):
    content = (
        b"\x80\x02}(U\x01w" + tensor() + b"U\x04evilcposix\nsystem\n(S'touch " + str(tmp_path).encode() + b"/x'\ntRu."
    )
    with open_torch(archive(tmp_path / "a.pt", content)) as checkpoint:
        assert [each.name for each in checkpoint.tensors] == ["w"]
        assert [each.kind for each in checkpoint.remarks] == [UNSAFE_GLOBAL]
        assert "posix.system" in checkpoint.remarks[0].text
    assert not (tmp_path / "x").exists()
