"""From a Q/DQ module to a program that is loaded and run."""

import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import IMAGES, Graph, run
from torch import Tensor, fx, nn

from fxconv.errors import ConversionError, UserError
from fxconv.targets.executorch import lowering
from fxconv.targets.executorch.lowering import LARGEST_BATCH, check_sizes, is_taken, lower, lower_alike
from fxconv.targets.executorch.placement import Where

pytest.importorskip("executorch")

IS_OLD = importlib.metadata.version("executorch").startswith("1.3")


def images() -> fx.GraphModule:
    graph = Graph()
    inner = graph.quantized(graph.call(F.relu, graph.convolution()), (0.05, -128))
    return graph.done(graph.quantized(graph.call(F.hardswish, graph.read(inner))))


def network() -> fx.GraphModule:
    graph = Graph()
    inner = graph.quantized(graph.call(F.relu, graph.convolution()), (0.05, -128))
    curved = graph.quantized(graph.call(F.hardswish, graph.read(inner)))
    mean = graph.quantized(graph.call(torch.mean, graph.read(curved), (2, 3)))
    return graph.done(mean)


def test_a_program_takes_any_batch_and_gives_what_the_graph_gives() -> None:
    from fxconv.targets.executorch.runtime import load

    module = images()
    lowered = lower(module, (IMAGES[:1],), texts={"fxconv_metadata": '{"a": 1}', "fxconv_golden": "golden"})
    assert (lowered.largest_batch, lowered.fixed_batch, lowered.placement.delegates) == (LARGEST_BATCH, "", 1)
    assert lowered.placement.outside_int8() == lowered.placement.portable() == ()
    program = load(lowered.content)
    for count in (1, 2, LARGEST_BATCH):
        given = IMAGES.repeat(16, 1, 1, 1)[:count]
        assert (program(given) - run(module, given)).abs().max() <= 0.0301
    assert program.text("fxconv_metadata") == '{"a": 1}'
    assert program.text("fxconv_golden") == "golden"
    assert program.text("nothing") is None


def test_each_operation_says_for_which_int8_node_it_stands() -> None:
    operations = lower(network(), (IMAGES[:1],), largest_batch=1).placement.operations
    assert [(one.node, one.operation, one.where) for one in operations] == [
        ("n1", "convolution", Where.INT8), ("n2", "hardswish", Where.INT8), ("n3", "mean", Where.INT8),
        ("n3", "view_copy", Where.INT8),
    ]  # fmt: skip
    assert operations[0].macs == 8 * 8 * 9 * 144 and operations[0].values == 8 * 144


def test_a_mean_is_of_any_batch_where_the_runtime_does_not_write_past_its_memory() -> None:
    lowered = lower(network(), (IMAGES[:1],))
    past = "ExecuTorch 1.3 writes past its memory when an average over the image is given more images than before"
    assert (lowered.largest_batch, lowered.fixed_batch) == ((1, past) if IS_OLD else (LARGEST_BATCH, ""))
    assert lower(network(), (IMAGES[:1],), release="1.3.1").fixed_batch == past
    assert not lower(images(), (IMAGES[:1],), release="1.3.1").fixed_batch, "it has no mean"


def test_heights_and_widths_are_free_where_that_is_asked_for() -> None:
    from fxconv.targets.executorch.runtime import RefusedInput, load

    module = network()
    lowered = lower(module, (IMAGES[:1],), dynamic_sizes=(8, 40))
    assert (lowered.sizes, lowered.step) == ((8, 40), 1)
    program = load(lowered.content)
    for height, width in ((8, 8), (13, 30), (40, 40)):
        given = torch.randn(1, 8, height, width, generator=torch.Generator().manual_seed(height))
        assert (program(given) - run(module, given)).abs().max() <= 0.0301
    with pytest.raises(RefusedInput, match=r"takes tensors of .*x8x8\.\.40x8\.\.40, and is given 1x8x41x12"):
        program(torch.zeros(1, 8, 41, 12))


def test_an_example_outside_of_the_sizes_is_refused() -> None:
    with pytest.raises(UserError, match="12x12 is not among these sizes"):
        lower(network(), (IMAGES,), dynamic_sizes=(16, 32))


def test_a_network_of_one_size_says_that_it_takes_no_other() -> None:
    graph = Graph()
    given = graph.layer()
    flat = graph.quantized(graph.call(torch.reshape, graph.read(given), (-1, 8 * 144)), given.args[1:3])
    module = graph.done(graph.quantized(graph.call(F.linear, graph.read(flat), graph.weight(4, 8 * 144), None)))
    with pytest.raises(UserError, match=r"--dynamic-sizes 8:40: the network does not take images of any such size"):
        lower(module, (IMAGES[:1],), dynamic_sizes=(8, 40))


def pooled() -> fx.GraphModule:
    """Its pool rounds the number of its windows up, which export follows for sizes that a step divides."""
    graph = Graph()
    inner = graph.quantized(graph.call(F.relu, graph.convolution()), (0.05, -128))
    most = graph.call(F.max_pool2d, graph.read(inner), 3, 2, 0, 1, True)
    return graph.done(graph.quantized(graph.call(torch.mean, most, (2, 3))))


