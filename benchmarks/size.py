"""Bytes of the written files: fxconv's int8 beside float and the stock flow's int8.

    python benchmarks/size.py

Written to docs/size.md; exits with status 1 when an int8 file is larger than 0.29 of float's.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks import stock
from benchmarks.networks import TEN, machine, seeded, table, write

MOST = 0.29


def main() -> None:
    warnings.filterwarnings("ignore")
    rows, large = [], []
    for name in TEN:
        loaded, batches = seeded(name)
        artifact = fxconv.convert(loaded.module, batches, min_sqnr=-1000.0).artifact
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "stock.ptl"
            stock.write(loaded.module, batches, path)
            theirs = path.stat().st_size
        ratio = artifact.size / artifact.float_bytes
        if ratio > MOST:
            large.append(f"{name}: {ratio:.3f} of float, {MOST} allowed")
        sizes = [f"{size:,}" for size in (artifact.size, theirs, artifact.float_bytes)]
        rows.append([name, *sizes, f"{ratio:.3f}", f"{artifact.size / theirs:.3f}"])
        print(" ".join(rows[-1]), file=sys.stderr)
    write(
        "size.md",
        "# Size",
        f"Written by `python benchmarks/size.py`; {machine()}.",
        "Bytes of the `.ptl`. Float is the same rewritten network, fused and lowered the same way. fxconv's weights "
        "have a scale for each channel, the stock flow's one for each layer.",
        table(["network", "fxconv", "stock flow", "float", "to float", "to stock"], rows),
    )
    if large:
        raise SystemExit("\n".join(large))


if __name__ == "__main__":
    main()
