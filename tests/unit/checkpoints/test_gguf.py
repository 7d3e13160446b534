import struct

import numpy as np
import pytest

from regaudit.checkpoints import ggml, gguf, gguf_header
from regaudit.checkpoints.base import UNREADABLE_TENSOR
from regaudit.checkpoints.gguf import FORMAT, open_gguf
from regaudit.checkpoints.sniff import look
from regaudit.errors import CheckpointError, CorruptCheckpoint, MissingExtra, UnknownFormat, UnsafeCheckpoint
from regaudit.layers import buffers, group

U32, U64, F32, BOOL, STRING, ARRAY = 4, 10, 6, 7, 8, 9
NUMBER = {name: number for number, name in gguf_header._TYPES.items()}


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key, kind, raw):
    return text(key) + struct.pack("<I", kind) + raw


def texts(*values):
    return struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values))


def model(tensors, pairs=(), *, version=3, alignment=32):
    """Return a GGUF file of `(name, shape in numpy's order, type, bytes)`."""
    described, data = b"", b""
    for name, shape, kind, raw in tensors:
        data += b"\0" * (-len(data) % alignment)
        number = NUMBER.get(kind, kind)
        described += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), number, len(data))
        data += raw
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs) + described
    return head + b"\0" * (-len(head) % alignment) + data


@pytest.fixture
def opened(tmp_path):
    """Return the function that writes bytes to a file and opens it; all are closed at the end."""
    found = []

    def opener(raw, name="model.gguf"):
        (tmp_path / name).write_bytes(raw)
        found.append(open_gguf(tmp_path / name))
        return found[-1]

    yield opener
    for each in found:
        each.close()


W = np.arange(64, dtype="<f4").reshape(2, 32) / 7


def test_axes_come_out_in_numpy_order_and_elements_by_position(opened):
    checkpoint = opened(model([("a.weight", (2, 32), "F32", W.tobytes())]))
    (tensor,) = checkpoint.tensors
    assert (tensor.name, tensor.shape, tensor.dtype, tensor.nbytes) == ("a.weight", (2, 32), "F32", 256)
    np.testing.assert_array_equal(checkpoint.read(tensor, 0, 64), W.reshape(-1))
    np.testing.assert_array_equal(checkpoint.read(tensor, 5, 9), W.reshape(-1)[5:9])


def test_metadata_become_the_format_and_the_configuration(opened):
    pairs = [
        pair("general.architecture", STRING, text("llama")),
        pair("tokenizer.ggml.tokens", ARRAY, texts(*"abc")),
        pair("tokenizer.ggml.scores", ARRAY, struct.pack("<IQ3f", F32, 3, 1, 2, 3)),
        pair("tokenizer.chat_template", STRING, text("x" * 300_000)),
        pair("tokenizer.ggml.add_bos_token", BOOL, b"\1"),
        pair("general.file_type", U32, struct.pack("<I", 15)),
        pair("llama.attention.head_count", U32, struct.pack("<I", 8)),
        pair("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 0.5)),
        pair("llama.embedding_length", U64, struct.pack("<Q", 64)),
    ]
    checkpoint = opened(model([("a", (2, 32), "F32", W.tobytes())], pairs))
    assert checkpoint.format == "GGUF 3, llama, mostly Q4_K_M"
    assert checkpoint.config == {
        "model_type": "llama", "num_attention_heads": 8, "rms_norm_eps": 0.5, "hidden_size": 64,
    }  # fmt: skip
    assert checkpoint.declared == ()


def test_long_vocabularies_are_walked_over_window_by_window(opened, monkeypatch):
    monkeypatch.setattr(gguf_header, "_WINDOW_BYTES", 64)
    words = [f"word {k}" * (k % 9) for k in range(500)]
    pairs = [pair("words", ARRAY, texts(*words)), pair("general.architecture", STRING, text("bert"))]
    assert opened(model([("a", (2, 32), "F32", W.tobytes())], pairs)).config == {"model_type": "bert"}


def test_an_alignment_other_than_32_is_kept(opened):
    pairs = [pair("general.alignment", U32, struct.pack("<I", 8))]
    tensors = [("a", (3,), "F32", W.tobytes()[:12]), ("b", (2, 32), "F32", W.tobytes())]
    checkpoint = opened(model(tensors, pairs, alignment=8))
    np.testing.assert_array_equal(checkpoint.read(checkpoint.tensors[1], 0, 64), W.reshape(-1))


def test_it_is_recognised_by_its_first_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"GGUF\x03\0\0\0")
    assert FORMAT.claims(look(tmp_path / "x"))


