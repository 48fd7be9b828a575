"""What is said of latency: the figure that can be believed first."""

from __future__ import annotations

import math
from dataclasses import replace

from fxconv.measures.latency import Latency
from fxconv.report.latency import latency_brief, latency_json, latency_rows, latency_words


def measured(busy: bool, **other: float) -> Latency:
    values = {
        "int8_ms": 2.2,
        "float_ms": 2.0,
        "int8_cpu_ms": 2.1,
        "float_cpu_ms": 2.0,
        "int8_p10_ms": 2.0,
        "int8_p90_ms": 2.5,
        "float_p10_ms": 1.9,
        "float_p90_ms": 2.2,
        "runs": 30,
    }
    return Latency(**values | other, float_kernels="aten", busy=busy)


def test_on_a_quiet_machine_the_wall_and_beside_it_cpu_time_and_spread():
    assert latency_words(measured(False)) == (
        "2.20 ms, 1.10 times float's 2.00 ms on aten, by CPU time 1.05 (p10 to p90 2.00 to 2.50 ms of 30 runs, "
        "1 thread, this machine)"
    )


def test_on_a_busy_machine_cpu_time_comes_first_and_the_word_says_why():
    words = latency_words(measured(True, int8_ms=22.0, int8_cpu_ms=2.6))
    assert words.startswith(
        "by CPU time int8 takes 1.30 times float's, 2.60 ms and 2.00 ms on aten; the machine was busy: wall times say "
        "little, 22.0 ms and 2.00 ms (1 thread, "
    )
    assert "11.0" not in words


def test_busy_without_cpu_time_has_no_ratio_to_believe():
    words = latency_words(measured(True, int8_cpu_ms=math.nan))
    assert words.startswith("the machine was busy: wall times say little: int8 2.20 ms, float 2.00 ms on aten; measure")
    assert "times float" not in words


def test_the_table_has_all_of_it():
    assert latency_rows(measured(True)) == [
        ("latency, 1 thread, this machine (qnnpack is made for ARM)", "2.20 ms", "2.00 ms", "1.100"),
        ("- by CPU time", "2.10 ms", "2.00 ms", "1.050"),
        ("- p10 to p90 of 30 runs, in turn", "2.00 to 2.50 ms", "1.90 to 2.20 ms", ""),
        ("- the machine was busy: wall times say little", "", "", ""),
        ("- float on aten", "", "", ""),
    ]
    assert ("- the machine was busy: wall times say little", "", "", "") not in latency_rows(measured(False))
    assert latency_rows(Latency(math.nan, math.nan)) == []


def test_json_has_the_ratios_and_the_one_to_believe():
    busy, quiet = latency_json(measured(True)), latency_json(measured(False))
    assert (busy["ratio"], busy["cpu_ratio"]) == (1.1, 1.05)
    assert (busy["believed_ratio"], quiet["believed_ratio"]) == (1.05, 1.1)
    assert set(busy) == {
        *("int8_ms", "float_ms", "threads", "float_kernels", "int8_cpu_ms", "float_cpu_ms", "runs", "busy"),
        "float_problem",
        *("int8_p10_ms", "int8_p90_ms", "float_p10_ms", "float_p90_ms", "ratio", "cpu_ratio", "believed_ratio"),
    }


def alone(busy: bool) -> Latency:
    floats = {"float_ms": math.nan, "float_cpu_ms": math.nan, "float_p10_ms": math.nan, "float_p90_ms": math.nan}
    return replace(measured(busy, **floats), float_kernels="", float_problem="no kernel for it")


def test_without_a_float_file_there_is_the_reason_and_no_ratio():
    assert latency_words(alone(False)) == "2.20 ms; float's is not known: no kernel for it (1 thread, this machine)"
    assert latency_words(alone(True)) == (
        "2.20 ms, the machine was busy: wall times say little; float's is not known: no kernel for it "
        "(1 thread, this machine)"
    )
    assert latency_brief(alone(False), "XNNPACK") == "2.20 ms on XNNPACK, float's not known"
    assert latency_brief(alone(True), "XNNPACK") == "2.10 ms on XNNPACK by CPU time, float's not known"
    assert latency_rows(alone(False), "XNNPACK") == [
        ("latency, 1 thread, this machine (XNNPACK)", "2.20 ms", "", ""),
        ("- p10 to p90 of 30 runs, in turn", "2.00 to 2.50 ms", "", ""),
        ("- float's is not known: no kernel for it", "", "", ""),
    ]
    assert latency_json(alone(False))["float_problem"] == "no kernel for it"
