"""Models made to get a wrong file verified, each with a sound twin; how often that works.

    python benchmarks/adversary.py [--only PATTERN] [--jobs N] [--anew]

The attacks are those of benchmarks/attacks. Each is converted by every method it names, its twin by the first, in
processes that do nothing else, and every file is judged beside the float model on inputs that the conversion did not
see, without fxconv's own checks. What was found is kept in benchmarks/results, so that an interrupted run goes on where
it stopped as long as neither fxconv nor the attacks change. The table goes to docs/adversary.md; the exit status is 1
when a wrong file was verified in silence, fxconv crashed, a twin suffered, or less than half is right of what has a
cure.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import queue
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks.attacks import ATTACKS, Attack
from benchmarks.attacks.judge import OUTCOMES

ROOT = Path(__file__).resolve().parent.parent
_SECONDS, _STARTS = 120.0, 60.0
_ENOUGH_INT8 = 0.9
# A share is a count over another, written in decimals.
_SLACK = 1e-6


@dataclass(frozen=True)
class Trial:
    """One conversion: an attack or its twin, by one method."""

    attack: Attack
    is_sound: bool
    method: str

    @property
    def request(self) -> dict[str, Any]:
        """What the process that makes it reads."""
        return {"name": self.attack.name, "is_sound": self.is_sound, "method": self.method}


def main() -> None:
    parser = argparse.ArgumentParser(description="models made to get a wrong file verified")
    parser.add_argument("--only", default="*", help="attacks whose name fits, with * and ?; the page is not written")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--anew", action="store_true", help="forget what an earlier run found")
    words = parser.parse_args()
    chosen = [attack for attack in ATTACKS if fnmatch.fnmatch(attack.name, words.only)]
    if not chosen:
        parser.error("no attack has such a name")
    kept = Kept(ROOT / "benchmarks" / "results" / "adversary.jsonl", words.anew)
    run(trials(chosen), kept, words.jobs)
    rows = [Row.of(attack, kept) for attack in chosen]
    if words.only == "*":
        (ROOT / "docs" / "adversary.md").write_text(page(rows))
    wrong = [f"{row.attack.name}: {line}" for row in rows for line in row.wrong]
    print("\n".join([*wrong, summary(rows)]))
    right, cured = of_the_cured(rows)
    raise SystemExit(1 if wrong or right * 2 < cured else 0)


def trials(attacks: Sequence[Attack]) -> list[Trial]:
    """Each attack by its methods, and its twin by the first; the first of each kind before the second of any."""
    place: Counter[str] = Counter()
    ordered = []
    for attack in attacks:
        ordered.append((place[attack.kind], attack))
        place[attack.kind] += 1
    return [
        trial
        for _, attack in sorted(ordered, key=lambda pair: pair[0])
        for trial in (*(Trial(attack, False, how) for how in attack.methods), Trial(attack, True, attack.methods[0]))
    ]


class Kept:
    """What was found, by trial, in a file of one line each; of other code or another model nothing is known."""

    def __init__(self, path: Path, is_anew: bool = False) -> None:
        self.path, self.code, self.found = path, _code(), dict[str, dict[str, Any]]()
        path.parent.mkdir(parents=True, exist_ok=True)
        for entry in map(json.loads, path.read_text().splitlines() if path.exists() and not is_anew else []):
            self.found[entry["trial"]] = entry["row"]
        if is_anew:
            path.unlink(missing_ok=True)

    def __contains__(self, trial: Trial) -> bool:
        return self._key(trial) in self.found

    def __getitem__(self, trial: Trial) -> dict[str, Any]:
        return self.found[self._key(trial)]

    def add(self, trial: Trial, row: dict[str, Any]) -> None:
        self.found[self._key(trial)] = row
        with self.path.open("a") as file:
            print(json.dumps({"trial": self._key(trial), "row": row}), file=file, flush=True)

    def _key(self, trial: Trial) -> str:
        """Of all that the result hangs on."""
        return hashlib.sha256(f"{self.code} {trial}".encode()).hexdigest()


def _code() -> str:
    attacks = ROOT / "benchmarks" / "attacks"
    files = [path for folder in ("fxconv", "rewrites") for path in (ROOT / folder).rglob("*.py")]
    files += [attacks / name for name in ("worker.py", "judge.py", "images.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def run(wanted: Sequence[Trial], kept: Kept, jobs: int) -> None:
    """Make the trials that nothing is known of, in so many processes, each of which is started again when it ends."""
    left: queue.SimpleQueue[Trial] = queue.SimpleQueue()
    for trial in wanted:
        if trial not in kept:
            left.put(trial)
    total = left.qsize()

    def work(_: int) -> None:
        while not left.empty():
            for trial, row in answers(_taken(left)):
                kept.add(trial, row)
                what = f"{trial.attack.name}{' (twin)' * trial.is_sound}, {trial.method}"
                print(
                    f"{total - left.qsize()}/{total} {row['outcome']:12} {what}: {row['says'][:150]}", file=sys.stderr
                )

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, range(jobs)))


def _taken(left: queue.SimpleQueue[Trial]) -> Iterator[Trial]:
    while True:
        try:
            yield left.get_nowait()
        except queue.Empty:
            return


def answers(wanted: Iterator[Trial]) -> Iterator[tuple[Trial, dict[str, Any]]]:
    """What one process found; it ends with the trial that ends the process, or takes it too long."""
    words = [sys.executable, str(ROOT / "benchmarks" / "attacks" / "worker.py")]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=settings)
    assert process.stdin is not None and process.stdout is not None
    try:
        for number, trial in enumerate(wanted):
            start, most = time.perf_counter(), _SECONDS + (0 if number else _STARTS)
            with suppress(BrokenPipeError):  # it has ended, and says nothing more
                print(json.dumps(trial.request), file=process.stdin, flush=True)
            ready, _, _ = select.select([process.stdout], [], [], most)
            line = process.stdout.readline() if ready else ""
            if not line:
                says = "the process ended" if ready else f"no answer in {most:.0f} s"
                yield trial, _crash(says, time.perf_counter() - start)
                return
            yield trial, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def _crash(says: str, seconds: float) -> dict[str, Any]:
    found = {"outcome": "crashed", "says": says, "seconds": seconds, "crash": says, "named": False, "warnings": []}
    return found | {"share": None, "sqnr": None, "trouble": "", "status": None, "method": ""}


@dataclass(frozen=True)
class Row:
    """One attack: what came of it by each method, and of its twin."""

    attack: Attack
    found: tuple[dict[str, Any], ...]
    twin: dict[str, Any]

    @classmethod
    def of(cls, attack: Attack, kept: Kept) -> Row:
        found = tuple(kept[Trial(attack, False, method)] for method in attack.methods)
        return cls(attack, found, kept[Trial(attack, True, attack.methods[0])])

    @property
    def twins_fault(self) -> str:
        """How the twin suffers, "" when it does not: it must be right, as much in int8, and not be warned of."""
        if self.twin["outcome"] != "right":
            return f"{self.twin['outcome']}: {self.twin['says']}"
        if self.twin["named"]:
            return f"warned of what it does not do: {self.twin['says']}"
        most = max([_ENOUGH_INT8, *(row["share"] for row in self.found if row["outcome"] == "right")])
        is_dynamic = self.attack.options.get("mode") == "dynamic"  # layers that it is not for stay float
        if not is_dynamic and self.twin["share"] < most - _SLACK:
            return f"{self.twin['share']:.0%} in int8 instead of {most:.0%}"
        return ""

    @property
    def wrong(self) -> list[str]:
        """What must not be."""
        both = zip(self.attack.methods, self.found, strict=True)
        said = [f"{how}: {one['outcome']} ({_answer(one)})" for how, one in both if one["outcome"] in OUTCOMES[3:]]
        return said + ([f"twin: {self.twins_fault}"] if self.twins_fault else [])


def _answer(row: dict[str, Any]) -> str:
    if row["outcome"] in ("crashed", "refused", "told"):
        return str(row["says"])
    return row["trouble"] or ("equal" if row["sqnr"] == float("inf") else f"{row['sqnr']:.0f} dB")


def of_the_cured(rows: Sequence[Row]) -> tuple[int, int]:
    """How many conversions of attacks that have a cure are right, and of how many; half of them must be."""
    found = [one["outcome"] for row in rows if row.attack.is_cured for one in row.found]
    return found.count("right"), len(found)


def summary(rows: Sequence[Row]) -> str:
    """All in one line."""
    ended = Counter(one["outcome"] for row in rows for one in row.found)
    counts = ", ".join(f"{ended[outcome]} {outcome}" for outcome in OUTCOMES)
    sound = sum(not row.twins_fault for row in rows)
    right, cured = of_the_cured(rows)
    return (
        f"{len(rows)} attacks, {sum(ended.values())} conversions: {counts}; {right} of {cured} right where there is a "
        f"cure; {sound} of {len(rows)} twins unharmed"
    )


_HEAD = """\
# Models made to get a wrong file verified

