"""One fault to plant: a text in a file, what takes its place, and the tests that should see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A fault in words, its file, the text that stands there once, its replacement, and tests as pytest names them."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def plant(self, root: Path) -> str:
        """Put the fault into the checkout at `root`; returns the file's text from before."""
        path = root / self.file
        before = path.read_text(encoding="utf-8")
        path.write_text(before.replace(self.old, self.new), encoding="utf-8")
        return before


def problem(mutant: Mutant, root: Path) -> str:
    """Why a mutant cannot be planted in the checkout at `root`; "" when it can."""
    path = root / mutant.file
    if not path.is_file():
        return f"{mutant.name}: there is no file {mutant.file}"
    if (found := path.read_text(encoding="utf-8").count(mutant.old)) != 1:
        return f"{mutant.name}: {mutant.file} holds {mutant.old!r} {found} times, not once"
    if mutant.old == mutant.new:
        return f"{mutant.name}: nothing is changed"
    if not mutant.tests:
        return f"{mutant.name}: no tests are named"
    missing = [test for test in mutant.tests if not (root / test.partition("::")[0]).is_file()]
    return f"{mutant.name}: there is no file {missing[0].partition('::')[0]}" if missing else ""
