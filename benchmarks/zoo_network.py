"""Both flows on one network: what came out, in plain values. `python benchmarks/zoo.py` runs it a process a network.

    python benchmarks/zoo_network.py MODEL --images N [--input-size SIZE] [--model-arg KEY=VALUE]... [--no-stock]
        --into FILE.json

MODEL is whatever `fxconv convert` takes. FILE is written again after each part, so that what was found is there even
when the next part takes the process with it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks import stock
from benchmarks.latency import medians
from benchmarks.networks import is_detector, seeded, tensors
from fxconv.config import MIN_SQNR, Config
from fxconv.errors import ConversionError, UserError, described, one_line
from fxconv.measures.latency import set_mobile_threads
from fxconv.models import forward
from fxconv.report.json import plain
from fxconv.targets.artifact import Artifact
from fxconv.targets.mobile import lite_file
from fxconv.targets.mobile.lite_file import load_lite
from fxconv.verification import parity
from rewrites import ALTERNATIVES, DEFAULT_PASSES

BATCH, SCORED = 4, 8
FEWEST, MOST, SECONDS, WARM_UP = 5, 60, 2.0, 1
Record = dict[str, Any]


def measured(
    model: str, size: str | None, images: int, with_stock: bool, into: Path, arguments: Sequence[str] = ()
) -> Record:
    """The record of one network: its input, `ours`, and `stock` where that flow is asked for."""
    record: Record = {"model": model, "images": images, "part": "loading", "ours": {}, "stock": {}}
    save(record, into)
    try:
        loaded, batches = seeded(model, images, size, BATCH, is_trained_like=True, arguments=arguments)
    except Exception as error:
        record["ours"] = {"error": in_words(error)}
        return record
    sizes = ["x".join(map(str, each.shape[1:])) for each in tensors(batches[0])]
    record |= {"input": " and ".join(sizes), "parameters": loaded.parameters}
    given = [row for batch in batches for row in zip(*(each.split(1) for each in tensors(batch)), strict=True)]
    scored, detects = given[:SCORED], is_detector(loaded.module)
    with tempfile.TemporaryDirectory() as folder:
        files = {"ours": Path(folder, "ours.ptl"), "stock": Path(folder, "stock.ptl")}
        record["part"] = "fxconv"
        save(record, into)
        try:
            record["ours"] = ours(loaded.module, batches, files["ours"])
        except Exception as error:
            record["ours"] = {"error": in_words(error)}
        record["ours"]["peak_mib"] = peak_mib()
        if with_stock:
            record["part"] = "stock flow"
            save(record, into)
            start = time.perf_counter()
            try:
                stock.write(loaded.module, batches, files["stock"])
                record["stock"] = {"seconds": time.perf_counter() - start}
            except stock.StockError as error:
                record["stock"] = {"error": f"{error}: {in_words(error.__cause__ or error)}"}
        record["part"] = "comparison"
        save(record, into)
        record["is_detector"] = detects
        # Boxes are compared in the ledger, before they are sorted and suppressed.
        written = {flow: path for flow, path in files.items() if path.exists() and not detects}
        called = [loaded.signature.arguments(row) for row in scored]
        reference = forward.outputs(loaded.module, called) if written else []
        del loaded
        for flow, path in written.items():
            try:
                record[flow] |= scores(path, reference, scored)
            except Exception as error:
                record[flow].setdefault("error", f"the file does not run: {in_words(error)}")
        if all("sqnr_db" in record[flow] for flow in files):
            modules = {flow: load_lite(path) for flow, path in files.items()}
            found, ratio = medians(modules, given[0], FEWEST, MOST, SECONDS, WARM_UP)
            record["ratio"] = ratio
            for flow in files:
                record[flow]["ms"] = found[flow]
    record["part"] = ""
    return record


def ours(module: torch.nn.Module, batches: list[Any], path: Path) -> Record:
    """Our conversion, its file at `path` whatever the verdict."""
    conversion = fxconv.convert(module, batches, config=Config(min_sqnr=MIN_SQNR))
    written = conversion.artifact
    path.write_bytes(written.data)
    parity = {row.stage: row for row in conversion.ledger}
    rewritten = conversion.rewritten
    reasons = [part.reason for part in (*rewritten.leaves, *rewritten.islands)]
    tolerances = {rule.name: rule.tolerance for rule in (*DEFAULT_PASSES, *ALTERNATIVES)}
    inexact = [r.name for r in rewritten.results if r.edits and tolerances.get(r.name)]
    return {
        "verdict": conversion.verdict,
        "verified": conversion.verified,
        "converted": conversion.converted,
        "max_abs_diff": parity["rewritten"].max_abs_diff,
        "tolerance": rewritten.tolerance,
        "inexact_passes": inexact,
        "ledger_sqnr_db": parity["int8"].sqnr_db,
        **described_file(written),
        "float_bytes": written.float_bytes,
        "parts": len(rewritten.graphs),
        "leaves": [f"{leaf.path}: {leaf.reason}" for leaf in rewritten.leaves],
        "unfolded_norms": [asdict(norm) for norm in rewritten.unfolded_norms],
        "islands": len(rewritten.islands),
        "reasons": dict(Counter(reasons).most_common()),
        "ms": conversion.latency.int8_ms,
        "float_ms": conversion.latency.float_ms,
        "rewriting_seconds": conversion.timings.get("rewriting", 0.0),
        "seconds": conversion.timings["total"] - conversion.timings.get("latency", 0.0),
    }


def described_file(written: Artifact) -> Record:
    """What the written file computes with."""
    macs = written.macs
    total = sum(macs.values())
    stubs = ("aten::quantize_per_tensor", "aten::dequantize")
    return {
        "bytes": written.size,
        "int8_share": written.int8_macs_share if total else None,
        "float_macs": {op: n / total for op, n in macs.items() if not op.startswith("quantized::")},
        "quantize_dequantize": sum(written.calls.get(stub, 0) for stub in stubs),
    }


def scores(path: Path, reference: forward.Outputs, images: list[tuple[Any, ...]]) -> Record:
    """The file on disk against the float model: SQNR over the images, of its worst output."""
    content = described_file(lite_file.describe(path, path.read_bytes(), images[0], 0))
    row = parity.close_enough("file", reference, forward.outputs(load_lite(path), images), MIN_SQNR)
    return {**content, "sqnr_db": row.sqnr_db, "scored": len(images), "problem": row.problem}


def in_words(error: BaseException) -> str:
    """An exception in one line; fxconv's own say all they have to say by themselves."""
    return one_line(str(error)) if isinstance(error, (UserError, ConversionError)) else described(error)


def peak_mib() -> float:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def save(record: Record, path: Path) -> None:
    """Write the record, whole or not at all."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(plain(record), indent=1))
    beside.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="both flows on one network")
    parser.add_argument("model")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--input-size", default=None)
    parser.add_argument("--model-arg", action="append", default=[])
    parser.add_argument("--no-stock", action="store_true")
    parser.add_argument("--into", type=Path, required=True)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    set_mobile_threads()
    torch.backends.quantized.engine = "qnnpack"
    with_stock = not asked.no_stock
    found = measured(asked.model, asked.input_size, asked.images, with_stock, asked.into, asked.model_arg)
    save(found, asked.into)


if __name__ == "__main__":
    main()
