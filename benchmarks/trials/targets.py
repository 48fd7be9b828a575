"""Names under which no artifact can or should be put."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.trials.place import (
    OLD,
    OLD_ONLY,
    Done,
    Place,
    Skipped,
    Try,
    case,
    judged,
    left,
    quiet,
    small_disk,
    told,
)

TARGET = "Targets"


@case(TARGET, "a read-only disk", "-o on a tmpfs mounted read-only")
def read_only_disk(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "1m", "ro"):
        done = place.convert("-o", "disk/out.ptl")
        return judged(
            place, done, told(done, 2, "-o disk/out.ptl: the file there may not be changed"), OLD_ONLY, "disk"
        )


@case(TARGET, "a new file on a read-only disk", "-o on a tmpfs mounted read-only")
def new_on_read_only_disk(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "1m", "ro"):
        done = place.convert("-o", "disk/new.ptl")
        return judged(place, done, told(done, 2, "-o disk/new.ptl: ", "Read-only file system"), OLD_ONLY, "disk")


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    if subprocess.run(["chattr", "+i", str(path)], capture_output=True).returncode:
        raise Skipped("chattr +i needs root and a file system that knows it")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True, capture_output=True)


@case(TARGET, "a folder nobody may change", "chattr +i on the folder")
def immutable_folder(place: Place) -> tuple[Done, bool, str]:
    folder = place.folder / "kept"
    folder.mkdir()
    (folder / "out.ptl").write_bytes(OLD)
    with immutable(folder):
        done = place.convert("-o", "kept/out.ptl")
    return judged(place, done, told(done, 2, "-o kept/out.ptl: cannot be written"), OLD_ONLY, "kept")


@case(TARGET, "a file nobody may change", "chattr +i on the older artifact")
def immutable_file(place: Place) -> tuple[Done, bool, str]:
    with immutable(place.folder / "out.ptl"):
        done = place.convert()
    return judged(place, done, told(done, 2, "-o out.ptl: the file there may not be changed"), OLD_ONLY)


@case(TARGET, "a file that turns immutable", "chattr +i on the older artifact in calibration: the rename fails")
def immutable_at_commit(place: Place) -> tuple[Done, bool, str]:
    with immutable(place.folder / "out.ptl"):  # whether it can be done, and that it is undone
        subprocess.run(["chattr", "-i", str(place.folder / "out.ptl")], check=True)
        done = place.at("calibration", "chattr +i out.ptl")
    return judged(place, done, told(done, 2, "out.ptl: "), OLD_ONLY)


@case(TARGET, "a folder one may not write to", "chmod 555 on the folder; root without its capabilities")
def foreign_folder(place: Place) -> tuple[Done, bool, str]:
    folder = place.folder / "kept"
    folder.mkdir()
    (folder / "out.ptl").write_bytes(OLD)
    folder.chmod(0o555)
    ordinary = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search,-fowner")
    if os.getuid() == 0:
        place.wrapper = ordinary
        if shutil.which("setpriv") is None:
            raise Skipped("root may write everywhere, and there is no setpriv to drop that")
    done = place.convert("-o", "kept/out.ptl")
    folder.chmod(0o755)
    return judged(
        place, done, told(done, 2, "-o kept/out.ptl: cannot be written (Permission denied)"), OLD_ONLY, "kept"
    )


@case(TARGET, "a read-only file", "chmod 444 on the older artifact; root could replace it")
def read_only_file(place: Place) -> tuple[Done, bool, str]:
    (place.folder / "out.ptl").chmod(0o444)
    done = place.convert()
    return judged(place, done, told(done, 2, "the file there is read-only; choose another name"), OLD_ONLY)


def refused(target: str, *fragments: str, prepare: Callable[[Path], None] = lambda folder: None) -> Try:
    """`-o target` is a mistake, and all that was there stays."""

    def trial(place: Place) -> tuple[Done, bool, str]:
        prepare(place.folder)
        before = place.files()
        done = place.convert("-o", target)
        return judged(place, done, told(done, 2, *fragments), before)

    return trial


case(TARGET, "a folder", "-o names a folder")(
    refused("sub", "-o sub: is a folder; give a file name", prepare=lambda folder: (folder / "sub").mkdir())
)
case(TARGET, "a missing folder", "-o nowhere/out.ptl")(refused("nowhere/out.ptl", "there is no folder nowhere"))
case(TARGET, "a file for a folder", "-o net.py/out.ptl")(refused("net.py/out.ptl", "Not a directory"))
case(TARGET, "a named pipe", "-o names a pipe without a reader")(
    refused("pipe", "is a device or a pipe", prepare=lambda folder: os.mkfifo(folder / "pipe"))
)
case(TARGET, "links in a circle", "-o names a link to itself")(
    refused("circle", "symbolic links", prepare=lambda folder: (folder / "circle").symlink_to("circle"))
)
case(TARGET, "a dangling link far away", "-o names a link into a missing folder")(
    refused("link", "there is no folder", prepare=lambda folder: (folder / "link").symlink_to("nowhere/out.ptl"))
)
case(TARGET, "too long a name", "-o of 256 characters")(refused("n" * 256, "File name too long"))
case(TARGET, "the model itself", "-o net.py")(refused("net.py", "is the same file as the model"))
case(TARGET, "the model by another name", "-o names a hard link to net.py")(
    refused(
        "twin.ptl",
        "is the same file as the model",
        prepare=lambda folder: os.link(folder / "net.py", folder / "twin.ptl"),
    )
)


@case(TARGET, "/dev/null", "-o /dev/null, as root")
def null_device(place: Place) -> tuple[Done, bool, str]:
    done = place.convert("-o", "/dev/null")
    good = told(done, 2, "-o /dev/null: is a device or a pipe") and Path("/dev/null").is_char_device()
    return judged(place, done, good, OLD_ONLY)


@case(TARGET, "a photograph of --calib", "-o photographs/00.png")
def over_photograph(place: Place) -> tuple[Done, bool, str]:
    words = place.photographs()
    before = (place.folder / "photographs" / "00.png").read_bytes()
    done = place.convert(*words, "-o", "photographs/00.png")
    good = (
        told(done, 2, "is one of the files in --calib") and before == (place.folder / "photographs/00.png").read_bytes()
    )
    return judged(place, done, good, OLD_ONLY)


def linked(exists: bool) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        (place.folder / "releases").mkdir()
        real, link = place.folder / "releases" / "3.ptl", place.folder / "latest.ptl"
        link.symlink_to("releases/3.ptl")
        if exists:
            real.write_bytes(OLD)
        done = place.convert("-o", "latest.ptl")
        good = quiet(done, 0) and link.is_symlink() and place.files("releases") == {"3.ptl": "whole"}
        return done, good, "latest.ptl: still a link; releases/3.ptl: whole"

    return trial


case(TARGET, "a symbolic link", "-o names a link to an older artifact: the link stays, the file is replaced")(
    linked(True)
)
case(TARGET, "a dangling link", "-o names a link to a file that is not there yet: it is made")(linked(False))


def accepted(name: str) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        done = place.convert("-o", name)
        same, _ = left(place, {**OLD_ONLY, name: "whole"})
        return done, quiet(done, 0) and same, "the name: whole; out.ptl: old"

    return trial


case(TARGET, "a name of 255 characters", "the longest a file can have")(accepted("n" * 251 + ".ptl"))
case(TARGET, "spaces, umlauts, characters of Asia", "-o 'mein Netz ü 模型.ptl'")(accepted("mein Netz ü 模型.ptl"))
