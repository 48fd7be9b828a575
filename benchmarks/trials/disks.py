"""Disks that are full or fail, and memory that is short."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

from benchmarks.trials.place import (
    CONVERT,
    NEW_ONLY,
    OLD_ONLY,
    Done,
    Place,
    Skipped,
    case,
    judged,
    left,
    quiet,
    small_disk,
    told,
)

DISK = "Full and failing disks"


@case(DISK, "no room for the artifact", "-o on a tmpfs of 12 kB")
def full_disk(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "12k"):
        done = place.convert("-o", "disk/out.ptl")
        return judged(place, done, told(done, 2, "No space left on device", "free some space"), OLD_ONLY, "disk")


@case(DISK, "no room for anything", "-o on a tmpfs that is full already")
def no_room(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "8k") as disk:
        (disk / "other").write_bytes(bytes(4096))
        done = place.convert("-o", "disk/out.ptl")
        return judged(place, done, told(done, 2, "No space left on device"), {**OLD_ONLY, "other": "other"}, "disk")


@case(DISK, "no room for the JSON report", "--json on a tmpfs of 8 kB, -o elsewhere")
def full_json(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "8k"):
        done = place.convert("--json", "disk/report.json")
        good = told(done, 2, "--json disk/report.json", "No space left on device", "out.ptl is written and verified")
        _, words = left(place, OLD_ONLY, "disk")
        return (
            done,
            good and place.files("disk") == OLD_ONLY and place.files()["out.ptl"] == "whole",
            (f"disk/: {words}; out.ptl: {place.files()['out.ptl']}"),
        )


@case(DISK, "no room for temporary files", "TMPDIR on a tmpfs that is full")
def full_tmp(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "8k") as disk:
        (disk / "other").write_bytes(bytes(4096))
        place.environment["TMPDIR"] = str(disk)
        done = place.convert()
        return judged(place, done, quiet(done, 0), {**NEW_ONLY, "disk": "folder"})


@case(DISK, "a limit on file sizes", "RLIMIT_FSIZE of 8 kB")
def file_size(place: Place) -> tuple[Done, bool, str]:
    done = place.convert(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
    return judged(place, done, told(done, 2, "File too large", "ulimit -f"), OLD_ONLY)


@case(DISK, "no room for stdout", "stdout is /dev/full")
def full_stdout(place: Place) -> tuple[Done, bool, str]:
    with Path("/dev/full").open("wb") as full, place.start((*CONVERT, "-o", "out.ptl"), None, full.fileno()) as process:
        _, stderr = process.communicate(timeout=300)
    done = Done(process.returncode, "", stderr)
    return judged(place, done, told(done, 2, "the output cannot be written (No space left on device)"), NEW_ONLY)


@case(DISK, "TMPDIR is missing", "TMPDIR names no folder")
def missing_tmp(place: Place) -> tuple[Done, bool, str]:
    place.environment["TMPDIR"] = str(place.folder / "nowhere")
    done = place.convert()
    return judged(place, done, quiet(done, 0), NEW_ONLY)


@case(DISK, "TMPDIR is read-only", "TMPDIR on a tmpfs mounted read-only")
def read_only_tmp(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "1m", "ro") as disk:
        place.environment["TMPDIR"] = str(disk)
        done = place.convert()
        return judged(place, done, quiet(done, 0), {**NEW_ONLY, "disk": "folder"})


@case(DISK, "too little memory", "inputs of 3x2048x2048 pixels, 1 GB left from the first image on (prlimit)")
def memory(place: Place) -> tuple[Done, bool, str]:
    if shutil.which("prlimit") is None:
        raise Skipped("there is no prlimit here")
    limit = "prlimit --pid $PPID --as=$(( $(awk '/VmSize/ {print $2}' /proc/$PPID/status) * 1024 + (1 << 30) ))"
    done = place.at("reading images", limit, "--input-size", "3x2048x2048", "--calib-count", "24")
    return judged(place, done, told(done, 2, "out of memory", "smaller --batch-size or --input-size"), OLD_ONLY)
