"""Photographs as they lie on people's disks: every kind, size and damage, and where they hide."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fxconv.data import photographs
from fxconv.data.photographs import find, read
from fxconv.models.image_pixels import UnreadablePhotograph


def picture(height: int = 40, width: int = 60) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8))


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def pixels(path: Path, mode: str = "RGB") -> np.ndarray:
    image = read(path, mode, least=64)
    assert image.mode == mode
    return np.asarray(image)


SIXTEEN = (np.arange(40 * 60, dtype=np.uint16) * 27).reshape(40, 60)  # 0 to 64,773
GREY = np.repeat((SIXTEEN >> 8).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_keep_the_upper_eight(suffix, order, tmp_path):
    path = tmp_path / f"x.{suffix}"
    if suffix == "tif":
        Image.fromarray(SIXTEEN.astype(f"{order}u2")).save(path)
    else:
        Image.fromarray(SIXTEEN).save(path)
    assert np.array_equal(pixels(path), GREY)
    assert np.array_equal(pixels(path, "L"), GREY[:, :, 0])


def test_sixteen_bits_are_turned_upright_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = saved(Image.fromarray(SIXTEEN), tmp_path / "x.png", exif=exif)
    assert np.array_equal(pixels(path), GREY[::-1, ::-1])


@pytest.mark.parametrize(("dtype", "what"), [(np.int32, "32-bit integers"), (np.float32, "floating-point numbers")])
def test_pixels_of_unknown_range_are_refused(dtype, what, tmp_path):
    path = saved(Image.fromarray(SIXTEEN.astype(dtype) * 100), tmp_path / "x.tif")
    with pytest.raises(UnreadablePhotograph, match=f"its pixels are {what} of unknown range; save 8 or 16 bits"):
        read(path, "RGB", 64)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_kind_of_pixels_becomes_what_torchvisions_loader_makes_of_it(mode, tmp_path):
    options = {"compression": "raw"} if mode == "YCbCr" else {}
    image = picture().convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(GREY[:, :, 0]))
    path = saved(image, tmp_path / ("x.jpg" if mode == "YCbCr" else "x.tif"), **options)
    with Image.open(path) as opened:
        assert np.array_equal(pixels(path), np.asarray(opened.convert("RGB")))


def test_transparency_of_a_palette_is_dropped_without_a_warning(tmp_path):
    image = picture().convert("P")
    path = saved(image, tmp_path / "x.png", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(pixels(path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp"])
def test_the_first_of_several_frames_is_taken(suffix, tmp_path):
    red, blue = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    path = saved(red, tmp_path / f"x.{suffix}", save_all=True, append_images=[blue, blue])
    assert pixels(path)[0, 0, 0] > 250
    assert pixels(path)[0, 0, 2] < 5


def test_metadata_that_cannot_be_read_turns_nothing(tmp_path):
    path = saved(picture(), tmp_path / "x.png", exif=b"Exif\0\0" + b"\xff" * 200)
    assert np.array_equal(pixels(path), np.asarray(picture()))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A greyscale PNG of one bit a pixel whose rows are not there."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def _jpeg() -> bytes:
    data = io.BytesIO()
    picture(200, 300).save(data, "JPEG")
    return data.getvalue()


def _broken_tiff() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (300, 300), dtype=np.uint8)).save(
        data, "TIFF", compression="tiff_lzw"
    )
    content = bytearray(data.getvalue())
    content[2000:4000] = b"\xff" * 2000
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "it is empty"),
        ("text.jpg", b"no photograph", "its content is no image of a known kind"),
        ("cut.jpg", _jpeg()[:-800], "image file is truncated"),
        ("cut.png", png(8, 8)[:40], "truncated|broken|no image"),
        ("broken.tif", _broken_tiff(), "decoder error"),
        ("bomb.png", png(50_000, 50_000), "it has more than 178,956,970 pixels, as files made to exhaust the memory"),
        ("text bomb.png", png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))), "too large"),
        (
            "program.jpg",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
            "its content is no image of a known kind",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.count(".") == 1 else "",
)
def test_what_is_wrong_with_a_file_is_told_in_a_few_words(name, content, reason, tmp_path, capfd):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadablePhotograph, match=reason) as error:
        read(path, "RGB", 64)
    assert "\n" not in str(error.value)
    assert str(path) not in str(error.value)
    assert capfd.readouterr() == ("", "")  # libtiff prints to the process's own stderr


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    path = saved(picture(), tmp_path / "x.png")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", denied)
    with pytest.raises(UnreadablePhotograph, match=r"^Permission denied$"):
        read(path, "RGB", 64)


def test_a_photograph_of_a_hundred_megapixels_is_read_small_and_in_silence(tmp_path):
    path = tmp_path / "x.jpg"
    base = picture(100, 100)
    base.resize((10_000, 10_000)).save(path, quality=30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read(path, "RGB", least=512)
    assert image.size == (1250, 1250)
    expected = np.asarray(base.resize((256, 256)), np.float32)
    assert np.abs(np.asarray(image.resize((256, 256)), np.float32) - expected).mean() < 2


def test_a_smaller_photograph_is_decoded_as_it_is(tmp_path):
    path = saved(picture(400, 600), tmp_path / "x.jpg")
    with Image.open(path) as image:
        assert np.array_equal(pixels(path), np.asarray(image))


@pytest.fixture
def folder(tmp_path):
    """Photographs among everything else a folder can hold."""
    home = tmp_path / "photographs"
    for name in (
        "a.jpg",
        "B.JPEG",
        "inner/deeper/ünï 照片 .png",
        "dir.jpg/c.webp",
        "._a.jpg",
        ".hidden/d.png",
        "e.txt",
    ):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    os.mkfifo(home / "pipe.png")
    (home / "loop").symlink_to(home)
    (home / "inner" / "itself.png").symlink_to("itself.png")
    (home / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.gif").write_bytes(b"")
    return home


def test_photographs_are_found_once_wherever_they_are(folder):
    found, closed = find(folder)
    assert [str(path.relative_to(folder)) for path in found] == [
        *("B.JPEG", "a.jpg", "dir.jpg/c.webp", "inner/deeper/ünï 照片 .png", "inner/itself.png", "linked/f.gif"),
    ]
    assert closed == []


def test_a_link_to_itself_is_no_photograph(folder):
    with pytest.raises(UnreadablePhotograph, match="Too many levels of symbolic links"):
        read(folder / "inner" / "itself.png", "RGB", 64)


def test_a_folder_that_cannot_be_opened_is_named(folder, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, closed = find(folder)
    assert closed == [("inner", "Permission denied")]
    assert len(found) == 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ünï 照片.png", "ünï 照片.png"),
        ("two\nlines.png", "'two\\nlines.png'"),
        (os.fsdecode(b"\xff.png"), "'\\udcff.png'"),
    ],
)
def test_names_stay_on_their_line(name, text):
    assert photographs.shown(Path("home") / name, Path("home")) == text
