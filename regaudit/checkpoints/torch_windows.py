"""Files within files: a stretch of a file as a source of its own, and a zip archive in it."""

from __future__ import annotations

import io
import struct
import threading
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, cast

from regaudit.checkpoints.archive import Archive
from regaudit.checkpoints.source import Source
from regaudit.errors import CheckpointError, CorruptCheckpoint

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Everything that zipfile raises for a malformed archive.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


class Window(Source):
    """Bytes [offset, offset + length) of an open file, which stays open when the window is closed."""

    def __init__(self, source: Source, offset: int, length: int) -> None:
        """Check that the bytes are there.

        Raises:
            CorruptCheckpoint: The file ends before.
        """
        if offset < 0 or length < 0 or offset + length > source.size:
            raise CorruptCheckpoint(
                str(source.path),
                f"bytes {offset:,} to {offset + length:,} are named, the file has {source.size:,}",
                "The download or copy was cut short; fetch the file again.",
            )
        self.path = source.path
        self.size = length
        self._source = source
        self._offset = offset

    def read_at(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset` of the window.

        Raises:
            CorruptCheckpoint: The window ends before that.
        """
        if offset < 0 or count < 0 or offset + count > self.size:
            place = f"{self.path}: bytes {self._offset:,} to {self._offset + self.size:,}"
            raise CorruptCheckpoint(place, f"end before {count:,} bytes at {offset:,}")
        return self._source.read_at(self._offset + offset, count)

    def close(self) -> None:
        """Do nothing: the file belongs to someone else."""


class WindowArchive(Archive):
    """A zip archive within a file, read in place."""

    def __init__(self, window: Window) -> None:
        """Read the central directory.

        Raises:
            CorruptCheckpoint: There is none in the window.
        """
        self.path = window.path
        self.source = window
        self._lock = threading.Lock()
        self._stream = None
        try:
            self._archive = zipfile.ZipFile(cast("IO[bytes]", _Stream(window)))
        except (*_ZIP_ERRORS, CheckpointError) as error:
            raise CorruptCheckpoint(str(window.path), f"holds a zip archive that cannot be opened ({error})") from error
        self._members = self._checked()


class _Stream(io.RawIOBase):
    """What zipfile wants of a file."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._window.size}[whence]
        if base + offset < 0:
            raise ValueError("before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._window.size - self._at))
        view[:count] = self._window.read_at(self._at, count) if count else b""
        self._at += count
        return count
