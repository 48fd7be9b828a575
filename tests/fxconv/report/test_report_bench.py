"""Files side by side, as they are printed."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from fxconv.environment import Environment
from fxconv.measures.runs import Runs
from fxconv.report.bench import print_bench
from fxconv.targets.mobile.op_profile import Call, Profile
from fxconv.targets.proof.bench import Bench, Benched


def printed(*files: Benched) -> list[str]:
    stream = io.StringIO()
    found = Bench(files, 3, 1, 2, Environment("2.12.1", "0.27.1", "qnnpack", True))
    print_bench(found, Console(file=stream, width=10_000, color_system=None))
    return stream.getvalue().splitlines()


def benched(
    name: str, taken: tuple[float, ...], ratio: float, profile: Profile | None = None, cpu: tuple[float, ...] = ()
) -> Benched:
    runtime = "ExecuTorch, XNNPACK" if name.endswith(".pte") else "lite interpreter, qnnpack"
    return Benched(Path(name), 1_500_000, "3x8x8", Runs(taken, cpu), ratio, 4_200_000, profile, 2 * ratio, runtime)


def test_a_row_for_each_and_what_the_figures_are():
    lines = printed(
        benched("a.ptl", (2.0, 2.0, 4.0), 1.0, cpu=(1.9, 1.9, 3.5)), benched("b.ptl", (10.0, 20.0, 30.0), 5.25)
    )
    assert lines[:3] == [
        "file   input   median      p90  spread      CPU  to first  by CPU     size  peak memory",
        "a.ptl  3x8x8  2.00 ms  3.60 ms  50.0 %  1.90 ms     1.000   2.000  1.50 MB      4.20 MB",
        "b.ptl  3x8x8  20.0 ms  28.0 ms  50.0 %        -     5.250  10.500  1.50 MB      4.20 MB",
    ]
    assert lines[3].startswith(
        "3 runs of each file in turn behind 1 to warm up, 2 threads, lite interpreter with qnnpack,"
    )
    assert len(lines) == 7


def test_runtimes_that_differ_are_told_with_their_files():
    run = (1.0, 1.0)
    lines = printed(benched("a.ptl", run, 1.0), benched("b.pte", run, 0.3), benched("c.pte", run, 0.4))
    assert lines[4] == (
        "the kernels differ (lite interpreter with qnnpack: a.ptl; ExecuTorch with XNNPACK: b.pte, c.pte): the ratios "
        "are those of runtimes, not of files alone"
    )
    assert (
        "lite interpreter with qnnpack and ExecuTorch with XNNPACK, this machine; qnnpack is made for ARM" in lines[5]
    )
    (alone,) = (line for line in printed(benched("b.pte", run, 1.0)) if "this machine" in line)
    assert alone.endswith("ExecuTorch with XNNPACK, this machine; a phone gives other ratios")


def test_a_busy_machine_is_told():
    lines = printed(benched("a.ptl", (2.0, 2.0, 2.0), 1.0, cpu=(1.0, 1.0, 1.0)))
    assert lines[2] == "the machine was busy: wall times say little; compare by CPU time"


def test_one_file_is_not_in_turn():
    assert printed(benched("a.ptl", (1.0, 1.0), 1.0))[2].startswith("3 runs of each file behind 1 to warm up")


def test_a_profile_by_operator_and_by_layer_the_slowest_first():
    calls = (
        Call("quantized::conv2d", "conv1", 0.25, 0.2),
        Call("aten::size", None, 0.001, 0.0008),
        Call("quantized::conv2d", "layer1.conv", 1.0, 0.7992),
    )
    profile = Profile(calls, between_ms=0.049, taken_off_us=0.5, scaled=1.02)
    lines = printed(benched("a.ptl", (1.3, 1.3), 1.0, profile))
    start = lines.index("Operators of a.ptl")
    assert lines[start:] == [
        "Operators of a.ptl",
        "------------------",
        "operator                            calls     time   share",
        "quantized::conv2d                       2  1.25 ms  96.2 %",
        "aten::size                              1     1 µs   0.1 %",
        "between operators: the interpreter           49 µs   3.8 %",
        "together                                   1.30 ms",
        "",
        "layer                               operator              time   share",
        "layer1.conv                         quantized::conv2d  1.00 ms  76.9 %",
        "conv1                               quantized::conv2d   250 µs  19.2 %",
        "-                                   aten::size            1 µs   0.1 %",
        "between operators: the interpreter                       49 µs   3.8 %",
        "together                                               1.30 ms",
        "medians of profiled runs, less 0.50 µs that the profiler takes for each operator and each it calls, "
        "times 1.02, so that they add up to the median of the runs above",
    ]


def test_what_is_not_known_is_said():
    unnamed = printed(benched("a.ptl", (1.0, 1.0), 1.0, Profile((Call("aten::relu", None, 1.0, 1.0),), 0.0)))
    assert unnamed[-1].startswith("the file does not say which layers they belong to: it was traced")
    assert printed(benched("a.ptl", (1.0, 1.0), 1.0, Profile((), 1.0)))[-1].startswith("they differ from run to run")


def test_of_many_the_first_twenty_are_shown():
    calls = tuple(Call(f"aten::a{number}", f"l{number}", 1.0, 0.04) for number in range(25))
    lines = printed(benched("a.ptl", (25.0, 25.0), 1.0, Profile(calls, 0.0)))
    assert [" ".join(line.split()) for line in lines if line.startswith("and ")] == ["and 5 more 5.00 ms 20.0 %"] * 2
    assert sum(line.startswith("l1") for line in lines) == 11
