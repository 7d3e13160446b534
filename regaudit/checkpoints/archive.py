"""Zip archives as containers of arrays: members by offset, bombs and odd names refused."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from regaudit.checkpoints.base import MAX_EXPANSION, MAX_MEMBERS
from regaudit.checkpoints.source import Source
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

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
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, struct.error) as error:
            self.source.close()
            raise CorruptCheckpoint(
                str(path), f"looks like a zip archive but cannot be opened as one ({error})",
                "The download or copy was cut short; fetch the file again.",
            ) from error
        try:
            self._members = {info.filename: self._checked(info) for info in infos[: MAX_MEMBERS + 1]}
            if len(self._members) != len(infos):
                raise UnsafeCheckpoint(str(path), "the archive has two members of one name, or too many members")
        except UnsafeCheckpoint:
            self.source.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, in archive order."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """Return the inflated size of a member as the directory declares it."""
        return self._info(name).file_size

    def offset(self, name: str) -> int | None:
        """Return where a stored member's bytes begin in the file; None where it is compressed."""
        info = self._info(name)
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        header = _LOCAL_HEADER.unpack(self.source.read_at(info.header_offset, _LOCAL_HEADER.size))
        if header[0] != b"PK\x03\x04":
            raise CorruptCheckpoint(f"{self.path}: {name}", "the archive's directory points to no member header")
        offset = int(info.header_offset + _LOCAL_HEADER.size + header[9] + header[10])
        if offset + info.file_size > self.source.size:
            raise CorruptCheckpoint(f"{self.path}: {name}", "the member ends beyond the end of the file")
        return offset

    def read(self, name: str, *, limit: int) -> bytes:
        """Return a whole member, inflated.

        Raises:
            UnsafeCheckpoint: It is larger than `limit` bytes.
            CorruptCheckpoint: It does not inflate to the size that the directory declares.
        """
        info = self._info(name)
        if info.file_size > limit:
            raise UnsafeCheckpoint(
                f"{self.path}: {name}", f"the member has {info.file_size:,} bytes, the limit is {limit:,}"
            )
        offset = self.offset(name)
        if offset is not None:
            return self.source.read_at(offset, info.file_size)
        return self._inflated(info)

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def _inflated(self, info: zipfile.ZipInfo) -> bytes:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info.filename) as member:
                raw = member.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise CorruptCheckpoint(f"{self.path}: {info.filename}", f"cannot be inflated ({error})") from error
        if len(raw) != info.file_size:
            raise CorruptCheckpoint(f"{self.path}: {info.filename}", "inflates to another size than declared")
        return raw

    def _info(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise CorruptCheckpoint(f"{self.path}: {name}", "the archive has no such member")
        return self._members[name]

    def _checked(self, info: zipfile.ZipInfo) -> zipfile.ZipInfo:
        where = f"{self.path}: {info.filename}"
        if info.flag_bits & 1:
            raise UnsafeCheckpoint(where, "the member is encrypted")
        if info.filename.startswith(("/", "\\")) or ".." in info.filename.replace("\\", "/").split("/"):
            raise UnsafeCheckpoint(where, "the member's name leaves the archive")
        if info.file_size > max(info.compress_size, 1024) * MAX_EXPANSION:
            raise UnsafeCheckpoint(where, f"the member inflates to {info.file_size:,} bytes from {info.compress_size:,}")
        return info
