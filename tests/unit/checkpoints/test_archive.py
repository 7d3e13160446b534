import struct
import zipfile

import pytest

from regaudit.checkpoints.archive import Archive
from regaudit.checkpoints.limits import PICKLE_BYTES
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

CONTENT = bytes(range(256)) * 40


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def archive(tmp_path, request):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", request.param) as file:
        file.writestr("x", b"before")
        file.writestr("data", CONTENT)
    opened = Archive(tmp_path / "a.zip")
    yield opened
    opened.close()


def test_members_are_read_whole_or_in_part(archive):
    assert archive.names == ("x", "data")
    assert archive.size("data") == len(CONTENT)
    assert archive.read("data", limit=PICKLE_BYTES) == CONTENT
    assert archive.read_at("data", 300, 5) == CONTENT[300:305]
    assert archive.read_at("x", 1, 3) == b"efo"
    assert archive.read_at("data", 10, 5) == CONTENT[10:15]
    assert archive.read_at("data", len(CONTENT), 0) == b""


def test_a_read_beyond_the_end_is_refused(archive, limit):
    limit("pickle-bytes", 100)
    with pytest.raises(CorruptCheckpoint):
        archive.read_at("data", len(CONTENT) - 1, 2)


def test_a_member_above_the_limit_is_refused(archive, limit):
    limit("pickle-bytes", 100)
    with pytest.raises(UnsafeCheckpoint, match="the limit pickle-bytes is 100"):
        archive.read("data", limit=PICKLE_BYTES)


def test_an_unknown_member_is_refused(archive, limit):
    limit("pickle-bytes", 100)
    with pytest.raises(CorruptCheckpoint, match="no such member"):
        archive.size("y")


def test_stored_members_lie_at_an_offset_of_the_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("data", CONTENT)
    offset = Archive(tmp_path / "a.zip").offset("data")
    assert (tmp_path / "a.zip").read_bytes()[offset : offset + len(CONTENT)] == CONTENT


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "..\\evil"])
def test_names_that_leave_the_archive_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(UnsafeCheckpoint, match="leaves the archive"):
        Archive(tmp_path / "a.zip")


def test_two_members_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a", b"2")
    with pytest.raises(UnsafeCheckpoint, match="two members"):
        Archive(tmp_path / "a.zip")


def test_a_bomb_is_refused(tmp_path, limit):
    limit("expansion", 10)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(1_000_000))
    with pytest.raises(UnsafeCheckpoint, match="inflates to 1,000,000 bytes"):
        Archive(tmp_path / "a.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_methods_that_may_demand_much_memory_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as file:
        file.writestr("a", b"1")
    with pytest.raises(UnsafeCheckpoint, match="compression method"):
        Archive(tmp_path / "a.zip")


def test_an_encrypted_member_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"1")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(UnsafeCheckpoint, match="encrypted"):
        Archive(path)


def test_members_that_share_their_bytes_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", CONTENT)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    entry = raw[at : raw.index(b"PK\x05\x06")]
    entries = b"".join(entry[:-1] + bytes([97 + i]) for i in range(20))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 20, 20, len(entries), at, 0)
    path.write_bytes(bytes(raw[:at]) + entries + end)
    with pytest.raises(UnsafeCheckpoint, match="overlap"):
        Archive(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_truncated_archive_is_corrupt_at_every_length(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a", b"some content")
    raw = path.read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(CorruptCheckpoint):
            Archive(path)


def test_damaged_content_is_corrupt(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", CONTENT)
    raw = bytearray(path.read_bytes())
    raw[50:60] = bytes(10)
    path.write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match="inflate"):
        Archive(path).read("a", limit=PICKLE_BYTES)
