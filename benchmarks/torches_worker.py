"""What benchmarks/torches.py has another interpreter do: one with the torch in question, and what fxconv depends on.

    python benchmarks/torches_worker.py about
    python benchmarks/torches_worker.py kernels
    python benchmarks/torches_worker.py weights NETWORK INPUT_SIZE INTO.pth
    python benchmarks/torches_worker.py runs FILE.ptl

`about` prints which torch this is; `kernels`, for which torch alone is enough, what two of its kernels compute; and
`weights` writes a network's seeded weights. `runs` loads a file, then reads a number a line from standard input, and
answers with the milliseconds of so many inferences, until the input ends.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

IMAGES, BATCH = 20, 10


def about() -> None:
    import torchvision

    from fxconv.environment import has_xnnpack

    told = {"torch": plain(torch.__version__), "torchvision": plain(torchvision.__version__), "xnnpack": has_xnnpack()}
    print(json.dumps(told))


def kernels() -> None:
    """Of a million values, how many are quantized otherwise than by rounding, then adding the zero point; and a digest.

    The digest is that of layer_norm's output, a sum over floats.
    """
    draw = torch.Generator().manual_seed(0)
    values, scale, zero_point = torch.randn(1_000_000, generator=draw), 0.0237, 119
    ours = (values * (1 / torch.tensor(scale))).round().add(zero_point).clamp(0, 255)
    otherwise = torch.quantize_per_tensor(values, scale, zero_point, torch.quint8).int_repr() != ours
    normed = torch.nn.functional.layer_norm(torch.randn(64, 768, generator=draw), (768,))
    digest = hashlib.sha256(bytes(normed.view(torch.uint8).flatten().tolist())).hexdigest()[:16]
    told = {"torch": plain(torch.__version__), "quantized_otherwise": int(otherwise.sum()), "layer_norm": digest}
    print(json.dumps(told))


def plain(version: str) -> str:
    """A release without the name of its build: `2.14.1+cu130` is 2.14.1."""
    return str(version).partition("+")[0]


def weights(network: str, size: str, into: str) -> None:
    from benchmarks.networks import seeded

    loaded, _ = seeded(network, IMAGES, size, BATCH, is_trained_like=True)
    torch.save(loaded.module.state_dict(), into)


def runs(path: str) -> None:
    from fxconv import replay

    golden = replay.golden_in(path)
    torch.backends.quantized.engine = golden["engine"]
    torch.set_num_threads(1)
    module, given = replay.loaded(path), replay.inputs_of(golden, golden["cases"][0])
    print("ready", flush=True)
    for line in sys.stdin:
        taken = []
        with torch.no_grad():
            for _ in range(int(line)):
                start = time.perf_counter()
                module(*given)
                taken.append(1000 * (time.perf_counter() - start))
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    {"about": about, "kernels": kernels, "weights": weights, "runs": runs}[sys.argv[1]](*sys.argv[2:])
