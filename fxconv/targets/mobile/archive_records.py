"""The records of an archive of torch's: read one at a time, and written as torch's reader wants them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping

# Written by the writer itself. Which of the two it is depends on the version, by which operators of old mean something
# else: div before version 4 rounds whole numbers down.
_VERSIONS = ("version", ".data/version")
_WRITERS_OWN = (*_VERSIONS, "byteorder", ".data/serialization_id")


class Records(Mapping[str, bytes]):
    """What is in an archive, by name without its root folder.

    Each is read when it is asked for: an archive is mostly weights, and they need not be in memory twice.
    """

    def __init__(self, content: bytes) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        self._names = {name.partition("/")[2]: name for name in self._archive.namelist()}

    def __getitem__(self, name: str) -> bytes:
        return self._archive.read(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def version(self) -> int:
        """The version of the archive's format."""
        return max(int(self[name]) for name in _VERSIONS if name in self)


def archive(records: Iterable[tuple[str, bytes]], version: int) -> bytes:
    """An archive of these records, in this order, not deflated, and each at a multiple of 64 bytes."""
    import torch  # here: records are read without it

    written = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(written)
    writer.set_min_version(version)
    for name, content in records:
        if name not in _WRITERS_OWN:
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return written.getvalue()
