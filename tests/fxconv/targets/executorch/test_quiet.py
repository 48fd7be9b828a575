"""What ExecuTorch says, and which line of it a message has."""

import os

from fxconv.targets.executorch.quiet import quiet


def said_of(*lines: str) -> str:
    with quiet() as said:
        os.write(2, "".join(f"{line}\n" for line in lines).encode())
        return said.reason()


def test_the_line_that_says_why_is_the_reason() -> None:
    assert said_of("[a.cpp:1] Reading", "[XNNCompiler.cpp:8] Failed to create cat node", "Failed to go on") == (
        "Failed to create cat node"
    )
    assert said_of("nothing of interest") == ""


def test_what_is_not_found_of_the_processor_is_no_reason() -> None:
    midr = "[cpuinfo_utils.cpp:109] Failed to open midr file /sys/devices/system/cpu/cpu0/regs"
    assert said_of(midr, "[XNNCompiler.cpp:8] Failed to create pad node 178") == "Failed to create pad node 178"
    assert said_of(midr) == ""
