import numpy as np
import pytest
import torch

from regaudit.checkpoints import dtypes

TORCH = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
}
NUMPY = {
    "F64": "f8", "F32": "f4", "C64": "c8", "C128": "c16", "BOOL": "?",
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1",
}  # fmt: skip
# OCP Microscaling Formats (MX) 1.0, table 5: the eight magnitudes of E2M1.
FP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]


@pytest.mark.parametrize("dtype", TORCH)
def test_every_code_of_a_float_decodes_as_torch_decodes_it(dtype):
    bits = dtypes.DTYPES[dtype].bits
    raw = np.arange(1 << bits, dtype=f"<u{bits // 8}").tobytes()
    expected = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(TORCH[dtype]).float().numpy()
    decoded = dtypes.decode(dtype, raw)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, expected)
    np.testing.assert_array_equal(np.signbit(decoded[expected == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.parametrize("dtype", [name for name in TORCH if name != "F8_E8M0"])
def test_the_largest_finite_value_is_torchs(dtype):
    assert dtypes.largest_finite(dtype) == torch.finfo(TORCH[dtype]).max


def test_integers_have_no_largest_finite_value():
    assert dtypes.largest_finite("I64") is None


def test_fp4_has_two_codes_to_a_byte_the_first_in_the_low_half():
    codes = range(16)
    raw = bytes(low | high << 4 for low, high in zip(codes[::2], codes[1::2], strict=True))
    assert dtypes.decode("F4", raw).tolist() == FP4 + [-value for value in FP4]


@pytest.mark.parametrize(("dtype", "kind"), NUMPY.items())
def test_what_numpy_knows_keeps_its_type(dtype, kind):
    values = np.array([0, 1, 1, 0], kind)
    decoded = dtypes.decode(dtype, values.tobytes())
    assert decoded.dtype == values.dtype
    np.testing.assert_array_equal(decoded, values)
    decoded[0] = 1  # a fresh array, the caller may write


def test_packed_elements_are_counted_in_half_bytes():
    assert [dtypes.nbytes("F4", n) for n in range(4)] == [0, 1, 1, 2]
    assert dtypes.nbytes("F64", 3) == 24


@pytest.mark.parametrize(("start", "stop"), [(0, 8), (1, 8), (1, 2), (2, 5), (3, 3), (7, 8)])
def test_a_span_of_packed_elements_may_begin_in_the_middle_of_a_byte(start, stop):
    raw = b"??" + bytes([0x10, 0x32, 0x54, 0x76])
    span = dtypes.read_span(lambda offset, count: raw[offset : offset + count], 2, "F4", start, stop)
    assert span.tolist() == FP4[start:stop]
