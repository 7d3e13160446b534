"""ONNX files written byte by byte, as onnx.proto has them."""

import os
import struct

import numpy as np
import pytest

from regaudit.checkpoints import onnx_names
from regaudit.checkpoints.base import UNREADABLE_TENSOR
from regaudit.checkpoints.onnx import FORMAT, open_onnx
from regaudit.checkpoints.sniff import look
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint
from regaudit.layers import group
from regaudit.records import Axis, Use

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP
FLOAT, UINT8, INT8, INT32, INT64, TEXT, FLOAT16, DOUBLE, BFLOAT16, E4M3, UINT4, INT4, INT2 = (
    1, 2, 3, 6, 7, 8, 10, 11, 16, 17, 21, 22, 26,
)  # fmt: skip
LAST = 2**63 - 1  # the end of a Slice to the end


# --- Writing ----------------------------------------------------------------------------------------


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def put(number, value):
    """A field: an integer as a varint, a float in four bytes, texts and messages with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def tensor(name, array, data_type=FLOAT, shape=None):
    """A TensorProto with raw data."""
    shape = array.shape if shape is None else shape
    return b"".join(put(1, n) for n in shape) + put(2, data_type) + put(8, name) + put(9, array.tobytes())


def typed(name, shape, data_type, field, data):
    """A TensorProto with values in a typed field."""
    return b"".join(put(1, n) for n in shape) + put(2, data_type) + put(8, name) + put(field, data)


def external(name, shape, entries, data_type=FLOAT):
    """A TensorProto whose data lie in another file."""
    pairs = b"".join(put(13, put(1, key) + put(2, str(value))) for key, value in entries.items())
    return b"".join(put(1, n) for n in shape) + put(2, data_type) + put(8, name) + put(14, 1) + pairs


def attribute(name, value):
    if isinstance(value, list):
        return put(1, name) + b"".join(put(8, n) for n in value) + put(20, 7)
    field = {int: 3, float: 2, str: 4}.get(type(value), 5)
    return put(1, name) + put(field, value)


def node(op, inputs, outputs, name="", domain="", scopes="", **attributes):
    raw = b"".join(put(1, each) for each in inputs.split()) + b"".join(put(2, each) for each in outputs.split())
    raw += put(3, name) + put(4, op) + (put(7, domain) if domain else b"")
    raw += b"".join(put(5, attribute(key, value)) for key, value in attributes.items())
    return raw + (put(9, put(1, "pkg.torch.onnx.name_scopes") + put(2, scopes)) if scopes else b"")


def left_out(raw):
    """A node whose inputs named _ are left out."""
    return raw.replace(put(1, "_"), put(1, ""))


def branch(name, inner):
    return put(5, put(1, name) + put(6, inner))


def graph(nodes=(), tensors=(), inputs=("x",), outputs=("y",)):
    raw = b"".join(put(1, each) for each in nodes) + b"".join(put(5, each) for each in tensors)
    return raw + b"".join(put(11, put(1, n)) for n in inputs) + b"".join(put(12, put(1, n)) for n in outputs)


def model(inner, *functions, opset=17):
    raw = put(1, 8) + put(2, "a test") + put(7, inner) + put(8, put(1, "") + put(2, opset))
    return raw + b"".join(put(25, each) for each in functions)


def arange(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.fixture
def opened(tmp_path):
    """Write a model and open it."""
    closing = []

    def make(nodes=(), tensors=(), functions=(), **parts):
        path = tmp_path / "model.onnx"
        path.write_bytes(model(graph(nodes, tensors, **parts), *functions))
        assert FORMAT.claims(look(path))
        closing.append(FORMAT.open(look(path)))
        return closing[-1]

    yield make
    for checkpoint in closing:
        checkpoint.close()


def by_name(checkpoint):
    return {each.name: each for each in checkpoint.tensors}


def modules(checkpoint):
    return {each.name: each for each in checkpoint.modules}


def stated(checkpoint, name):
    each = by_name(checkpoint)[name]
    return each.layer, each.use, each.axes


def values(checkpoint, name):
    each = by_name(checkpoint)[name]
    return checkpoint.read(each, 0, each.size).reshape(each.shape)


# --- Bytes ------------------------------------------------------------------------------------------


def test_raw_data_are_read_in_place_and_in_pieces(opened):
    checkpoint = opened(tensors=[tensor("w", arange(3, 4))])
    [each] = checkpoint.tensors
    assert (each.shape, each.dtype, each.nbytes, each.source) == ((3, 4), "F32", 48, "model.onnx")
    assert checkpoint.read(each, 3, 7).tolist() == [3, 4, 5, 6]
    assert checkpoint.read(each, 5, 5).tolist() == []
    assert checkpoint.format == "ONNX, opset 17; an export: normalizations may be folded, dropout is gone"


@pytest.mark.parametrize(
    ("data_type", "raw", "expected"),
    [
        (FLOAT16, np.array([1.5, -2], "<f2"), [1.5, -2]),
        (DOUBLE, np.array([1.5, -2], "<f8"), [1.5, -2]),
        (BFLOAT16, np.array([0x3FC0, 0xC000], "<u2"), [1.5, -2]),
        (E4M3, np.array([0x3C, 0xC0], "u1"), [1.5, -2]),
        (INT64, np.array([7, -7], "<i8"), [7, -7]),
        (INT4, np.array([0xF7], "u1"), [7, -1]),
        (UINT4, np.array([0xF7], "u1"), [7, 15]),
    ],
)
def test_every_width_is_decoded(opened, data_type, raw, expected):
    checkpoint = opened(tensors=[tensor("w", raw, data_type, shape=(2,))])
    assert values(checkpoint, "w").tolist() == expected
    assert checkpoint.read(checkpoint.tensors[0], 1, 2).tolist() == expected[1:]


def test_floats_may_lie_in_their_own_field_in_several_pieces(opened):
    raw = arange(4).tobytes()
    message = typed("w", (4,), FLOAT, 4, raw[:8]) + put(4, raw[8:12]) + put(4, 3.0)
    checkpoint = opened(tensors=[message])
    assert values(checkpoint, "w").tolist() == [0, 1, 2, 3]
    assert checkpoint.read(checkpoint.tensors[0], 1, 4).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("data_type", "field", "codes", "expected"),
    [
        (INT32, 5, [1, -1, 300], [1, -1, 300]),
        (INT8, 5, [1, -1, -128], [1, -1, -128]),
        (FLOAT16, 5, [0x3E00, 0xC000, 0], [1.5, -2, 0]),
        (BFLOAT16, 5, [0x3FC0, 0xC000, 0], [1.5, -2, 0]),
        (INT64, 7, [1, -1, 2**40], [1, -1, 2**40]),
    ],
)
def test_integers_of_varying_length_are_decoded(opened, data_type, field, codes, expected):
    checkpoint = opened(tensors=[typed("w", (3,), data_type, field, b"".join(map(varint, codes)))])
    assert values(checkpoint, "w").tolist() == expected
    assert checkpoint.read(checkpoint.tensors[0], 1, 2).tolist() == expected[1:2]


def test_long_lists_of_varying_length_are_read_block_by_block(opened):
    numbers = np.random.default_rng(0).integers(-(2**30), 2**30, 50_000)
    checkpoint = opened(tensors=[typed("w", numbers.shape, INT32, 5, b"".join(map(varint, map(int, numbers))))])
    [each] = checkpoint.tensors
    for start, stop in [(0, 50_000), (0, 1), (49_999, 50_000), (12_345, 34_567)]:
        assert np.array_equal(checkpoint.read(each, start, stop), numbers[start:stop])


def test_external_data_are_read_beside_the_model(opened, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "w.bin").write_bytes(bytes(4) + arange(6).tobytes())
    entries = {"location": "./parts/w.bin", "offset": 4, "length": 24}
    checkpoint = opened(tensors=[external("a", (2, 3), entries), external("b", (2, 3), entries)])
    assert values(checkpoint, "a").tolist() == arange(2, 3).tolist()
    assert [each.shares for each in checkpoint.tensors] == ["", "a"]
    assert checkpoint.nbytes == (tmp_path / "model.onnx").stat().st_size + 28


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", "", "..\\secret", "link", "sub/x"])
def test_external_data_outside_of_the_folder_are_refused(opened, tmp_path, location):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret").write_bytes(bytes(24))
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "sub").symlink_to("/etc")
    with pytest.raises(UnsafeCheckpoint, match=r"model.onnx: its tensors lie in"):
        opened(tensors=[external("w", (2, 3), {"location": location})])


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"location": "absent.bin"}, "cannot be opened"),
        ({"location": "w.bin", "offset": 1}, "the file has 24"),
        ({"location": "w.bin", "length": 23}, "says 23"),
        ({"location": "w.bin", "offset": "-1"}, "no count"),
        ({"location": "w.bin", "offset": "9" * 30}, "no count"),
        ({"location": "pipe"}, "no regular file"),
    ],
)
def test_external_data_that_do_not_fit_are_refused(opened, tmp_path, entries, said):
    (tmp_path / "w.bin").write_bytes(bytes(24))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=said):
        opened(tensors=[external("w", (2, 3), entries)])


def test_many_tensors_of_the_same_bytes_are_refused(opened, tmp_path):
    (tmp_path / "w.bin").touch()
    os.truncate(tmp_path / "w.bin", 1 << 22)
    entries = {"location": "w.bin", "length": 1 << 22}
    with pytest.raises(UnsafeCheckpoint, match="claims"):
        opened(tensors=[external(f"w{k}", (1 << 20,), entries) for k in range(8_000)])


@pytest.mark.parametrize(
    "message",
    [
        tensor("w", arange(3), shape=(4,)),
        tensor("w", arange(3), shape=(-1,)),
        tensor("w", arange(1), shape=(1,) * 40),
        tensor("w", arange(3), shape=(2**62, 4)),
        tensor("w", arange(3)) + put(4, arange(3).tobytes()),
        typed("w", (3,), FLOAT, 10, arange(3).tobytes()),
        typed("w", (3,), INT64, 7, b"\x01\x02\x80"),
        typed("w", (1,), INT64, 7, b"\x80" * 11 + b"\x01"),
        put(1, 3) + put(2, FLOAT) + put(8, "w"),
    ],
    ids=["short", "negative", "rank", "huge", "twice", "field", "cut", "long", "none"],
)
def test_tensors_that_contradict_themselves_are_corrupt(opened, message):
    with pytest.raises(CorruptCheckpoint, match="'w'"):
        opened(tensors=[message])


def test_two_tensors_of_one_name_are_corrupt(opened):
    with pytest.raises(CorruptCheckpoint, match="two tensors have the name 'w'"):
        opened(tensors=[tensor("w", arange(2))] * 2)


def test_what_cannot_be_read_is_said_and_the_rest_is_read(opened):
    unknown = tensor("q", np.zeros(1, "u1"), INT2, shape=(4,))
    texts = put(1, 1) + put(2, TEXT) + put(6, "cat") + put(8, "labels")
    checkpoint = opened(tensors=[tensor("w", arange(2)), unknown, texts])
    assert [each.name for each in checkpoint.tensors] == ["w", "q"]
    [remark] = checkpoint.remarks
    assert (remark.kind, remark.where) == (UNREADABLE_TENSOR, "q")
    with pytest.raises(CorruptCheckpoint):
        checkpoint.read(checkpoint.tensors[1], 0, 1)


def test_a_graph_without_arrays_is_refused(opened):
    with pytest.raises(CheckpointError, match="'TreeEnsembleClassifier'"):
        opened([node("TreeEnsembleClassifier", "x", "y", domain="ai.onnx.ml")])


# --- The graph --------------------------------------------------------------------------------------


def test_gemm_says_which_axis_is_out(opened):
    tensors = [tensor("a.weight", arange(3, 2)), tensor("a.bias", arange(3)), tensor("b.weight", arange(3, 2))]
    nodes = [node("Gemm", "x a.weight a.bias", "h", transB=1), node("Gemm", "h b.weight", "y")]
    checkpoint = opened(nodes, tensors)
    assert stated(checkpoint, "a.weight") == ("a", Use.KERNEL, (OUT, IN))
    assert stated(checkpoint, "a.bias") == ("a", Use.BIAS, (OUT,))
    assert stated(checkpoint, "b.weight") == ("b", Use.KERNEL, (IN, OUT))
    assert modules(checkpoint)["a"].settings == {"transB": 1}


@pytest.mark.parametrize(
    ("op", "inputs", "settings", "axes"),
    [
        ("MatMul", "x w", {}, (IN, OUT)),
        ("MatMul", "w x", {}, (OUT, IN)),
        ("Gemm", "w x", {}, (OUT, IN)),
        ("Gemm", "w x", {"transA": 1}, (IN, OUT)),
        ("Einsum", "x w", {"equation": "bi,io->bo"}, (IN, OUT)),
        ("Einsum", "w x", {"equation": "oi,bi->bo"}, (OUT, IN)),
        ("Einsum", "x w", {"equation": "bi,bo->bo"}, ()),
        ("Gather", "w x", {}, (IN, OUT)),
    ],
)
def test_products_and_tables_are_oriented(opened, op, inputs, settings, axes):
    checkpoint = opened([node(op, inputs, "y", "/fc/" + op, **settings)], [tensor("w", arange(3, 2))])
    assert stated(checkpoint, "w") == ("fc", Use.KERNEL, axes)


def test_a_bias_added_to_a_product_names_the_layer(opened):
    nodes = [node("MatMul", "x onnx::MatMul_1", "m"), node("Add", "fc.bias m", "y")]
    checkpoint = opened(nodes, [tensor("onnx::MatMul_1", arange(2, 3)), tensor("fc.bias", arange(3))])
    assert stated(checkpoint, "onnx::MatMul_1") == ("fc", Use.KERNEL, (IN, OUT))
    assert stated(checkpoint, "fc.bias") == ("fc", Use.BIAS, (OUT,))


def test_convolutions_keep_their_groups(opened):
    tensors = [tensor("c.weight", arange(4, 1, 3, 3)), tensor("u.weight", arange(4, 2, 2, 2))]
    checkpoint = opened([node("Conv", "x c.weight", "h", group=4), node("ConvTranspose", "h u.weight", "y")], tensors)
    assert stated(checkpoint, "c.weight")[2] == (OUT, IN, TAP, TAP)
    assert stated(checkpoint, "u.weight")[2] == (IN, OUT, TAP, TAP)
    assert modules(checkpoint)["c"].settings == {"group": 4}
    assert modules(checkpoint)["u"].inputs == ("c",)


def test_normalizations_have_scale_offset_and_statistics(opened):
    names = ["bn.scale", "bn.B", "bn.mean", "bn.var"]
    checkpoint = opened(
        [node("BatchNormalization", " ".join(["x", *names]), "h"), node("PRelu", "h act.slope", "y", "/act/PRelu")],
        [*(tensor(name, arange(4)) for name in names), tensor("act.slope", arange(4, 1, 1))],
    )
    uses = [each.use for each in checkpoint.tensors]
    assert uses == [Use.SCALE, Use.OFFSET, Use.MEAN, Use.VARIANCE, Use.SCALE]
    assert [each.layer for each in checkpoint.tensors] == ["bn"] * 4 + ["act"]


@pytest.mark.parametrize("centred", [True, False])
def test_a_normalization_that_is_written_out_is_recognised(opened, centred):
    nodes = [
        node("MatMul", "x w", "h"), node("ReduceMean", "h", "m"), node("Sub", "h m", "c"),
        node("Pow", "c two", "p"), node("ReduceMean", "p", "v"), node("Sqrt", "v", "s"),
        node("Div", "c s" if centred else "h s", "n"), node("Mul", "n ln.weight", "g"), node("Add", "g ln.bias", "y"),
    ]  # fmt: skip
    tensors = [
        tensor("w", arange(3, 3)),
        tensor("two", arange(1)),
        tensor("ln.weight", arange(3)),
        tensor("ln.bias", arange(3)),
    ]
    checkpoint = opened(nodes, tensors)
    assert stated(checkpoint, "ln.weight") == ("ln", Use.SCALE, (OUT,))
    assert stated(checkpoint, "ln.bias") == ("ln", Use.OFFSET, (OUT,))
    assert modules(checkpoint)["ln"].type == ("LayerNormalization" if centred else "RMSNormalization")


def test_weights_are_followed_through_what_rearranges_them(opened):
    nodes = [
        node("Cast", "w", "a", to=1), node("Transpose", "a", "b", perm=[1, 0]), node("Identity", "b", "c"),
        node("Unsqueeze", "c", "d", axes=[0]), node("Reshape", "d shape", "e"), node("MatMul", "x e", "y", "/fc/MatMul"),
    ]  # fmt: skip
    shape = tensor("shape", np.array([3, -1], "<i8"), INT64)
    checkpoint = opened(nodes, [tensor("w", arange(2, 3)), shape])
    assert stated(checkpoint, "w") == ("fc", Use.KERNEL, (OUT, IN))


def test_axes_that_a_reshape_mixes_are_unknown(opened):
    shape = tensor("shape", np.array([4, 3], "<i8"), INT64)
    nodes = [node("Reshape", "w shape", "e"), node("MatMul", "x e", "y", "/fc/MatMul")]
    assert stated(opened(nodes, [tensor("w", arange(2, 6)), shape]), "w") == ("fc", Use.KERNEL, ())


def test_a_kernel_in_a_constant_node_is_a_tensor_and_other_constants_are_not(opened):
    nodes = [
        put(2, "w") + put(4, "Constant") + put(5, attribute("value", tensor("", arange(2, 3)))),
        put(2, "k") + put(4, "Constant") + put(5, attribute("value", tensor("", arange(4)))),
        node("MatMul", "x w", "h", "/fc/MatMul"),
        node("Concat", "h k", "y"),
    ]
    checkpoint = opened(nodes)
    assert [each.name for each in checkpoint.tensors] == ["w"]
    assert values(checkpoint, "w").tolist() == arange(2, 3).tolist()


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("Relu", "h", "y")], "relu"),
        ([node("Clip", "h", "y", min=0.0, max=6.0)], "relu6"),
        ([node("Reshape", "h shape", "r"), node("Softmax", "r", "y")], "softmax"),
        ([node("Sigmoid", "h", "s"), node("Mul", "h s", "y")], "silu"),
        ([node("HardSigmoid", "h", "s"), node("Mul", "h s", "y")], "hard_swish"),
        ([node("Softplus", "h", "s"), node("Tanh", "s", "t"), node("Mul", "h t", "y")], "mish"),
        (
            [node("Div", "h one", "d"), node("Erf", "d", "e"), node("Add", "e one", "f"), node("Mul", "h f", "g"),
             node("Mul", "g one", "y")],
            "gelu",
        ),
        ([node("Tanh", "h", "t"), node("Add", "h t", "y")], ""),
        ([node("Relu", "h", "y"), node("Add", "h h", "z")], ""),
        ([node("Split", "h", "a b"), node("Sigmoid", "b", "s"), node("Mul", "a s", "y")], ""),
    ],
    ids=["relu", "relu6", "behind a reshape", "silu", "hard_swish", "mish", "gelu", "another sum", "two takers", "gated unit"],
)  # fmt: skip
def test_activations_belong_to_the_layer_before_them(opened, nodes, expected):
    tensors = [tensor("fc.weight", arange(2, 2)), tensor("one", arange(1))]
    found = modules(opened([node("MatMul", "x fc.weight", "h"), *nodes], tensors))
    assert found["fc"].activation == expected


def test_the_graph_connects_layers_through_what_has_no_weights(opened):
    tensors = [tensor(f"{name}.weight", arange(2, 2)) for name in "abc"]
    nodes = [
        node("MatMul", "x a.weight", "h"), node("Relu", "h", "i"), node("MatMul", "i b.weight", "j"),
        node("Add", "i j", "k", "/Add"), node("Shape", "k", "s"), node("Reshape", "k s", "r"),
        node("MatMul", "r c.weight", "y"),
    ]  # fmt: skip
    found = opened(nodes, tensors).modules
    assert [(each.name, each.inputs) for each in found] == [
        ("a", ()), ("b", ("a",)), ("Add", ("a", "b")), ("c", ("Add",)),
    ]  # fmt: skip


def test_a_tensor_stays_with_the_first_layer_that_takes_it(opened):
    nodes = [
        node("Gather", "emb.weight x", "h"), node("Transpose", "emb.weight", "t", perm=[1, 0]),
        node("MatMul", "h t", "y", "/head/MatMul"),
    ]  # fmt: skip
    checkpoint = opened(nodes, [tensor("emb.weight", arange(5, 2))])
    assert stated(checkpoint, "emb.weight") == ("emb", Use.KERNEL, (IN, OUT))
    assert modules(checkpoint)["head"].inputs == ("emb",)


def test_names_are_unique(opened):
    nodes = [
        node("MatMul", "x a", "h", "/fc/MatMul"),
        node("MatMul", "h b", "i", "/fc/MatMul_1"),
        node("MatMul", "i c", "y", "/fc/MatMul"),
    ]
    checkpoint = opened(nodes, [tensor(name, arange(2, 2)) for name in "abc"])
    names = [each.layer for each in checkpoint.tensors]
    assert names[:2] == ["fc", "fc.MatMul_1"]
    assert len(set(names)) == 3


def test_the_scopes_that_pytorch_writes_name_a_layer(opened):
    scoped = node("MatMul", "x val_0", "y", "node_linear_4", scopes="['', 'head', 'linear_4']")
    assert opened([scoped], [tensor("val_0", arange(2, 2))]).tensors[0].layer == "head"


def test_dropout_is_declared_where_it_was_exported(opened):
    nodes = [node("MatMul", "x fc.weight", "h"), node("Dropout", "h", "y", "/drop", ratio=0.25)]
    checkpoint = opened(nodes, [tensor("fc.weight", arange(2, 2))])
    [declared] = checkpoint.declared
    assert (declared.target, declared.kind, declared.value) == ("fc", "dropout", 0.25)
    assert "dropout is gone" not in checkpoint.format


FLOAT8 = 17  # TensorProto.FLOAT8E4M3FN
CODES = np.array([[1, -1, 7], [2, -2, 9]], "i1")


def quantised(opened, codes, scale, zero=None, data_type=INT8, **attributes):
    """Open x · dequantised(codes), a MatMul."""
    nodes = [node("DequantizeLinear", f"fc.weight_quantized s{' z' if zero is not None else ''}", "w", **attributes)]
    tensors = [tensor("fc.weight_quantized", codes, data_type), tensor("s", np.asarray(scale, np.float32))]
    tensors += [tensor("z", zero, data_type)] if zero is not None else []
    return opened([*nodes, node("MatMul", "x w", "y")], tensors)


@pytest.mark.parametrize("axis", [0, 1, -1, None], ids=str)
@pytest.mark.parametrize("has_zero", [True, False])
def test_quantised_weights_are_what_the_graph_makes_of_them(opened, axis, has_zero):
    count = 1 if axis is None else CODES.shape[axis]
    scale, zero = np.arange(1, count + 1, dtype=np.float32) / 4, np.arange(count, dtype="i1")
    checkpoint = quantised(opened, CODES, scale, zero if has_zero else None, **({} if axis is None else {"axis": axis}))
    assert stated(checkpoint, "fc.weight_quantized") == ("fc", Use.KERNEL, (IN, OUT))
    assert not checkpoint.remarks
    [weight] = checkpoint.tensors
    expected = np.zeros((2, 3))
    for i, j in np.ndindex(2, 3):
        at = 0 if axis is None else (i, j)[axis]
        expected[i, j] = scale[at] * (int(CODES[i, j]) - (int(zero[at]) if has_zero else 0))
    assert weight.dtype == "F32"
    for start in range(7):
        for stop in range(start, 7):
            np.testing.assert_array_equal(checkpoint.read(weight, start, stop), expected.reshape(-1)[start:stop])


def test_8_bit_floats_are_scaled_and_what_rounding_added_is_said(opened):
    raw = np.array([[0x38, 0x40, 0xB8], [0x30, 0x00, 0x7E]], np.uint8)  # 1, 2, -1, 0.5, 0, 448
    checkpoint = quantised(opened, raw, [0.5, 1, 2], data_type=FLOAT8)
    np.testing.assert_array_equal(checkpoint.read(checkpoint.tensors[0], 0, 6), [0.5, 2, -2, 0.25, 0, 896])
    [layer] = group(checkpoint).layers
    assert "F8_E4M3 on disk, dequantised" in layer.evidence[1]
    [layer] = group(quantised(opened, CODES, [1])).layers
    rms = np.sqrt((CODES.astype(float) ** 2).mean())
    assert f"about {100 / np.sqrt(12) / rms:.2g} %" in layer.evidence[2]


def test_quantised_weights_on_an_unknown_grid_are_said_to_be_none(opened):
    for checkpoint in (
        quantised(opened, CODES, np.ones((2, 3)), block_size=1),
        quantised(opened, CODES, [1, 2, 3, 4]),
        quantised(opened, CODES, [1, 2, 3], axis=7),
        quantised(opened, CODES, [1, 2, 3], np.zeros(2, "i1")),
    ):
        assert stated(checkpoint, "fc.weight_quantized") == ("fc", Use.KERNEL, (IN, OUT))
        assert checkpoint.apart[0].name == "s"
        assert [each.kind for each in checkpoint.remarks] == [UNREADABLE_TENSOR]


def test_floats_that_the_graph_quantises_are_weights(opened):
    nodes = [
        node("QuantizeLinear", "fc.weight s", "q"),
        node("DequantizeLinear", "q s", "w"),
        node("MatMul", "x w", "y"),
    ]
    checkpoint = opened(nodes, [tensor("fc.weight", arange(2, 2)), tensor("s", arange(1))])
    assert stated(checkpoint, "fc.weight") == ("fc", Use.KERNEL, (IN, OUT))
    assert not checkpoint.remarks


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("encoder.0.fc.weight", "encoder.0.fc"),
        ("model/dense_1/MatMul/ReadVariableOp:0", "model/dense_1"),
        ("model/conv/Conv2D/ReadVariableOp:0", "model/conv"),
        ("dense/kernel:0", "dense"),
        ("conv0_weight", "conv0"),
        ("layers.3.q_proj.MatMul.weight", "layers.3.q_proj"),
        ("rnn.bias_hh_l0_reverse", "rnn.weight_hh_l0_reverse"),
        ("onnx::MatMul_12", ""),
        ("val_7", ""),
        ("weight", ""),
    ],
)
def test_tensors_name_their_module(name, path):
    assert onnx_names.of_tensor(name, "MatMul") == path


@pytest.mark.parametrize(
    ("name", "path"),
    [("/net/fc/MatMul", "net.fc"), ("/c/c.0/MatMul_2", "c.0"), ("model/dense/MatMul", "model/dense"), ("MatMul_3", "")],
)
def test_nodes_name_their_module(name, path):
    assert onnx_names.of_node(name, "MatMul") == path


# --- Recurrent kernels ------------------------------------------------------------------------------


def test_an_lstm_has_an_input_and_a_hidden_kernel_and_half_of_the_bias_each(opened):
    tensors = [tensor("W", arange(1, 8, 3)), tensor("R", arange(1, 8, 2)), tensor("B", arange(1, 16))]
    checkpoint = opened([node("LSTM", "x W R B", "y", "/rnn/LSTM", hidden_size=2)], tensors)
    assert stated(checkpoint, "W") == ("rnn.weight_ih", Use.KERNEL, (TAP, OUT, IN))
    assert stated(checkpoint, "R") == ("rnn.weight_hh", Use.KERNEL, (TAP, OUT, IN))
    assert stated(checkpoint, "B[input]") == ("rnn.weight_ih", Use.BIAS, (OUT,))
    assert values(checkpoint, "B[hidden]").tolist() == list(range(8, 16))
    assert modules(checkpoint)["rnn.weight_ih"].settings == {"hidden_size": 2, "gates": "iofc"}


def test_both_directions_come_apart(opened):
    tensors = [tensor("W", arange(2, 6, 3)), tensor("R", arange(2, 6, 2)), tensor("B", arange(2, 12))]
    gru = node("GRU", "x W R B", "y", "/rnn/GRU", hidden_size=2, direction="bidirectional")
    checkpoint = opened([gru], tensors)
    assert stated(checkpoint, "W[reverse]") == ("rnn.weight_ih_reverse", Use.KERNEL, (OUT, IN))
    assert values(checkpoint, "W[reverse]").tolist() == arange(2, 6, 3)[1].tolist()
    assert values(checkpoint, "B[reverse, input]").tolist() == list(range(12, 18))
    assert {each.settings["gates"] for each in checkpoint.modules} == {"zrh"}


def sliced(source, parts, axis="zero"):
    """Nodes that put rows of a tensor together in another order, with a leading axis of one."""
    nodes = [node("Slice", f"{source} s{a} s{b} {axis}", f"{source}_{a}_{b}") for a, b in parts]
    joined = " ".join(f"{source}_{a}_{b}" for a, b in parts)
    return [*nodes, node("Concat", joined, f"{source}_c", axis=0), node("Unsqueeze", f"{source}_c zero", f"{source}_u")]


def test_gates_that_the_graph_reorders_are_named_in_stored_order(opened):
    # As PyTorch exports its (i, f, g, o) for an operator that takes (i, o, f, c).
    parts = [(0, 2), (6, LAST), (2, 6)]
    numbers = {f"s{n}": n for n in (0, 2, 6, LAST)} | {"zero": 0}
    tensors = [tensor("rnn.weight_ih", arange(8, 3)), tensor("rnn.weight_hh", arange(8, 2))]
    tensors += [tensor(name, np.array([n], "<i8"), INT64) for name, n in numbers.items()]
    nodes = [*sliced("rnn.weight_ih", parts), *sliced("rnn.weight_hh", parts)]
    nodes.append(node("LSTM", "x rnn.weight_ih_u rnn.weight_hh_u", "y", "/rnn/LSTM", hidden_size=2))
    checkpoint = opened(nodes, tensors)
    assert stated(checkpoint, "rnn.weight_ih") == ("rnn.weight_ih", Use.KERNEL, (OUT, IN))
    assert modules(checkpoint)["rnn.weight_hh"].settings["gates"] == "ifgo"


def test_kernels_that_fit_no_lstm_are_left_to_their_names(opened):
    tensors = [tensor("W", arange(1, 7, 3)), tensor("R", arange(1, 8, 2))]
    checkpoint = opened([node("LSTM", "x W R", "y", hidden_size=2)], tensors)
    assert {each.layer for each in checkpoint.tensors} == {""}


def test_the_state_to_start_from_is_no_weight(opened):
    tensors = [tensor("W", arange(1, 8, 3)), tensor("R", arange(1, 8, 2)), tensor("h0", arange(1, 1, 2))]
    rnn = left_out(node("LSTM", "x W R _ _ h0", "y", hidden_size=2))
    assert [each.name for each in opened([rnn], tensors).apart] == ["h0"]


# --- Graphs in graphs -------------------------------------------------------------------------------


def test_branches_are_looked_into(opened):
    def inner(name):
        nodes = [node("MatMul", f"h {name}.weight", "o", f"/{name}/MatMul")]
        return graph(nodes, [tensor(f"{name}.weight", arange(2, 2))], inputs=(), outputs=("o",))

    choice = (
        put(1, "x") + put(2, "i") + put(4, "If") + branch("then_branch", inner("a")) + branch("else_branch", inner("b"))
    )
    nodes = [node("MatMul", "x s.weight", "h"), choice, node("MatMul", "i e.weight", "y")]
    checkpoint = opened(nodes, [tensor("s.weight", arange(2, 2)), tensor("e.weight", arange(2, 2))])
    found = modules(checkpoint)
    assert {each.name for each in checkpoint.tensors} == {"s.weight", "a.weight", "b.weight", "e.weight"}
    assert found["a"].inputs == found["b"].inputs == ("s",)
    assert found["e"].inputs == ("a", "b")


def test_constants_of_one_name_in_two_branches_are_two_tensors(opened):
    inner = graph([node("MatMul", "x w", "o")], [tensor("w", arange(2, 2))], inputs=(), outputs=("o",))
    choice = put(1, "x") + put(2, "y") + put(4, "If") + branch("then_branch", inner) + branch("else_branch", inner)
    assert [each.name for each in opened([choice]).tensors] == ["w", "w#2"]


def test_a_loop_hands_on_what_its_body_makes(opened):
    body = graph([node("MatMul", "v w", "o")], [tensor("w", arange(2, 2))], inputs=("i", "c", "v"), outputs=("c", "o"))
    loop = b"".join(put(1, n) for n in ("n", "go", "x")) + put(2, "h") + put(4, "Loop") + branch("body", body)
    checkpoint = opened([loop, node("MatMul", "h e.weight", "y")], [tensor("e.weight", arange(2, 2))])
    before = checkpoint.modules[0].name
    assert modules(checkpoint)["e"].inputs == (before,)


def test_functions_are_written_out_where_they_are_called(opened):
    linear = put(1, "linear") + put(10, "here") + put(4, "a") + put(4, "w") + put(5, "o")
    inside = put(1, "a") + put(1, "w") + put(2, "o") + put(4, "Gemm") + put(5, put(1, "transB") + put(21, "turn"))
    call = node("linear", "x fc.weight", "y", domain="here", turn=1)
    checkpoint = opened([call], [tensor("fc.weight", arange(3, 2))], functions=[linear + put(7, inside)])
    assert stated(checkpoint, "fc.weight") == ("fc", Use.KERNEL, (OUT, IN))


def test_graphs_and_functions_without_end_are_refused(opened):
    inner = b""
    for _ in range(40):
        inner = put(1, put(4, "If") + branch("then_branch", inner))
    with pytest.raises(UnsafeCheckpoint, match="nests graphs"):
        opened([node("Relu", "x", "y") + branch("b", inner)])
    endless = put(1, "f") + put(10, "d") + put(7, node("f", "", "", domain="d"))
    with pytest.raises(UnsafeCheckpoint, match="calls functions"):
        opened([node("f", "", "", domain="d")], functions=[endless])
    chain = [put(1, f"f{k}") + put(10, "d") + put(7, node(f"f{k + 1}", "", "", domain="d")) * 100 for k in range(8)]
    with pytest.raises(UnsafeCheckpoint, match="write out"):
        opened([node("f0", "", "", domain="d")], functions=chain)


# --- Hostile files ----------------------------------------------------------------------------------


def small():
    """A model with most kinds of messages in it."""
    inner = graph([node("Relu", "h", "o")], inputs=(), outputs=("o",))
    choice = put(1, "x") + put(2, "i") + put(4, "If") + branch("then_branch", inner)
    nodes = [
        node("Gemm", "x fc.weight fc.bias", "h", "/fc/Gemm", transB=1), choice,
        node("Unsqueeze", "W", "U", axes=[0]), node("LSTM", "i U R", "y", hidden_size=1),
    ]  # fmt: skip
    tensors = [
        tensor("fc.weight", arange(3, 2)), typed("fc.bias", (3,), FLOAT, 4, arange(3).tobytes()),
        typed("n", (2,), INT64, 7, b"\x01\xac\x02"), tensor("W", arange(4, 3)), tensor("R", arange(1, 4, 1)),
        external("beside", (2,), {"location": "w.bin", "offset": 0}),
    ]  # fmt: skip
    return model(graph(nodes, tensors))


def outcome(path):
    """Open a file and read all of it: a checkpoint, or the one error that is allowed."""
    try:
        with open_onnx(path) as checkpoint:
            for each in checkpoint.tensors:
                if each.dtype in {"F32", "I64"}:
                    checkpoint.read(each, 0, each.size)
    except CheckpointError as error:
        return error
    return checkpoint


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    raw = small()
    (tmp_path / "w.bin").write_bytes(bytes(8))
    path = tmp_path / "model.onnx"
    path.write_bytes(raw)
    assert len(outcome(path).tensors) == 6
    last_field = len(put(8, put(1, "") + put(2, 17)))
    for length in range(1, len(raw)):
        path.write_bytes(raw[:length])
        found = outcome(path)
        assert isinstance(found, CheckpointError) == (length != len(raw) - last_field), length


def test_a_node_without_any_name_is_no_trouble(opened):
    nodes = [node("MatMul", "x w", "h"), put(1, "h")]
    assert opened(nodes, [tensor("w", arange(2, 2))]).modules[-1].name == "(unnamed)"


def test_any_byte_may_be_any_other(tmp_path):
    raw = small()
    (tmp_path / "w.bin").write_bytes(bytes(8))
    path = tmp_path / "model.onnx"
    random = np.random.default_rng(0)
    for position in range(len(raw)):
        mutated = bytearray(raw)
        mutated[position] = random.integers(256)
        path.write_bytes(mutated)
        outcome(path)


@pytest.mark.parametrize(
    ("raw", "name", "is_claimed"),
    [
        (model(graph([node("Relu", "x", "y")])), "model", True),
        (put(1, 8) + put(2, "p" * 5000), "model.onnx", True),
        (put(1, 8) + put(2, "p" * 5000), "model", False),
        (b"\x08\x08", "model.onnx", True),
        (put(1, 99) + put(7, b""), "model.onnx", False),
        (put(1, 1) + put(2, b"\x0a\x00" * 3000), "saved_model.pb", False),
        (b"\x08\x08\xff", "model.onnx", False),
        (b'{"a": 1}', "model.onnx", False),
    ],
)
def test_models_are_claimed_by_their_fields(tmp_path, raw, name, is_claimed):
    (tmp_path / name).write_bytes(raw)
    assert FORMAT.claims(look(tmp_path / name)) is is_claimed
