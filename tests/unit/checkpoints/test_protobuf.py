import struct

import numpy as np
import pytest

from regaudit.checkpoints.protobuf import Wire, decode_varints, signed
from regaudit.checkpoints.source import Source
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@pytest.fixture
def wire(tmp_path):
    def make(raw):
        path = tmp_path / "message"
        path.write_bytes(raw)
        return Wire(Source(path))

    return make


def every(wire):
    return list(wire.fields((0, wire.source.size)))


def test_fields_of_each_kind_are_found(wire):
    raw = b"\x08\x96\x01" + b"\x12\x02ab" + b"\x1d" + struct.pack("<f", 0.5) + b"\x21" + struct.pack("<d", 1.0)
    found = wire(raw)
    first, text, single, double = every(found)
    assert (first.number, first.value) == (1, 150)
    assert (text.number, found.text(text)) == (2, "ab")
    assert found.number(single) == 0.5
    assert double.stop - double.start == 8


def test_long_fields_are_ranges_and_not_read(wire):
    found = wire(b"\x0a" + varint(1 << 20) + bytes(1 << 20) + b"\x10\x07")
    long, after = every(found)
    assert long.stop - long.start == 1 << 20
    assert after.value == 7


@pytest.mark.parametrize("number", [0, 1, 127, 128, 2**31 - 1, -1, -(2**31), 2**63 - 1, -(2**63)])
def test_integers_survive_the_round_trip(wire, number):
    found = wire(b"\x08" + varint(number))
    assert found.integer(every(found)[0]) == number
    assert signed(int(decode_varints(varint(number))[0])) == number


def test_repeated_integers_may_be_packed(wire):
    found = wire(b"\x0a\x04\x01\x02\xac\x02")
    assert found.integers(every(found)[0]) == [1, 2, 300]


def test_decode_varints_agrees_with_one_by_one():
    numbers = [0, 5, 127, 128, 300, 2**32, 2**64 - 1]
    assert decode_varints(b"".join(map(varint, numbers))).tolist() == numbers
    assert decode_varints(b"").dtype == np.uint64


def test_a_name_that_is_no_utf8_is_escaped(wire):
    found = wire(b"\x0a\x02a\xff")
    assert found.text(every(found)[0]) == "a\\xff"


@pytest.mark.parametrize(
    "raw",
    [b"\x08", b"\x08\x80", b"\x0a\x05ab", b"\x0d\x00", b"\x0b", b"\x00\x01", b"\x08" + b"\xff" * 11],
    ids=["no value", "cut number", "long text", "cut float", "group", "number 0", "eleven bytes"],
)
def test_malformed_fields_are_corrupt(wire, raw):
    with pytest.raises(CorruptCheckpoint, match="byte"):
        every(wire(raw))


def test_a_field_of_the_wrong_kind_is_corrupt(wire):
    found = wire(b"\x08\x01")
    for read in (found.text, found.number, found.message):
        with pytest.raises(CorruptCheckpoint, match="kind"):
            read(every(found)[0])


def test_fields_and_names_are_bounded(wire, limit):
    limit("protobuf-fields", 3)
    with pytest.raises(UnsafeCheckpoint, match="limit protobuf-fields is 3"):
        every(wire(b"\x08\x01" * 4))
    found = wire(b"\x0a" + varint(65_537) + bytes(65_537))
    with pytest.raises(UnsafeCheckpoint, match="a name of"):
        found.text(every(found)[0])


def test_more_than_ten_bytes_are_no_varint():
    with pytest.raises(ValueError, match="11 bytes"):
        decode_varints(b"\x80" * 10 + b"\x01")
