"""Bytes by offset: the only way in which readers touch a file.

`os.pread` has no shared seek position, so threads may read one file at once; and unlike `mmap` a file that
shrinks meanwhile gives a short read, not a SIGBUS.
"""

from __future__ import annotations

import os
from pathlib import Path

from regaudit.errors import CheckpointError, CorruptCheckpoint


class Source:
    """A local file, open for positioned reads."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            CheckpointError: The file cannot be opened.
        """
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise CheckpointError(str(path), f"cannot be opened ({error.strerror})") from error
        self.size = os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`.

        Raises:
            CorruptCheckpoint: The file ends before that.
        """
        if offset < 0 or count < 0 or offset + count > self.size:
            raise CorruptCheckpoint(
                str(self.path),
                f"bytes {offset:,} to {offset + count:,} are asked for, the file has {self.size:,}",
                "The download or copy was cut short; fetch the file again.",
            )
        parts: list[bytes] = []
        while count:
            part = os.pread(self._descriptor, count, offset)
            if not part:
                raise CorruptCheckpoint(str(self.path), "the file became shorter while it was read")
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
