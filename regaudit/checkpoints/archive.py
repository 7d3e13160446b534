"""Zip archives as containers of arrays: members by offset, bombs and odd names refused."""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from typing import IO, TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.source import Source
from regaudit.checkpoints.text import DAMAGED, quoted
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

    from regaudit.checkpoints.limits import Limit

# Everything that zipfile raises for a malformed archive; a closed or encrypted one is a RuntimeError or ValueError.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError,
)  # fmt: skip
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # an LZMA member may demand gigabytes for its dictionary
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")


class Archive:
    """An open zip file. Stored members are read in place; compressed ones are inflated within bounds."""

    def __init__(self, path: Path) -> None:
        """Read the central directory.

        Raises:
            CorruptCheckpoint: No valid central directory (a truncated file, most often).
            UnsafeCheckpoint: Two members of one name, encryption, a name that leaves the archive, or a bomb.
        """
        self.path = path
        self.source = Source(path)
        self._lock = threading.Lock()
        self._stream: IO[bytes] | None = None  # the compressed member that was read last
        try:
            self._archive = zipfile.ZipFile(path)
        except _ZIP_ERRORS as error:
            self.source.close()
            raise CorruptCheckpoint(
                str(path),
                f"looks like a zip archive but cannot be opened as one ({error})",
                "The download or copy was cut short; fetch the file again.",
            ) from error
        try:
            self._members = self._checked()
        except UnsafeCheckpoint:
            self.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, in archive order."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """Return the inflated size of a member as the directory declares it."""
        return self._info(name).file_size

    def offset(self, name: str) -> int | None:
        """Return where a stored member's bytes begin in the file; None where it is compressed.

        Raises:
            CorruptCheckpoint: The member's own header contradicts the archive's directory.
        """
        info = self._info(name)
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        if info.compress_size != info.file_size:
            raise CorruptCheckpoint(self._where(name), "the archive declares two sizes for a stored member")
        header = _LOCAL_HEADER.unpack(self.source.read_at(info.header_offset, _LOCAL_HEADER.size))
        if header[0] != b"PK\x03\x04":
            raise CorruptCheckpoint(self._where(name), "the archive's directory points to no member header")
        offset = int(info.header_offset + _LOCAL_HEADER.size + header[9] + header[10])
        if offset + info.file_size > self.source.size:
            raise CorruptCheckpoint(self._where(name), "the member ends beyond the end of the file")
        return offset

    def read(self, name: str, *, limit: Limit) -> bytes:
        """Return a whole member, inflated.

        Raises:
            UnsafeCheckpoint: It is larger than the limit.
        """
        info = self._info(name)
        if info.file_size > limit.value:
            problem = f"the member has {info.file_size:,} bytes"
            raise UnsafeCheckpoint(self._where(name), *limit.exceeded(problem, needed=info.file_size))
        return self.read_at(name, 0, info.file_size)

    def read_at(self, name: str, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes of a member from `offset` in its inflated content. Thread-safe.

        A compressed member is inflated in pieces up to there and never held whole; reading it forwards, piece by
        piece, inflates it once.

        Raises:
            CorruptCheckpoint: The member ends before that, or does not inflate.
        """
        begin = self.offset(name)
        if begin is None:
            return self._inflated(self._info(name), offset, count)
        if offset + count > self.size(name):
            raise CorruptCheckpoint(self._where(name), f"ends before byte {offset + count:,}")
        return self.source.read_at(begin + offset, count)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._stream is not None:
                self._stream.close()
            self._archive.close()
        self.source.close()

    def _inflated(self, info: zipfile.ZipInfo, offset: int, count: int) -> bytes:
        with self._lock:
            try:
                if self._stream is None or self._stream.name != info.filename:
                    self._stream = self._archive.open(info.filename)
                self._stream.seek(offset)
                raw = self._stream.read(count)
            except _ZIP_ERRORS as error:
                self._stream = None
                raise CorruptCheckpoint(
                    self._where(info.filename),
                    f"cannot be inflated ({str(error) or 'its data end too early'})",
                    DAMAGED,
                ) from error
        if len(raw) != count:
            raise CorruptCheckpoint(self._where(info.filename), "inflates to another size than declared")
        return raw

    def _info(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise CorruptCheckpoint(self._where(name), "the archive has no such member")
        return self._members[name]

    def _where(self, name: str) -> str:
        return f"{self.path}: {quoted(name)}"

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._archive.infolist()
        members = {info.filename: info for info in infos}
        if len(members) != len(infos):
            raise UnsafeCheckpoint(str(self.path), "the archive has two members of one name")
        if len(infos) > limits.MEMBERS.value:
            raise UnsafeCheckpoint(
                str(self.path), *limits.MEMBERS.exceeded(f"the archive has {len(infos):,} members", needed=len(infos))
            )
        if sum(info.compress_size for info in infos) > self.source.size:
            raise UnsafeCheckpoint(str(self.path), "the archive's members overlap")
        for info in infos:
            self._check(info)
        return members

    def _check(self, info: zipfile.ZipInfo) -> None:
        where = self._where(info.filename)
        if info.flag_bits & 1:
            raise UnsafeCheckpoint(where, "the member is encrypted")
        if info.compress_type not in _METHODS:
            raise UnsafeCheckpoint(where, f"compression method {info.compress_type}; only deflate is read")
        if info.filename.startswith(("/", "\\")) or ".." in info.filename.replace("\\", "/").split("/"):
            raise UnsafeCheckpoint(where, "the member's name leaves the archive")
        if info.file_size > max(info.compress_size, 1024) * limits.EXPANSION.value:
            problem = f"the member inflates to {info.file_size:,} bytes from {info.compress_size:,}"
            raise UnsafeCheckpoint(
                where, *limits.EXPANSION.exceeded(problem, needed=-(-info.file_size // max(info.compress_size, 1024)))
            )
