"""Files and folders that change while a conversion uses them."""

from __future__ import annotations

import subprocess

import numpy as np

from benchmarks.trials.place import (
    NEW_ONLY,
    OLD_ONLY,
    Done,
    Place,
    Try,
    case,
    judged,
    quiet,
    told,
)

UNDERFOOT = "Changes underfoot"


def changed(moment: str, action: str, status: int, *fragments: str, expected: dict[str, str]) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        (place.folder / "made").mkdir()
        done = place.at(moment, action, "-o", "made/out.ptl")
        good = told(done, status, *fragments) if status else quiet(done, 0)
        found = place.files("made") if (place.folder / "made").is_dir() else {}
        return done, good and found == expected, ", ".join(f"{n}: {k}" for n, k in found.items()) or "none"

    return trial


case(UNDERFOOT, "the target's folder is deleted early", "rm -r in calibration")(
    changed("calibration", "rm -r made", 2, "made/out.ptl: there is no folder made", expected={})
)
case(UNDERFOOT, "the target's folder is deleted late", "rm -r before the latency is measured")(
    changed("latency", "rm -r made", 2, "made/out.ptl: the file vanished", expected={})
)
case(UNDERFOOT, "the target's folder is deleted at the rename", "rm -r just before")(
    changed("rename", "rm -r made", 2, "made/out.ptl: the file vanished", expected={})
)
case(UNDERFOOT, "the staged file is deleted", "rm before the latency is measured")(
    changed("latency", "rm made/.out*", 2, "made/out.ptl: the file vanished", expected={})
)
case(UNDERFOOT, "a folder takes the target's name", "mkdir in lowering")(
    changed("lowering", "mkdir made/out.ptl", 2, "made/out.ptl: is a folder", expected={"out.ptl": "folder"})
)
case(UNDERFOOT, "a file takes the target's name", "somebody writes it in lowering: it is replaced, as any older one")(
    changed("lowering", "touch made/out.ptl", 0, expected={"out.ptl": "whole"})
)
case(UNDERFOOT, "the model's file is deleted", "rm net.py in rewriting: it has been read")(
    changed("rewriting", "rm net.py", 0, expected={"out.ptl": "whole"})
)


def photographs_change(moment: str, action: str, status: int, *fragments: str) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        done = place.at(moment, action, *place.photographs(), "--json", "report.json")
        found = place.files()
        if status:
            return done, told(done, status, *fragments) and found == OLD_ONLY, "out.ptl: " + found["out.ptl"]
        good = done.status == 0 and not done.lines and found == {"out.ptl": "other", "report.json": "other"}
        good &= all(text in done.stderr for text in fragments)
        return done, good, "out.ptl: new, verified; report.json"

    return trial


for _title, _action, _status, _fragments in (
    ("some are deleted", "rm photographs/0[5-9].png", 0, ("left out of calibration",)),
    ("some are truncated", "truncate -s 100 photographs/0[5-9].png", 0, ("left out of calibration",)),
    ("some become folders", "rm photographs/0[5-9].png; mkdir photographs/05.png photographs/06.png", 0,
     ("left out of calibration",)),
    ("some are added", "cp photographs/00.png photographs/new.png", 0, ()),
    ("all are deleted", "rm photographs/*", 2, ("photographs",)),
    ("the folder is deleted", "rm -r photographs", 2, ("photographs",)),
):  # fmt: skip
    for _moment in ("reading images", "calibration"):
        case(UNDERFOOT, f"photographs: {_title}", f"`{_action}` at {_moment}")(
            photographs_change(_moment, _action, _status, *_fragments)
        )


def array_changes(action: str) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        np.save(place.folder / "inputs.npy", np.random.default_rng(0).normal(size=(400, 3, 32, 32)).astype(np.float32))
        done = place.at("calibration", action, "--calib", "inputs.npy", "--calib-count", "400")
        found = place.files()["out.ptl"]
        return done, told(done, 2, "--calib inputs.npy: ") and found == "old", f"out.ptl: {found}"

    return trial


case(UNDERFOOT, "the array is deleted", "`rm inputs.npy` at calibration")(array_changes("rm inputs.npy"))
case(UNDERFOOT, "the array is truncated", "`truncate -s 5000 inputs.npy` at calibration")(
    array_changes("truncate -s 5000 inputs.npy")
)


@case(UNDERFOOT, "the checkpoint is deleted", "`rm weights.pth` at rewriting: it has been read")
def weights_deleted(place: Place) -> tuple[Done, bool, str]:
    program = "import torch, net; torch.save(net.net().state_dict(), 'weights.pth')"
    subprocess.run([place.python, "-c", program], cwd=place.folder, check=True)
    done = place.at("rewriting", "rm weights.pth", "--weights", "weights.pth")
    return judged(place, done, quiet(done, 0), NEW_ONLY)
