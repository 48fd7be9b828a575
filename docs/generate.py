"""Write the documentation that is generated from the code; with --check, fail when a file is stale instead."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import targets_table
from fxconv.report.pages import doctor_markdown, kernels_markdown, passes_markdown
from fxconv.report.releases_page import runtimes_markdown

HERE = Path(__file__).parent


def main() -> None:
    stale = []
    targets = json.loads((HERE / "targets.json").read_text())
    pages = {
        "passes.md": passes_markdown(),
        "kernels.md": kernels_markdown(),
        "doctor.md": doctor_markdown(),
        "runtimes.md": runtimes_markdown(json.loads((HERE / "torches.json").read_text())),
        "targets.md": targets_table.page(targets, targets["networks"]),
    }
    for name, text in pages.items():
        path = HERE / name
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv[1:]:
            stale.append(name)
        else:
            path.write_text(text)
            print(f"wrote docs/{name}")
    if stale:
        raise SystemExit(f"stale: {', '.join(f'docs/{name}' for name in stale)}; run make docs")


if __name__ == "__main__":
    main()
