"""What a file is, by how it begins; and, where it is no model, what else it is."""

from __future__ import annotations

from fxconv.inspection.opened import Opened
from fxconv.inspection.printable import printable

# Files of other kinds, and what to do about them.
_OTHERS = (
    (b"\x1f\x8b", "is compressed by gzip; unpack it first"),
    (b"BZh", "is compressed by bzip2; unpack it first"),
    (b"\xfd7zXZ\0", "is compressed by xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
    (b"Rar!", "is a rar archive; unpack it first"),
    (b"\x93NUMPY", "is a NumPy array, no model; fxconv convert --calib and --example take one"),
    (b"\x89PNG", "is a PNG image, no model; fxconv convert --calib takes a folder of them"),
    (b"\xff\xd8\xff", "is a JPEG image, no model; fxconv convert --calib takes a folder of them"),
    (b"GIF8", "is a GIF image, no model; fxconv convert --calib takes a folder of them"),
    (b"II*\0", "is a TIFF image, no model; fxconv convert --calib takes a folder of them"),
    (b"MM\0*", "is a TIFF image, no model; fxconv convert --calib takes a folder of them"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes, no model of torch's"),
    (b"GGUF", "is a GGUF model, which other programs run; fxconv takes PyTorch models"),
    (b"\x7fELF", "is a program or library, no model"),
    (b"%PDF", "is a PDF document, no model"),
    (b"version https://git-lfs", "is a pointer of Git LFS, no model; fetch the file itself with git lfs pull"),
)
_ACCEPTED = (
    "fxconv inspect takes TorchScript, lite-interpreter archives, what torch.save writes, safetensors, ExecuTorch, ONNX"
)
_TAR = 257


def otherwise(opened: Opened, suffix: str) -> str:
    """What a file is that holds no model, and how to mend that, in words; `suffix` is that of its name."""
    start = opened.start
    for beginning, words in _OTHERS:
        if start.startswith(beginning):
            return words
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "is a WebP image, no model; fxconv convert --calib takes a folder of them"
    if start[_TAR : _TAR + 5] == b"ustar" or start.startswith(b"sys_info\0"):
        return "is a tar archive, as torch.save wrote before version 0.1.10 of 2017; unpack it, or save it anew"
    line = start[:80].decode("utf-8", "ignore").strip().split("\n")[0].strip()
    if len(line) > 3 and line.isprintable() and b"\0" not in start:
        return f'is a text that begins "{printable(line, 60)}", no model; {_ACCEPTED}'
    if suffix.lower() == ".onnx":  # ONNX has no mark at its beginning by which a damaged one is known
        return (
            f"is a damaged ONNX file (it begins with the bytes {start[:8].hex(' ')}); copy it again, or export it anew"
        )
    return f"is of no kind known here: it begins with the bytes {start[:8].hex(' ')}; {_ACCEPTED}"


def other_archive(names: list[str]) -> str:
    """What a zip archive is that torch did not write, in words."""
    if names and all(name.endswith(".npy") for name in names):
        return "is a NumPy archive (.npz), no model; fxconv convert --calib and --example take one"
    if any(name.endswith("AndroidManifest.xml") for name in names):
        return "is an Android package (.apk or .aar), no model; unpack it and look at the model in its assets"
    listed = ", ".join(printable(name, 40) for name in names[:3])
    return (
        f"is a zip archive that torch did not write ({listed or 'nothing in it'}); if a model is in it, unpack it first"
    )