def test_a_network_that_takes_fewer_sizes_says_which() -> None:
    from fxconv.targets.executorch.runtime import RefusedInput, load

    image = torch.zeros(1, 8, 64, 64)
    lowered = lower(pooled(), (image,), dynamic_sizes=(32, 128))
    assert (lowered.sizes, lowered.step, lowered.taken) == (
        (64, 128),
        32,
        f"[[[1, {1 if IS_OLD else LARGEST_BATCH}], [8, 8], [64, 128, 32], [64, 128, 32]]]",
    )
    with pytest.raises(RefusedInput, match=r"64..128 by 32x64..128 by 32, and is given 1x8x80x64"):
        load(lowered.content)(torch.zeros(1, 8, 80, 64))
    with pytest.raises(UserError, match=r"24:72: of these sizes the network takes 64 alone, or multiples of 32; leave"):
        lower(pooled(), (image,), dynamic_sizes=(24, 72))


def test_slices_keep_the_batch_of_the_example_and_stay_in_the_delegate() -> None:
    graph = Graph()
    given = graph.layer()
    part = graph.quantized(graph.call(torch.narrow, graph.read(given), 1, 0, 4), given.args[1:3])
    lowered = lower(graph.done(part), (IMAGES,))
    assert (lowered.largest_batch, lowered.fixed_batch) == (2, "with another, XNNPACK would not run n2")
    assert {one.where for one in lowered.placement.operations} == {Where.INT8}


def test_a_model_that_binds_itself_to_its_batch_keeps_the_example_s() -> None:
    class Bound(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = images()  # of no average, which ExecuTorch 1.3 would not take

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x) if x.shape[0] < 5 else self.network(x)[:1]

    lowered = lower(Bound(), (IMAGES[:1],))
    assert lowered.largest_batch == 1 and lowered.fixed_batch.startswith("another is refused (")


def test_a_batch_that_executorch_binds_is_the_example_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compares sizes on the way, and then takes the answer for granted."""
    usual = lowering._edge_of

    def bound(program: Any, batch: int) -> Any:
        edge, placed = usual(program, batch)
        if batch > 1:
            image = next(node for node in edge.exported_program().graph.nodes if node.name == "inputs_0")
            image.meta["val"] = image.meta["val"].new_empty((batch, *image.meta["val"].shape[1:]))
        return edge, placed

    monkeypatch.setattr(lowering, "_edge_of", bound)
    lowered = lower(images(), (IMAGES[:1],))
    assert lowered.largest_batch == 1
    assert lowered.fixed_batch == "another is refused (ExecuTorch binds the sizes of the program to those of one call)"


def test_what_cannot_be_exported_is_told_in_one_line() -> None:
    class Deciding(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(ConversionError, match=r"^torch\.export does not take the Q/DQ form: .+") as refused:
        lower(Deciding(), (IMAGES,))
    assert "\n" not in str(refused.value)


def test_the_same_module_gives_the_same_bytes_in_another_process() -> None:
    here = Path(__file__)
    code = (
        "import hashlib, sys; sys.path[:0] = sys.argv[1:]; import test_executorch_lowering as t\n"
        "print(hashlib.sha256(t.lower(t.network(), (t.IMAGES[:1],), texts={'a': 'b'}).content).hexdigest())"
    )
    folders = [str(here.parent), str(here.parents[2])]
    other = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    own = lower(network(), (IMAGES[:1],), texts={"a": "b"}).content
    assert other.stdout.split()[-1] == hashlib.sha256(own).hexdigest()
    assert other.stderr == ""


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    lower(network(), (IMAGES[:1],))
    assert capfd.readouterr() == ("", "")


def test_code_that_decides_by_numbers_is_told_as_what_it_is() -> None:
    class Deciding(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum() > 0 else x - 1

    where = r"test_executorch_lowering\.py:\d+ \(return x \+ 1 .+\) decides by the numbers .+or write a \.ptl$"
    with pytest.raises(ConversionError, match=where):
        lower(Deciding(), (IMAGES,))


def test_the_least_size_is_one_that_the_network_takes_too() -> None:
    lowered = lower(pooled(), (torch.zeros(1, 8, 128, 128),), dynamic_sizes=(50, 128))
    assert (lowered.sizes, lowered.step) == ((64, 128), 32)


def test_sizes_are_of_images() -> None:
    with pytest.raises(UserError, match=r"^--dynamic-sizes 8:40: none of the model's inputs is an image \(of four dim"):
        check_sizes((torch.zeros(1, 8, 144),), [(torch.zeros(1, 8, 144),)], (8, 40))


@pytest.mark.parametrize(
    ("sides", "sizes", "is_in"),
    [((12, 12), None, True), ((12, 14), None, False), ((12, 14), (8, 40), True), ((12, 44), (8, 40), False)],
)
def test_images_to_prove_by_have_a_size_that_the_file_takes(sides, sizes, is_in) -> None:
    image = (torch.zeros(3, 8, *sides),)
    assert is_taken(image, (IMAGES,), sizes) is is_in
    assert not is_taken((torch.zeros(1, 4, 12, 12),), (IMAGES,), sizes)
    if not is_in:
        with pytest.raises(UserError, match=r"the example's size, 8x12x12, and those to calibrate with"):
            check_sizes((IMAGES,), [image], sizes)
    check_sizes((IMAGES,), [image, (IMAGES,)], sizes)


def test_constants_in_channels_last_are_laid_out_anew() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(8, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).relu()

    from fxconv.targets.executorch.runtime import load

    network = Net().eval().to(memory_format=torch.channels_last)
    program = load(lower_alike(network, (IMAGES,)))
    with torch.no_grad():
        assert (program(IMAGES) - network(IMAGES)).abs().max() < 1e-4
