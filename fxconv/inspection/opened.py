"""A file, opened to be looked at: its size, and any bytes of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fxconv.inspection.found import Unreadable

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Opened:
    """An open file of `size` bytes and how it begins."""

    file: BinaryIO
    size: int
    start: bytes

    def read(self, offset: int, count: int) -> bytes:
        """Exactly these bytes. Raises `Unreadable` when the file does not have them."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise Unreadable(f"is damaged or truncated: it points beyond its end, {self.size:,} bytes; copy it again")
        self.file.seek(offset)
        found = self.file.read(count)
        if len(found) != count:
            raise Unreadable("became shorter while it was read; copy it again")
        return found

    def up_to(self, offset: int, most: int) -> bytes:
        """At most `most` bytes from there to the end."""
        return self.read(offset, max(0, min(most, self.size - offset)))

    def chunks(self, offset: int, count: int) -> Iterator[bytes]:
        """These bytes, a megabyte at a time."""
        for begin in range(offset, offset + count, _CHUNK):
            yield self.read(begin, min(_CHUNK, offset + count - begin))


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The file at `path`. Raises `Unreadable` for what is no file with something in it."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            package = (path / "Manifest.json").is_file() and path.suffix == ".mlpackage"
            raise Unreadable(f"is a folder{' (a Core ML package)' if package else ''}; give a file")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer, reading a device never end
            raise Unreadable("is a device or a pipe; give a file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise Unreadable("is empty; copy it again")
            start = file.read(512)
            if not start:
                raise Unreadable("became empty while it was read; copy it again")
            yield Opened(file, size, start)
    except FileNotFoundError:
        raise Unreadable("no such file; check the name") from None
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror or error}); check that you may read it") from error
    except ValueError as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"cannot be read ({error}); check the name") from error  # a null byte in its name
