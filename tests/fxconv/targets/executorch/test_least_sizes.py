"""The sizes that a delegate's program begins with, and calls of more images than the first."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import Graph
from torch import fx

from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.xnnpack_graph import read_xnnpack
from fxconv.targets.executorch.lowering import LARGEST_BATCH, lower

pytest.importorskip("executorch")

CHANNELS = 2048
IMAGES = torch.randn(LARGEST_BATCH, 8, 4, 4, generator=torch.Generator().manual_seed(0))


def network() -> fx.GraphModule:
    """An average over many channels, which adds up in much memory."""
    graph = Graph()
    wide = graph.call(F.conv2d, graph.read(graph.x), graph.weight(CHANNELS, 8, 1, 1), None)
    mean = graph.quantized(graph.call(torch.mean, graph.read(graph.quantized(wide)), (2, 3)))
    return graph.done(graph.quantized(graph.call(F.linear, graph.read(mean), graph.weight(4, CHANNELS), None)))


def test_the_file_begins_with_one_image() -> None:
    program = read_program(memoryview(lower(network(), (IMAGES[:1],)).content))
    forward = next(method for method in program.methods if method.name == "forward")
    graph = read_xnnpack(forward.delegates[0].blob, program.named, program.budget)
    assert {value.shape[0] for value in graph.values if value.content is None and value.shape} == {1}


def test_a_call_of_more_images_than_the_first_stays_in_its_memory(tmp_path: Path) -> None:
    """With the greatest sizes in the file the process ends, or writes over what it does not own."""
    path, lowered = tmp_path / "net.pte", lower(network(), (IMAGES[:1],))
    if lowered.fixed_batch:
        pytest.skip("ExecuTorch 1.3 writes past its memory, so that no batch is free beside an average")
    path.write_bytes(lowered.content)
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; import torch, test_least_sizes as t\n"
        "from fxconv.targets.executorch.runtime import load\n"
        "program = load(t.Path(sys.argv[1]))\n"
        "ones = torch.cat([program(image[None]) for image in t.IMAGES])\n"
        "for count in (1, 2, 32, 3, 32):\n"
        "    assert torch.equal(program(t.IMAGES[:count]), ones[:count]), count\n"
        "print('done')"
    )
    here = Path(__file__)
    folders = [str(here.parent), str(here.parents[2])]
    ran = subprocess.run([sys.executable, "-c", code, str(path), *folders], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.split()[-1:]) == (0, ["done"]), ran.stderr
