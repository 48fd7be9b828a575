"""Files side by side, as they are printed."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from fxconv.environment import Environment
from fxconv.measures.runs import Runs
from fxconv.report.bench import print_bench
from fxconv.targets.mobile.op_profile import Call
from fxconv.targets.proof.bench import Bench, Benched


def printed(*files: Benched) -> list[str]:
    stream = io.StringIO()
    found = Bench(files, 3, 1, 2, Environment("2.12.1", "0.27.1", "qnnpack", True))
    print_bench(found, Console(file=stream, width=10_000, color_system=None))
    return stream.getvalue().splitlines()


def benched(name: str, taken: tuple[float, ...], ratio: float, calls: tuple[Call, ...] | None = None) -> Benched:
    return Benched(Path(name), 1_500_000, "3x8x8", Runs(taken), ratio, 4_200_000, calls)


def test_a_row_for_each_and_what_the_figures_are():
    lines = printed(benched("a.ptl", (2.0, 2.0, 4.0), 1.0), benched("b.ptl", (10.0, 20.0, 30.0), 5.25))
    assert lines[:3] == [
        "file   input   median      p90  spread  to first     size  peak memory",
        "a.ptl  3x8x8  2.00 ms  3.60 ms  50.0 %     1.000  1.50 MB      4.20 MB",
        "b.ptl  3x8x8  20.0 ms  28.0 ms  50.0 %     5.250  1.50 MB      4.20 MB",
    ]
    assert lines[3].startswith("3 runs of each file in turn behind 1 to warm up, 2 threads, lite interpreter, this")
    assert len(lines) == 6


def test_one_file_is_not_in_turn():
    assert printed(benched("a.ptl", (1.0, 1.0), 1.0))[2].startswith("3 runs of each file behind 1 to warm up")


def test_a_profile_by_operator_and_by_layer_the_slowest_first():
    calls = (
        Call("quantized::conv2d", "conv1", 0.25, 0.2),
        Call("aten::size", None, 0.001, 0.0008),
        Call("quantized::conv2d", "layer1.conv", 1.0, 0.7992),
    )
    lines = printed(benched("a.ptl", (1.0, 1.0), 1.0, calls))
    start = lines.index("Operators of a.ptl")
    assert lines[start:] == [
        "Operators of a.ptl",
        "------------------",
        "operator           calls     time   share",
        "quantized::conv2d      2  1.25 ms  99.9 %",
        "aten::size             1     1 µs   0.1 %",
        "",
        "layer        operator              time   share",
        "layer1.conv  quantized::conv2d  1.00 ms  79.9 %",
        "conv1        quantized::conv2d   250 µs  20.0 %",
        "-            aten::size            1 µs   0.1 %",
    ]


def test_what_is_not_known_is_said():
    unnamed = printed(benched("a.ptl", (1.0, 1.0), 1.0, (Call("aten::relu", None, 1.0, 1.0),)))
    assert unnamed[-1].startswith("the file does not say which layers they belong to: it was traced")
    assert printed(benched("a.ptl", (1.0, 1.0), 1.0, ()))[-1].startswith("they differ from run to run")


def test_of_many_the_first_twenty_are_shown():
    calls = tuple(Call(f"aten::a{number}", f"l{number}", 1.0, 0.04) for number in range(25))
    lines = printed(benched("a.ptl", (1.0, 1.0), 1.0, calls))
    assert lines.count("and 5 more") == 2
    assert sum(line.startswith("l1") for line in lines) == 11
