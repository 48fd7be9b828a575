"""What happens to a conversion that is interrupted, runs out of disk, or finds its files changed underfoot.

    python benchmarks/robustness.py [--only WORD]

Every case is a real process of the command line in a folder of its own, where an older artifact lies under the name the
run will write. The table goes to docs/robustness.md; the exit status is 1 when a case did not hold. Some cases need
root, for a small disk or a file nobody can replace; without it they say why they were skipped.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks.trials import company, disks, stops, targets, underfoot
from benchmarks.trials.place import (
    CASES,
    NET,
    OLD,
    ROOT,
    Place,
    Skipped,
    Try,
)

SECTIONS = (stops.STOP, disks.DISK, targets.TARGET, underfoot.UNDERFOOT, company.COMPANY)


@dataclass(frozen=True)
class Row:
    """What a case showed."""

    title: str
    did: str
    status: str
    line: str
    files: str
    verdict: str


def main() -> None:
    parser = argparse.ArgumentParser(description="what happens when something happens to a conversion")
    parser.add_argument("--only", default="", help="run the cases whose words hold this; the table is not written")
    only = parser.parse_args().only
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # what a shell in the background ignores every process below would too
    ordered = sorted(CASES, key=lambda entry: SECTIONS.index(entry[0]))
    chosen = [entry for entry in ordered if only in " ".join(entry[:3])]
    whole = reference()
    rows: list[tuple[str, Row]] = []
    for section, title, did, function in chosen:
        row = tried(title, did, function, whole)
        rows.append((section, row))
        print(
            f"{row.verdict:7}  {section}: {title} ({did})  [{row.status}] {row.line}  |  {row.files}", file=sys.stderr
        )
    if not only:
        (ROOT / "docs" / "robustness.md").write_text(table(rows))
    failed = [row.title for _, row in rows if row.verdict == "FAILED"]
    print(f"{len(rows) - len(failed)} of {len(rows)} cases held" + (f"; FAILED: {', '.join(failed)}" if failed else ""))
    raise SystemExit(1 if failed else 0)


def reference() -> bytes:
    """What an undisturbed run writes."""
    with place_of(b"") as place:
        done = place.convert()
        if done.status:
            raise SystemExit(f"an undisturbed conversion failed: {done.stderr}")
        return (place.folder / "out.ptl").read_bytes()


@contextmanager
def place_of(whole: bytes) -> Iterator[Place]:
    """A fresh folder that anybody may read, with the model and the older artifact in it."""
    folder = Path(tempfile.mkdtemp(prefix="fxconv-robustness-"))
    try:
        folder.chmod(0o755)
        (folder / "net.py").write_text(NET)
        (folder / "out.ptl").write_bytes(OLD)
        yield Place(folder, whole=whole)
    finally:
        shutil.rmtree(folder)


def tried(title: str, did: str, function: Try, whole: bytes) -> Row:
    with place_of(whole) as place:
        try:
            done, held, files = function(place)
        except Skipped as reason:
            return Row(title, did, "", "", "", f"skipped: {reason}")
        line = done.lines[-1] if done.lines else ""
        for path in (place.folder, place.folder.resolve(), ROOT):
            line, files = line.replace(f"{path}/", ""), files.replace(f"{path}/", "")
    long = re.compile(r"n{200,}")
    line, files = long.sub("nnn...", line), long.sub("nnn...", files)
    return Row(title, did, str(done.status), line.removeprefix("fxconv: error: "), files, "held" if held else "FAILED")


def table(rows: Sequence[tuple[str, Row]]) -> str:
    """The page in docs/."""
    held = sum(row.verdict == "held" for _, row in rows)
    parts = [
        "# Robustness",
        f"Written by `python benchmarks/robustness.py`, fxconv {fxconv.__version__}: {held} of {len(rows)} cases held. "
        "Each is a process of the command line in a folder of its own, in which `out.ptl` is an older artifact of the "
        "user's. *old* means that its bytes are as they were, *whole* that they are those an undisturbed run writes. "
        "The line is all that was printed on stderr, after `fxconv: error:`, warnings aside.",
    ]
    for section in SECTIONS:
        lines = [
            f"## {section}",
            "",
            "| case | what was done | exit status | line | files | |",
            "|---|---|---|---|---|---|",
        ]
        for kind, row in rows:
            if kind == section:
                cells = (row.title, row.did, row.status, row.line, row.files, row.verdict)
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