# --- Blocks, against definitions one weight at a time ---------------------------------------------


def half(raw, at):
    return np.float32(np.frombuffer(raw, "<f2", 1, at)[0])


def slow_q4_0(b):
    return [half(b, 0) * np.float32((b[2 + j % 16] >> 4 * (j // 16) & 15) - 8) for j in range(32)]


def slow_q4_1(b):
    return [half(b, 0) * np.float32(b[4 + j % 16] >> 4 * (j // 16) & 15) + half(b, 2) for j in range(32)]


def fifth(b, at, j):
    return (int.from_bytes(b[at : at + 4], "little") >> j & 1) << 4


def slow_q5_0(b):
    return [half(b, 0) * np.float32((b[6 + j % 16] >> 4 * (j // 16) & 15 | fifth(b, 2, j)) - 16) for j in range(32)]


def slow_q5_1(b):
    return [
        half(b, 0) * np.float32(b[8 + j % 16] >> 4 * (j // 16) & 15 | fifth(b, 4, j)) + half(b, 2) for j in range(32)
    ]


def slow_q8_0(b):
    return [half(b, 0) * np.float32(np.int8(np.uint8(b[2 + j]))) for j in range(32)]


def slow_q2_k(b):
    found = []
    for j in range(256):
        part, shift, place = j // 128, j % 128 // 32, j % 32
        code, scale = b[16 + 32 * part + place] >> 2 * shift & 3, b[j // 16]
        found.append(half(b, 80) * np.float32(scale & 15) * np.float32(code) - half(b, 82) * np.float32(scale >> 4))
    return found


def slow_q3_k(b):
    found = []
    for j in range(256):
        part, shift, place, group = j // 128, j % 128 // 32, j % 32, j // 16
        code = (b[32 + 32 * part + place] >> 2 * shift & 3) - (0 if b[place] >> (4 * part + shift) & 1 else 4)
        low = b[96 + group % 8] >> 4 * (group // 8) & 15
        scale = (low | (b[104 + group % 4] >> 2 * (group // 4) & 3) << 4) - 32
        found.append(half(b, 108) * np.float32(scale) * np.float32(code))
    return found


def six_bits(b, group):
    s = b[4:16]
    if group < 4:
        return s[group] & 63, s[group + 4] & 63
    return s[group + 4] & 15 | s[group - 4] >> 6 << 4, s[group + 4] >> 4 | s[group] >> 6 << 4


def slow_k(b, high):
    found = []
    for j in range(256):
        group, place = j // 32, j % 32
        code = b[(48 if high else 16) + 32 * (group // 2) + place] >> 4 * (group % 2) & 15
        code |= (b[16 + place] >> group & 1) << 4 if high else 0
        scale, minimum = six_bits(b, group)
        found.append(half(b, 0) * np.float32(scale) * np.float32(code) - half(b, 2) * np.float32(minimum))
    return found


def slow_q6_k(b):
    found = []
    for j in range(256):
        part, quarter, place = j // 128, j % 128 // 32, j % 32
        low = b[64 * part + 32 * (quarter % 2) + place] >> 4 * (quarter // 2) & 15
        code = (low | (b[128 + 32 * part + place] >> 2 * quarter & 3) << 4) - 32
        scale = np.float32(np.int8(np.uint8(b[192 + j // 16])))
        found.append(half(b, 208) * scale * np.float32(code))
    return found


def slow_q8_k(b):
    d = np.frombuffer(b, "<f4", 1)[0]
    return [d * np.float32(np.int8(np.uint8(b[4 + j]))) for j in range(256)]


LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]


def slow_iq4_nl(b):
    return [half(b, 0) * np.float32(LEVELS[b[2 + j % 16] >> 4 * (j // 16) & 15]) for j in range(32)]


def slow_iq4_xs(b):
    found = []
    for j in range(256):
        group, place = j // 32, j % 32
        high = int.from_bytes(b[2:4], "little") >> 2 * group & 3
        scale = (b[4 + group // 2] >> 4 * (group % 2) & 15 | high << 4) - 32
        code = b[8 + 16 * group + place % 16] >> 4 * (place // 16) & 15
        found.append(half(b, 0) * np.float32(scale) * np.float32(LEVELS[code]))
    return found


def slow_tq2_0(b):
    return [half(b, 64) * np.float32((b[32 * (j // 128) + j % 32] >> 2 * (j % 128 // 32) & 3) - 1) for j in range(256)]


def slow_mxfp4(b):
    levels = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6]
    return [levels[b[1 + j % 16] >> 4 * (j // 16) & 15] * 2.0 ** (b[0] - 127) for j in range(32)]


def slow_tq1_0(b):
    found = [0.0] * 256
    for start, run, digits, at in ((0, 32, 5, 0), (32, 16, 5, 160), (48, 4, 4, 240)):
        for place in range(run):
            for digit in range(digits):
                code = (b[start + place] * 3**digit % 256) * 3 // 256  # digit of a fraction of 256, in base 3
                found[at + digit * run + place] = half(b, 52) * np.float32(code - 1)
    return found


def slow_nvfp4(b):
    levels = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6]
    found = []
    for j in range(64):
        e, m = b[j // 16] >> 3 & 15, b[j // 16] & 7
        scale = 0.0 if b[j // 16] == 0x7F else (m / 8 * 2**-6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7))
        byte = b[4 + j // 16 * 8 + j % 8]
        found.append(np.float32(scale * levels[byte >> 4 if j % 16 >= 8 else byte & 15]))
    return found


SLOW = {
    "Q4_0": slow_q4_0, "Q4_1": slow_q4_1, "Q5_0": slow_q5_0, "Q5_1": slow_q5_1, "Q8_0": slow_q8_0, "Q2_K": slow_q2_k,
    "Q3_K": slow_q3_k, "Q4_K": lambda b: slow_k(b, high=False), "Q5_K": lambda b: slow_k(b, high=True),
    "Q6_K": slow_q6_k, "Q8_K": slow_q8_k, "IQ4_NL": slow_iq4_nl, "IQ4_XS": slow_iq4_xs, "TQ2_0": slow_tq2_0, "TQ1_0": slow_tq1_0,
    "NVFP4": slow_nvfp4,
    "MXFP4": slow_mxfp4,
}  # fmt: skip


def random_blocks(kind, count=3, seed=0):
    """Return blocks of random bytes, those that may be the high byte of a float bounded so that all is finite."""
    block = ggml.BLOCKS[kind]
    raw = np.random.default_rng(seed).integers(0, 256, (count, block.nbytes), dtype=np.uint8)
    for at in (1, 3, 65, 81, 83, 109, 209):
        if at < block.nbytes:
            raw[:, at] &= 0x3F
    return raw


def test_every_readable_type_has_a_definition():
    assert SLOW.keys() == ggml.READABLE - ggml.NEEDS_EXTRA
    assert ggml.BLOCKS.keys() == SLOW.keys() | ggml.NEEDS_EXTRA


@pytest.mark.parametrize("kind", sorted(ggml.BLOCKS.keys() - {"Q8_K"}))
def test_decoders_agree_with_the_package_gguf(kind):
    gguf = pytest.importorskip("gguf")
    raw = random_blocks(kind)
    expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind]).reshape(-1)
    found = ggml.read_blocks(lambda at, count: raw.tobytes()[at : at + count], 0, kind, 0, expected.size)
    np.testing.assert_array_equal(found, expected)


def test_without_the_package_a_skip_says_how_to_install_it(opened, monkeypatch):
    monkeypatch.setattr(ggml, "find_spec", lambda name: None)
    assert ggml._by_package("IQ2_XXS") is None
    monkeypatch.setattr(buffers, "READABLE", ggml.READABLE - ggml.NEEDS_EXTRA)
    checkpoint = opened(model([("blk.0.attn_q.weight", (1, 256), "IQ2_XXS", bytes(66))]))
    [skip] = group(checkpoint).skipped
    assert skip.blocking
    assert skip.reason.endswith("pip install 'regaudit[gguf]'")


@pytest.mark.parametrize("kind", SLOW)
def test_blocks_are_dequantised_as_defined(opened, kind):
    raw, size = random_blocks(kind), ggml.BLOCKS[kind].size
    expected = np.array([SLOW[kind](bytes(block)) for block in raw]).reshape(-1)
    checkpoint = opened(model([("w", (3, size), kind, raw.tobytes())]))
    (tensor,) = checkpoint.tensors
    values = checkpoint.read(tensor, 0, tensor.size)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(checkpoint.read(tensor, 7, 2 * size + 3), values[7 : 2 * size + 3])


def test_scales_that_are_not_finite_come_through(opened):
    raw = struct.pack("<e", np.inf) + bytes(range(16))
    checkpoint = opened(model([("w", (1, 32), "Q4_0", raw)]))
    assert not np.isfinite(checkpoint.read(checkpoint.tensors[0], 0, 32)).any()


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_K"])
def test_a_tensor_without_elements_is_read(opened, kind):
    checkpoint = opened(model([("w", (0, 256), kind, b"")]))
    assert checkpoint.read(checkpoint.tensors[0], 0, 0).shape == (0,)


def test_a_type_without_a_decoder_is_listed_but_not_read(opened, monkeypatch):
    monkeypatch.setattr(gguf, "READABLE", ggml.READABLE - ggml.NEEDS_EXTRA)
    checkpoint = opened(model([("w", (1, 256), "IQ2_XXS", bytes(66)), ("b", (2, 32), "F32", W.tobytes())]))
    assert [tensor.dtype for tensor in checkpoint.tensors] == ["IQ2_XXS", "F32"]
    with pytest.raises(MissingExtra, match=r"IQ2_XXS.*regaudit\[gguf\]"):
        checkpoint.read(checkpoint.tensors[0], 0, 4)


def test_a_type_that_nobody_knows_is_a_remark(opened):
    checkpoint = opened(model([("w", (1, 256), 77, bytes(66)), ("b", (2, 32), "F32", W.tobytes())]))
    assert [tensor.name for tensor in checkpoint.tensors] == ["b"]
    assert [(each.kind, each.where) for each in checkpoint.remarks] == [(UNREADABLE_TENSOR, "model.gguf: w")]


# --- Models in parts ------------------------------------------------------------------------------


def part(number, count, tensors):
    split = [pair("split.no", 2, struct.pack("<H", number)), pair("split.count", 2, struct.pack("<H", count))]
    return model(tensors, [*split, pair("general.architecture", STRING, text("llama"))])


def test_any_part_opens_the_whole_model(tmp_path):
    for number in range(2):
        name = f"m-0000{number + 1}-of-00002.gguf"
        (tmp_path / name).write_bytes(part(number, 2, [(f"w{number}", (2, 32), "F32", (W + number).tobytes())]))
    for name in ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"):
        with open_gguf(tmp_path / name) as checkpoint:
            assert [tensor.name for tensor in checkpoint.tensors] == ["w0", "w1"]
            assert checkpoint.format == "GGUF 3, 2 parts, llama"
            np.testing.assert_array_equal(checkpoint.read(checkpoint.tensors[1], 0, 64), (W + 1).reshape(-1))


def test_a_missing_part_is_named(opened):
    with pytest.raises(CheckpointError, match=r"1 of the model's 2 parts are missing: 'm-00002-of-00002.gguf'"):
        opened(part(0, 2, []), "m-00001-of-00002.gguf")


def test_a_part_under_another_name_is_refused(opened):
    with pytest.raises(CheckpointError, match="one of 2 parts"):
        opened(part(0, 2, []), "m.gguf")


def test_parts_that_hold_the_same_tensor_are_refused(tmp_path):
    for number in (1, 2):
        path = tmp_path / f"m-0000{number}-of-00002.gguf"
        path.write_bytes(part(number - 1, 2, [("w", (2, 32), "F32", W.tobytes())]))
    with pytest.raises(CorruptCheckpoint, match="is also in"):
        open_gguf(path)


# --- Hostile files --------------------------------------------------------------------------------

HUGE = 1 << 62
BAD = {
    "version 1": (b"GGUF" + struct.pack("<III", 1, 0, 0), UnknownFormat, "version 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), UnknownFormat, "big-endian"),
    "tensors": (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), UnsafeCheckpoint, "tensors; the limit"),
    "more tensors than bytes": (b"GGUF" + struct.pack("<IQQ", 3, 1000, 0), CorruptCheckpoint, "announces 1,000 tensors"),
    "pairs": (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), UnsafeCheckpoint, "pairs; the limit"),
    "key": (model([], [struct.pack("<Q", HUGE) + bytes(99)]), CorruptCheckpoint, "needs"),
    "long key": (model([], [pair("k" * 70_000, BOOL, b"\1")]), UnsafeCheckpoint, "too long.*65,536 bytes"),
    "not UTF-8": (model([], [pair(b"\xff\xfe", BOOL, b"\1")]), CorruptCheckpoint, "UTF-8"),
    "same key": (model([], [pair("k", BOOL, b"\1")] * 2), CorruptCheckpoint, "'k' occurs twice"),
    "value type": (model([], [pair("k", 13, bytes(99))]), CorruptCheckpoint, "the type 13"),
    "nested": (model([], [pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1) * 9)]), CorruptCheckpoint, "of type 9"),
    "array": (model([], [pair("k", ARRAY, struct.pack("<IQ", U64, HUGE))]), CorruptCheckpoint, "needs"),
    "texts": (model([], [pair("k", ARRAY, struct.pack("<IQ", STRING, HUGE))]), UnsafeCheckpoint, "texts in 'k'"),
    "text": (
        model([], [pair("k", ARRAY, struct.pack("<IQQ", STRING, 2, HUGE) + bytes(16))]), CorruptCheckpoint, "needs",
    ),
    "alignment": (model([], [pair("general.alignment", U32, bytes(4))]), CorruptCheckpoint, "general.alignment is '0'"),
    "axes": (model([("w", (1,) * 5, "F32", bytes(4))]), CorruptCheckpoint, "5 axes"),
    "shape": (model([("w", (HUGE, HUGE), "F32", b"")]), CorruptCheckpoint, "no tensor has the shape"),
    "zero by huge": (model([("w", (0, HUGE), "F32", b"")]), CorruptCheckpoint, "no tensor has the shape"),
    "bytes": (model([("w", (4, 32), "F32", bytes(500))]), CorruptCheckpoint, "the file has"),
    "rows": (model([("w", (4, 31), "Q4_0", bytes(500))]), CorruptCheckpoint, "do not fill blocks of 32"),
    "same name": (model([("w", (1,), "F32", bytes(4))] * 2), CorruptCheckpoint, "'w' occurs twice"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "error", "words"), BAD.values(), ids=BAD)
def test_hostile_headers_are_refused_with_a_reason(opened, raw, error, words):
    with pytest.raises(error, match=words):
        opened(raw)


def test_tensors_that_share_bytes_are_refused(opened):
    raw = bytearray(model([("a", (32,), "F32", bytes(128)), ("b", (32,), "F32", bytes(128))]))
    at = raw.index(struct.pack("<Q", 128))
    raw[at : at + 8] = struct.pack("<Q", 96)
    with pytest.raises(CorruptCheckpoint, match="'a' and 'b' share bytes"):
        opened(bytes(raw))


def test_an_offset_between_the_steps_of_the_alignment_is_refused(opened):
    raw = bytearray(model([("a", (32,), "F32", bytes(128)), ("b", (32,), "F32", bytes(128))]))
    at = raw.index(struct.pack("<Q", 128))
    raw[at : at + 8] = struct.pack("<Q", 129)
    with pytest.raises(CorruptCheckpoint, match="no multiple of 32"):
        opened(bytes(raw))


def test_a_header_beyond_the_limit_is_refused(opened, limit):
    limit("header-bytes", 1000)
    with pytest.raises(UnsafeCheckpoint, match="the limit header-bytes is 1,000 bytes"):
        opened(model([], [pair("k", STRING, text("x" * 2000))]))


PAIRS = [pair("general.architecture", STRING, text("llama")), pair("words", ARRAY, texts("a", "bc"))]
SMALL = model([("a", (2, 32), "F32", W.tobytes()), ("b", (1, 32), "Q4_0", bytes(18))], PAIRS)


def test_a_file_cut_at_any_byte_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    for length in range(len(SMALL)):
        path.write_bytes(SMALL[:length])
        with pytest.raises(CheckpointError):
            open_gguf(path)


def test_a_changed_byte_is_read_or_refused_never_another_error(tmp_path):
    path = tmp_path / "model.gguf"
    rng = np.random.default_rng(0)
    for at in range(len(SMALL) - 300):
        raw = bytearray(SMALL)
        raw[at] = int(rng.integers(256))
        path.write_bytes(raw)
        try:
            with open_gguf(path) as checkpoint:
                for tensor in checkpoint.tensors:
                    checkpoint.read(tensor, 0, tensor.size)
        except CheckpointError:
            pass
