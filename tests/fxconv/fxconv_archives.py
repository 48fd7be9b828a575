"""What lies in the archives that torch writes, to compare those of one process."""

from __future__ import annotations

import io
import re
import zipfile


def records(content: bytes) -> dict[str, bytes]:
    """What an archive holds, by name, without the numbers that TorchScript gives classes of one name in a process.

    The length of a text in a pickle goes with them, and what such a number shifts: the digest of everything, and the
    places of lines in the code.
    """
    number = rb"___torch_mangle_\d+"
    counted = re.compile(rb"X[\s\S]{4}(__torch__[\w.]*?)" + number)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        shifted = ("serialization_id", ".debug_pkl")
        named = {name: archive.read(name) for name in archive.namelist() if not name.endswith(shifted)}
    return {
        re.sub(number.decode(), "", name): re.sub(number, b"", counted.sub(rb"\1", held))
        for name, held in named.items()
    }
