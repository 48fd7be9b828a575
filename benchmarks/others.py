"""Networks of packages other than torchvision, converted as they come: no file of theirs is edited, none written.

    python benchmarks/others.py [--results DIR] [--again]

The packages come with `pip install .[benchmark]`. A process a network, as benchmarks/zoo.py has it; written to
docs/other_packages.md. Exits with status 1 when one is not converted and verified.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.networks import ROOT, machine, table, write
from benchmarks.zoo import MOST_GIB, MOST_SECONDS, Zoo
from benchmarks.zoo_plan import Plan
from benchmarks.zoo_table import OUTCOME, converted, float_reasons, items, outcome, verified, why

RESULTS = ROOT / "benchmarks" / "results" / "others"
IMAGES = 4


@dataclass(frozen=True)
class Other:
    """A network: its package's distribution name, what `fxconv convert` is given, its input, and what it is made of."""

    package: str
    model: str
    size: str
    parts: str


NETWORKS = (
    Other("timm", "timm.models.mobilevit:mobilevit_xxs", "256", "SiLU, depthwise convolution, attention, layer norm"),
    Other("timm", "timm.models.efficientnet:test_efficientnet_gn", "160", "group norm, SiLU, squeeze-excite"),
    Other("pytorchcv", "pytorchcv.models.efficientnet:efficientnet_b0", "224", "squeeze-excite, SiLU written out"),
    Other("timm", "timm.models.metaformer:poolformer_s12", "224", "GELU, group norm, layer norm"),
    Other("geffnet", "geffnet:mixnet_s", "224", "mixed depthwise kernels, SiLU, squeeze-excite"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="networks of other packages")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument("--again", action="store_true", help="run again what is recorded")
    asked = parser.parse_args()
    zoo = Zoo(asked.results, MOST_SECONDS, MOST_GIB)
    plans = [Plan(other.model, other.size, IMAGES, 0.0) for other in NETWORKS]
    zoo.run_all([plan for plan in plans if asked.again or zoo.record(plan) is None], 2)
    records = [zoo.record(plan) or {} for plan in plans]
    about = [[other.model, f"{other.package} {version(other.package)}", other.parts,
              f"{record.get('parameters', 0):,}"] for other, record in zip(NETWORKS, records, strict=True)]  # fmt: skip
    write(
        "other_packages.md",
        "# Networks of other packages",
        f"Written by `python benchmarks/others.py` on {machine()}. Each was converted as its package installs it, "
        "named on the command line: `fxconv convert MODEL --weights random --input-size SIZE`. Seeded weights, batch "
        "norms re-estimated, generated images; the columns are those of [zoo.md](zoo.md).",
        table(["MODEL", "package", "with", "parameters"], about),
        table(OUTCOME.split(","), map(outcome, records)),
        "What stays in float:",
        items((r["model"], float_reasons(r["ours"]) if verified(r) else why(r)) for r in records),
    )
    if failed := [record["model"] for record in records if not converted(record)]:
        raise SystemExit(f"not converted and verified: {', '.join(failed)}")


if __name__ == "__main__":
    main()