Written by `python benchmarks/adversary.py`, fxconv {version}. {summary}.

An attack is a model whose file may be wrong where nobody looks: it decides by data or by a size, remembers, draws
random numbers, or drowns one part of its output in another. Its twin differs in the one point and is sound. Both are
converted without a recipe, on {side} x {side} images of which none comes back: the file that `fxconv convert` verified
is loaded in the lite interpreter and compared with the float model on images held back, louder, of other sizes or in
other batches, as the kind asks. No check of fxconv's own is used.

*Refused* is exit status 1 or 2 and no file; *named* of these say the deciding line, the channel or the output. *Told*
is a file that is wrong, of which a warning names the line, or what it is about. *Right* answers like float: at least
{least:g} dB for each output, {channel:g} dB for each channel about its own mean, 90 % of whole numbers and truth
values. *Silent wrong* is a file that was verified without such a word, and is wrong. *Cured* are the kinds for which
fxconv has a way to answer right. A twin is unharmed when it is right, with no less int8, and without that warning.
"""
_COLUMNS = (
    *("kind", "attacks", "conversions", "refused", "of these named", "told", "right", "silent wrong", "crashed"),
    *("cured kind", "twins unharmed"),
)


def page(rows: Sequence[Row]) -> str:
    """The page in docs/."""
    from benchmarks.attacks import images, judge

    least, channel = judge.LEAST, judge.LEAST - judge.OF_A_CHANNEL
    parts = [
        _HEAD.format(version=fxconv.__version__, summary=summary(rows), side=images.SIDE, least=least, channel=channel),
        _table(_COLUMNS, [_of_kind(kind, rows) for kind in dict.fromkeys(row.attack.kind for row in rows)]),
    ]
    faults = [(row, line) for row in rows for line in row.wrong]
    if faults:
        parts.append("## What must not be\n")
        parts.append(
            "\n".join(f"- {row.attack.kind}, `{row.attack.title}`: {_cell(line)}" for row, line in faults) + "\n"
        )
    for kind in dict.fromkeys(row.attack.kind for row in rows):
        parts.append(f"## {kind[0].upper()}{kind[1:]}\n")
        parts.append(_table(("attack", "method", "ended", "line, or how it answers"), list(_lines(kind, rows))))
    return "\n".join(parts).rstrip() + "\n"


def _of_kind(kind: str, rows: Sequence[Row]) -> list[str]:
    of_it = [row for row in rows if row.attack.kind == kind]
    found = [one for row in of_it for one in row.found]
    n = Counter(one["outcome"] for one in found)
    named = sum(one["outcome"] == "refused" and one["named"] for one in found)
    cured, sound = sum(row.attack.is_cured for row in of_it), sum(not row.twins_fault for row in of_it)
    counts = [n["refused"], named, n["told"], n["right"], n["silent wrong"], n["crashed"]]
    share = f"{n['right']} of {len(found)} right" if cured * 2 > len(of_it) else ""
    return [kind, *map(str, [len(of_it), len(found), *counts]), share, f"{sound} of {len(of_it)}"]


def _lines(kind: str, rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        if row.attack.kind == kind:
            for how, one in zip(row.attack.methods, row.found, strict=True):
                mode = row.attack.options.get("mode")
                yield [f"`{_cell(row.attack.title)}`", mode or how, one["outcome"], _cell(_answer(one))]


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def _cell(text: str) -> str:
    cut = text if len(text) <= 240 else f"{text[:240]}..."
    return cut.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
