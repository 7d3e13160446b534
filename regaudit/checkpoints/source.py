"""Bytes by offset: the only way in which readers touch a file.

`os.pread` has no shared seek position, so threads may read one file at once; and unlike `mmap` a file that
shrinks meanwhile gives a short read, not a SIGBUS.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from regaudit.checkpoints.text import quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from regaudit.checkpoints.limits import Limit
    from regaudit.records import Array


class Source:
    """A local file, open for positioned reads."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            CheckpointError: The file cannot be opened, or is no regular file.
        """
        self.path = path
        try:
            # NOTE: without O_NONBLOCK, opening a named pipe waits for a writer, for ever.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise CheckpointError(str(path), f"cannot be opened ({_reason(error)})") from error
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise CheckpointError(str(path), "is no regular file")
        self.size = status.st_size

    def read_at(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`.

        Raises:
            CorruptCheckpoint: The file ends before that, or the disk cannot read it.
        """
        self._require(offset, count)
        parts: list[bytes] = []
        while count:
            part = self._read_some(offset, count)
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_array(self, offset: int, count: int) -> Array:
        """Return exactly `count` bytes from `offset` as a fresh array, which may be written to and viewed as numbers.

        Raises:
            CorruptCheckpoint: The file ends before that, or the disk cannot read it.
        """
        import numpy as np  # `--help` does not pay for it

        self._require(offset, count)
        array = np.empty(count, np.uint8)
        rest = array.data
        while rest:
            done = self._read_into(rest, offset)
            rest, offset = rest[done:], offset + done
        return array

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _require(self, offset: int, count: int) -> None:
        if offset < 0 or count < 0 or offset + count > self.size:
            raise CorruptCheckpoint(
                str(self.path),
                f"bytes {offset:,} to {offset + count:,} are asked for, the file has {self.size:,}",
                "The download or copy was cut short; fetch the file again.",
            )

    def _read_some(self, offset: int, count: int) -> bytes:
        try:
            part = os.pread(self._descriptor, count, offset)
        except OSError as error:
            raise self._unreadable(offset, error) from error
        return part or self._shrunk()

    def _read_into(self, buffer: memoryview, offset: int) -> int:
        try:
            done = os.preadv(self._descriptor, [buffer], offset)
        except OSError as error:
            raise self._unreadable(offset, error) from error
        return done or self._shrunk()

    def _unreadable(self, offset: int, error: OSError) -> CorruptCheckpoint:
        return CorruptCheckpoint(str(self.path), f"cannot be read at byte {offset:,} ({_reason(error)})")

    def _shrunk(self) -> NoReturn:
        raise CorruptCheckpoint(
            str(self.path), "the file became shorter while it was read", "Try again when nothing writes to it."
        )


def read_whole(path: Path, *, limit: Limit) -> bytes:
    """Return the content of a small file.

    Raises:
        UnsafeCheckpoint: It is larger than the limit.
    """
    source = Source(path)
    try:
        if source.size > limit.value:
            raise UnsafeCheckpoint(str(path), *limit.exceeded(f"has {source.size:,} bytes", needed=source.size))
        return source.read_at(0, source.size)
    finally:
        source.close()


def is_file(path: Path) -> bool:
    """Return whether there is a regular file; False also where that may not be known (a link into a locked folder)."""
    try:
        return path.is_file()
    except OSError:
        return False


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that another file of the folder names, or that belongs beside it.

    A symbolic link must stay in the folder. One exception: the Hugging Face cache keeps every file as a link from
    `snapshots/<revision>/` to `blobs/` beside it.

    Raises:
        UnsafeCheckpoint: The name is no plain file name, or its link leads elsewhere.
    """
    if name in {"", ".", ".."} or "/" in name or "\\" in name or "\0" in name:
        raise UnsafeCheckpoint(
            str(folder),
            f"{quoted(name)} is named as a file of this folder, but leads out of it",
            "Whoever made this means harm or made a mistake; fetch the model from another place.",
        )
    path = folder / name
    if os.path.islink(path):  # noqa: PTH114, Path.is_symlink raises on a name that is too long
        target = Path(os.path.realpath(path))
        if not any(target.is_relative_to(root) for root in _roots(Path(os.path.realpath(folder)))):
            raise UnsafeCheckpoint(
                str(path),
                f"is a symbolic link to {quoted(str(target))}, outside of its folder",
                "If you trust it, put the file itself in the folder.",
            )
    return path


def _roots(folder: Path) -> tuple[Path, ...]:
    blobs = (parent.parent / "blobs" for parent in folder.parents if parent.name == "snapshots")
    return (folder, *blobs)


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
