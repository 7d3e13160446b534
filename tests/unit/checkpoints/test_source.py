import os

import pytest

from regaudit.checkpoints.limits import JSON_BYTES
from regaudit.checkpoints.source import Source, inside, is_file, read_whole
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint


def test_reads_the_bytes_asked_for(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    source = Source(path)
    assert (source.size, source.read_at(3, 4), source.read_at(10, 0)) == (10, b"3456", b"")
    source.close()
    source.close()


@pytest.mark.parametrize(("offset", "count"), [(8, 3), (-1, 2), (0, -1), (11, 0)])
def test_refuses_bytes_that_are_not_there(tmp_path, offset, count):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with pytest.raises(CorruptCheckpoint):
        Source(path).read_at(offset, count)


def test_says_when_the_file_shrinks_while_open(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    source = Source(path)
    path.write_bytes(b"01")
    with pytest.raises(CorruptCheckpoint, match="became shorter"):
        source.read_at(5, 2)


def test_opens_no_pipe_and_no_directory(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(CheckpointError, match="no regular file"):
            Source(path)


def test_a_small_file_is_read_whole_and_a_large_one_refused(tmp_path, limit):
    path = tmp_path / "a"
    path.write_bytes(b"0123")
    limit("json-bytes", 4)
    assert read_whole(path, limit=JSON_BYTES) == b"0123"
    limit("json-bytes", 3)
    with pytest.raises(UnsafeCheckpoint, match="limit json-bytes is 3"):
        read_whole(path, limit=JSON_BYTES)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\0"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    with pytest.raises(UnsafeCheckpoint, match="leads out of it"):
        inside(tmp_path, name)


def test_a_name_that_is_too_long_is_a_path_to_nothing(tmp_path):
    assert not is_file(inside(tmp_path, "x" * 5000))


def test_a_link_may_stay_in_the_folder_only(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "outside").touch()
    (folder / "target").touch()
    (folder / "good").symlink_to("target")
    (folder / "bad").symlink_to("../outside")
    assert inside(folder, "good") == folder / "good"
    with pytest.raises(UnsafeCheckpoint, match="symbolic link"):
        inside(folder, "bad")


def test_the_links_of_the_hugging_face_cache_are_followed(tmp_path):
    snapshot = tmp_path / "models--x" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blob = tmp_path / "models--x" / "blobs" / "123"
    blob.parent.mkdir()
    blob.touch()
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    assert inside(snapshot, "model.safetensors").exists()


def test_arrays_are_fresh_and_hold_the_same_bytes(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(100)))
    source = Source(path)
    first, second = source.read_array(3, 40), source.read_array(3, 40)
    first[:] = 0
    assert second.tobytes() == source.read_at(3, 40)
    with pytest.raises(CorruptCheckpoint, match="asked for"):
        source.read_array(90, 11)
    path.write_bytes(b"short")
    with pytest.raises(CorruptCheckpoint, match="became shorter"):
        source.read_array(0, 100)
