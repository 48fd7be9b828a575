"""One network as an ExecuTorch program: what came out, in plain values. `benchmarks/zoo.py --pte` runs it.

    python benchmarks/zoo_executorch.py MODEL --images N [--input-size SIZE] --into FILE.json

FILE is written before what may take the process with it, and again after it, as benchmarks/zoo_network.py does.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks.networks import seeded, tensors
from benchmarks.zoo_network import BATCH, in_words, peak_mib, save
from fxconv.config import MIN_SQNR, Config
from fxconv.errors import ConversionError, UserError
from fxconv.measures.latency import set_mobile_threads
from fxconv.targets.artifact import Outside

Record = dict[str, Any]


def measured(model: str, size: str | None, images: int, into: Path) -> Record:
    """The record of one network: its input, and its program as `pte`."""
    record: Record = {"model": model, "images": images, "part": "loading", "pte": {}}
    save(record, into)
    try:
        loaded, batches = seeded(model, images, size, BATCH, is_trained_like=True)
    except Exception as error:
        record["pte"] = {"error": in_words(error)}
        return record
    sizes = ["x".join(map(str, each.shape[1:])) for each in tensors(batches[0])]
    record |= {"input": " and ".join(sizes), "parameters": loaded.parameters, "part": "conversion"}
    save(record, into)
    try:
        record["pte"] = program(loaded.module, batches)
    except (UserError, ConversionError) as error:
        record["pte"] = {"refused": in_words(error)}
    except Exception as error:
        record["pte"] = {"error": in_words(error)}
    record["pte"]["peak_mib"] = peak_mib()
    record["part"] = ""
    return record


def program(module: torch.nn.Module, batches: list[Any]) -> Record:
    """Our program of a network, and what its proof found."""
    conversion = fxconv.convert(module, batches, config=Config(min_sqnr=MIN_SQNR), targets=("executorch",))
    file = conversion.files[0]
    rewritten = conversion.rewritten
    answers = conversion.ledger[-1]
    return {
        "verdict": conversion.verdict,
        "proven": conversion.proven,
        "verified": conversion.verified,
        "bytes": file.artifact.size,
        "float_bytes": file.artifact.float_bytes,
        "int8_share": file.artifact.int8_macs_share if file.artifact.macs else None,
        "outside": [_plain(one) for one in file.artifact.outside if not one.in_module],
        "reasons": dict(Counter(part.reason for part in (*rewritten.leaves, *rewritten.islands)).most_common()),
        "to_int8_db": file.to_int8_db,
        "sqnr_db": answers.sqnr_db if answers.against != "int8" else None,
        "ms": file.latency.int8_ms,
        "float_ms": file.latency.float_ms,
        "seconds": conversion.timings["total"] - conversion.timings.get("latency", 0.0),
    }


def _plain(one: Outside) -> Record:
    return {
        "operator": one.operator,
        "how": one.how,
        "calls": one.calls,
        "where": list(one.where),
        "values": one.values,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="one network as an ExecuTorch program")
    parser.add_argument("model")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--input-size", default=None)
    parser.add_argument("--into", type=Path, required=True)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    set_mobile_threads()
    torch.backends.quantized.engine = "qnnpack"
    save(measured(asked.model, asked.input_size, asked.images, asked.into), asked.into)


if __name__ == "__main__":
    main()
