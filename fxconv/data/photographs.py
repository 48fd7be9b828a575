"""Photographs on disk: found in a folder, and decoded to upright 8-bit greyscale or RGB."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import ExifTags, Image, UnidentifiedImageError

from fxconv.models.image_pixels import UnreadablePhotograph, decoded

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
# Named one by one: a file's content decides its format, not its suffix, and for some formats pillow starts programs.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM")
# pillow warns of files with more pixels, and refuses those with more than twice as many.
_LARGE = Image.MAX_IMAGE_PIXELS or 89_478_485
MOST_PIXELS = 2 * _LARGE
# The orientations of EXIF that lay an image on its side.
_SIDEWAYS = range(5, 9)


def find(folder: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """The photographs in a folder and the folders in it, sorted; and each folder that cannot be listed, with why.

    Links are followed and no folder is entered twice. Hidden files and folders are left out: macOS puts `._x.jpg`,
    which is no photograph, beside `x.jpg`.
    """
    found: list[Path] = []
    problems: list[OSError] = []
    entered: set[tuple[int, int]] = set()
    for home, folders, files in os.walk(folder, onerror=problems.append, followlinks=True):
        status = Path(home).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(home, name)
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            # a link to nowhere is told when it is read; a pipe is no photograph
            if path.is_symlink() or path.is_file():
                found.append(path)
    return sorted(found), [(shown(Path(e.filename), folder), str(e.strerror)) for e in problems]


def shown(path: Path, folder: Path) -> str:
    """A path inside `folder` as text for one line: what cannot be printed is escaped."""
    text = str(path.relative_to(folder)) if path != folder else str(path)
    return text if text.isprintable() else ascii(text)


def read(path: Path, mode: Literal["L", "RGB"], least: int) -> Image.Image:
    """The photograph in a file, upright, in `mode`; the first of several frames.

    A JPEG of more pixels than pillow's warning limit is decoded at a half, a quarter or an eighth of its size, as
    long as no side falls below `least` pixels. Raises `UnreadablePhotograph`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on size and on damaged metadata: the photograph is good all the same
        try:
            with Image.open(path, formats=_FORMATS) as image:
                if image.width * image.height > _LARGE:
                    image.draft(None, (least, least))
                with _silent_stderr(image.format == "TIFF"):
                    return decoded(image, mode)
        except UnreadablePhotograph:
            raise
        except Exception as error:  # a damaged file fails wherever the damage lies
            raise UnreadablePhotograph(_reason(path, error)) from error


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of the photograph in a file, which can be read, once it stands upright."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on size and on damaged metadata, as when it is read
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            try:
                sideways = image.getexif().get(ExifTags.Base.Orientation, 1) in _SIDEWAYS
            except Exception:  # metadata that cannot be read turns nothing
                sideways = False
    return (width, height) if sideways else (height, width)


@contextmanager
def _silent_stderr(wanted: bool) -> Iterator[None]:
    """Nothing on the process's stderr: libtiff prints there what pillow raises as well."""
    try:
        kept = os.dup(2) if wanted else None
    except OSError:  # it is closed
        kept = None
    if kept is None:
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MOST_PIXELS:,} pixels, as files made to exhaust the memory have"
    if isinstance(error, UnidentifiedImageError):
        return "it is empty" if not path.stat().st_size else "its content is no image of a known kind"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
