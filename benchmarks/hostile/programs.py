"""Programs of the lite interpreter that do other things than compute, and golden inputs that lie."""

from __future__ import annotations

import functools
import json
import linecache
import random
import zlib
from typing import Any

from benchmarks.hostile.archives import records_of, zip_of
from benchmarks.hostile.kinds import Originals, kind
from benchmarks.hostile.pickles import MARK

# What a method does with its input, line by line; `{mark}` is a file that must not come to be.
BODIES = (
    *('torch.save(x, "{mark}")', 'torch.save(x, "../{mark}")', 'torch.save(x, "/tmp/{mark}")'),
    'x = torch.from_file("{mark}", True, 16)',
    'x = torch.from_file("/etc/passwd", False, 16, dtype=torch.uint8)',
    *("while True:\n            x = x + 1", "for _ in range(1 << 60):\n            pass"),
    "x = torch.zeros([1 << 40])",
    "x = torch.cat([x] * (1 << 24))",
    "y = [x]\n        while True:\n            y.append(torch.zeros([1 << 20]))",
    "torch.manual_seed(0)",
    'print("\\x1b[2J" + str(x))',
    'raise ValueError("\\x1b]0;title\\x07 {long}")',
    "x = torch.empty([0]).max()",
    "x = x.view([-7, 3])",
    "x = torch.conv2d(x, x)",
    'assert x.sum() > 1e9, "\\x1b[31m"',
)
WHEN = ("forward", "setstate")


_SOURCE = """
import torch
from typing import Tuple

class Harm(torch.nn.Module):
    def forward(self, x: torch.Tensor):
        {forward}
        return x

    @torch.jit.export
    def __getstate__(self):
        return (torch.ones(1), self.training)

    @torch.jit.export
    def __setstate__(self, state: Tuple[torch.Tensor, bool]):
        x = state[0]
        {setstate}
        self.training = state[1]
"""


@functools.cache
def program(body: str, when: str) -> bytes:
    import torch

    body = body.format(mark=MARK, long="long " * 20_000)
    source = _SOURCE.format(**{name: body if name == when else "pass" for name in WHEN})
    name = f"harm_{zlib.crc32(source.encode())}"  # its own, so that its bytes do not depend on what was made before
    file = f"<{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # TorchScript reads the source
    made: dict[str, Any] = {"__name__": name}
    exec(compile(source, file, "exec"), made)
    return torch.jit.script(made["Harm"]())._save_to_buffer_for_lite_interpreter()


@kind("programs that write, map files, loop, or fill the memory")
def programs(rng: random.Random, files: Originals) -> bytes:
    records = records_of(program(rng.choice(BODIES), rng.choice(WHEN)))
    golden = records_of(files["lite.ptl"])["extra/golden.json"]
    return zip_of({**records, "extra/golden.json": golden})


@kind("golden inputs that lie")
def golden(rng: random.Random, files: Originals) -> bytes:
    records = records_of(files[rng.choice(["lite.ptl", "optimized.ptl"])])
    content = json.loads(records["extra/golden.json"])
    for _ in range(rng.choice([1, 1, 2, 4])):
        place, key = rng.choice(list(_places(content)))
        place[key] = rng.choice(
            [None, -1, 0, 1 << 70, 1e308, "", "\x1b[31m", "A" * 100_000, [], [1 << 40], [-1], {}, True, [[[]]] * 9]
        )
    text = json.dumps(content)
    if rng.random() < 0.1:
        text = rng.choice(["[" * 100_000, text[: rng.randrange(len(text))], text * 2, "\x00", "NaN"])
    return zip_of({**records, "extra/golden.json": text.encode()})


def _places(value: Any) -> Any:
    """Each place in nested lists and dicts at which something else could stand."""
    keys = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
