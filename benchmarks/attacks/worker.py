"""Converts and judges one model after the other in one process: requests on stdin, a line of JSON for each on stdout.

echo '{"name": "decision_by_data_x_max_3_2_net", "is_sound": false, "method": "auto"}' | python worker.py
"""

from __future__ import annotations

import importlib.util
import io
import json
import random
import re
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch import nn
from torch.jit.mobile import _load_for_lite_interpreter

import fxconv
from benchmarks.attacks import ATTACKS, Attack
from benchmarks.attacks.images import CALIBRATION, PROBES
from benchmarks.attacks.judge import compare, outcome
from fxconv.cli import exit_status

# The grade of a fidelity that tells of a wrong file by itself.
_POOR = '"poor"'


def tried(attack: Attack, is_sound: bool, method: str, folder: Path) -> dict[str, Any]:
    """Convert an attack or its twin, and judge the file: what a row of the page needs, as JSON has it."""
    start = time.perf_counter()
    path = attack.write(folder, is_sound)
    options = {"recipe": ("none",), "method": method, **attack.options}
    images = CALIBRATION[attack.calibration]()
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    said, crash, status, conversion = "", "", 0, None
    try:
        with redirect_stdout(io.StringIO()):
            conversion = fxconv.convert(load(path), images, **options)
    except (Exception, SystemExit) as error:
        end = exit_status.outcome_of(error)
        status, said = end.status, end.line
        if "INTERNAL ERROR" in said or status not in (1, 2):
            crash = traceback.format_exc(limit=-3)
    row: dict[str, Any] = {
        "share": None,
        "warnings": [],
        "method": method,
        "sqnr": None,
        "trouble": "",
        "fidelity": None,
    }
    comparison = None
    if conversion is not None:
        said = conversion.verdict if not conversion.verified else ""
        status = 0 if conversion.verified else 1
        if conversion.verified:
            comparison = judged(path, conversion.artifact.data, attack, folder)
            row |= {"sqnr": comparison.sqnr, "trouble": comparison.trouble}
        row |= {"share": conversion.artifact.int8_macs_share, "warnings": list(conversion.warnings)}
        row |= {"method": conversion.config.method.value, "fidelity": conversion.report.json().get("fidelity")}
    lines = names(attack, path, [said, *row["warnings"]])
    is_poor = _POOR in json.dumps(row["fidelity"])
    ended = outcome(status == 0, comparison, bool(lines) or is_poor, crash)
    said = said.replace(str(path), path.name).replace(str(folder), "")
    return row | {
        "outcome": ended,
        "named": bool(lines),
        "says": said or next(iter(lines), "fidelity: poor" if is_poor else ""),
        "status": status,
        "crash": crash,
        "seconds": time.perf_counter() - start,
    }


def names(attack: Attack, path: Path, texts: list[str]) -> list[str]:
    """Those of the texts that name a deciding line, or what the kind of attack wants named."""
    patterns = [rf"{re.escape(path.name)}(:|, line ){line}\b" for line in attack.lines()]
    patterns += [attack.named] if attack.named else []
    return [text for text in texts if any(re.search(pattern, text) for pattern in patterns)]


def judged(path: Path, data: bytes, attack: Attack, folder: Path) -> Any:
    """The file, read back from the disk, beside the float model as its source makes it."""
    file = folder / f"{path.stem}.ptl"
    file.write_bytes(data)
    return compare(load(path), _load_for_lite_interpreter(str(file)), PROBES[attack.probes]())


def load(path: Path) -> nn.Module:
    """What make_net() of a file gives, in evaluation mode."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    net: nn.Module = module.make_net()
    return net.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.backends.quantized.engine = "qnnpack"
    warnings.simplefilter("ignore")
    by_name = {attack.name: attack for attack in ATTACKS}
    with tempfile.TemporaryDirectory(prefix="fxconv-attacks-") as folder:
        for line in sys.stdin:
            request = json.loads(line)
            attack = by_name[request.pop("name")]
            print(json.dumps(tried(attack, **request, folder=Path(folder))), flush=True)


if __name__ == "__main__":
    main()
